"""What the tests of hostile input share; ``pytest -s`` prints how many cases were accepted and refused."""

import pytest
import torch

from csg_train.engine import loop as engine
from csg_train.models.backbones import BACKBONES
from csg_train.recipes.reading import load_recipe
from tests.survival import tiny
from tests.survival.mutations import COUNTS

CPU = torch.device("cpu")


@pytest.fixture(scope="session", autouse=True)
def counts():
    """Print the number of cases with ``pytest -s``."""
    yield
    for subject in sorted({subject for subject, _ in COUNTS}):
        print(f"\n{subject}: {COUNTS[subject, 'accepted']} accepted, {COUNTS[subject, 'refused']} refused", end="")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The tiny recipe and its data; a file ``secret`` lies outside ``data``."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "data").mkdir()
    (folder / "secret").write_text("outside")
    tiny.write_recipe(folder / "data", steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", tiny.SPEC)
        yield folder / "data"


@pytest.fixture(scope="module")
def whole(place):
    """A checkpoint of the tiny run."""
    recipe = load_recipe(str(place / "tiny.yaml"), ["evaluate.select=last"])
    return engine.train(recipe, place / "run", device=CPU, resume=False, overwrite=False, report=lambda *_: None)
