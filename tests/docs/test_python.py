"""The page "From Python": every block runs, in the page's order, in one session."""

import doctest
import re
from pathlib import Path

import pytest
import torch
import yaml

from csg_train import seeds
from tests.analysis.report.cases import write_run

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The names that all blocks before have made, in a folder where ``csg-train run`` has left records."""
    folder = tmp_path_factory.mktemp("python")
    write_run(folder / "runs", "baseline")
    return {"folder": folder}


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(number, session, recipe_dict, monkeypatch, capsys):
    folder = session["folder"]
    monkeypatch.chdir(folder)
    (folder / "my.yaml").write_text(yaml.safe_dump(recipe_dict))
    torch.manual_seed(0)
    exec(compile(BLOCKS[number], f"docs/python.md, block {number + 1}", "exec"), session)  # noqa: S102
    assert capsys.readouterr().err == ""


def test_the_page_shows_every_name_of_both_packages():
    import csg_analysis
    import csg_train

    used = set(re.findall(r"\w+", "\n".join(BLOCKS)))
    assert set(csg_analysis.__all__) - {"Energy"} <= used
    assert set(csg_train.__all__) - {"UserError"} <= used


def test_csg_in_a_loop_of_one_s_own_takes_less_than_40_lines():
    (loop,) = [block for block in BLOCKS if "import CSGLoss" in block]
    assert len(loop.strip().splitlines()) < 40


def test_examples_of_docstrings():
    """`seeds` has the only ones."""
    found = doctest.testmod(seeds)
    assert (found.failed, found.attempted) == (0, 2)
