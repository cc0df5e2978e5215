"""A method that a user adds: the one that docs/architecture.md shows, in a folder beside the others."""

import json
import re
import sys
from pathlib import Path

import pytest

from csg_train import methods
from csg_train.methods import declared
from csg_train.methods.table import METHODS, PLACES
from csg_train.recipes.sections import Recipe
from tests.train.methods.test_methods import run

PAGE = (Path(__file__).parents[3] / "docs" / "architecture.md").read_text()
(CODE,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
OF_AN_ENUM = CODE.replace(
    "centred: bool = False", "centred: bool = False\n    kind: Kind = Kind.COSINE"
).replace(
    "from typing import Annotated", "from enum import Enum\nfrom typing import Annotated\n"
).replace(
    "\n\n@dataclass", "\n\nclass Kind(str, Enum):\n    COSINE = \"cosine\"\n\n\n@dataclass"
)  # fmt: skip


@pytest.fixture(params=[CODE, OF_AN_ENUM], ids=["as shown", "with a field of an enum"])
def added(request, tmp_path, monkeypatch):
    (tmp_path / "cosine.py").write_text(request.param)
    monkeypatch.setitem(PLACES, "cosine", "cosine:Cosine")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    monkeypatch.setattr(declared, "__file__", str(tmp_path / "declared.py"))
    declared.declaration.cache_clear()
    yield
    sys.modules.pop("csg_train.methods.cosine", None)
    declared.declaration.cache_clear()


def test_a_method_is_listed_and_trains_with_its_fields_one_of_them_true_or_false(added, recipe_dict, tmp_path):
    """A field of true or false was refused, and a list of methods ended in a NameError."""
    assert declared.declaration("cosine").info == METHODS["cosine"].info
    logged = {}
    for centred in (False, True):
        method = {"name": "cosine", "weight": 0.5, "centred": centred}
        recipe = Recipe.model_validate(recipe_dict | {"method": method})
        assert recipe.method["centred"] is centred
        rows = (run(recipe, tmp_path / str(centred)).parent / "log.jsonl").read_text().splitlines()
        logged[centred] = [json.loads(row)["cosine"] for row in rows]
        assert all(0 <= value <= 1 for value in logged[centred])
    assert logged[False][0] == pytest.approx(0, abs=1e-6)  # the student is its teacher yet
    assert logged[False][1:] != logged[True][1:]
