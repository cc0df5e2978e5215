"""macOS and Windows, as far as Linux can stand in for them: without what they lack, the same commands and bits."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml

from tests.commands import command


def commands_of(recipe, pictures, out):
    checkpoint = f"{out}/auto/ckpt.pt"
    return [
        ["csg-train", "data", "cache", recipe],
        ["csg-train", "run", recipe, "--out", f"{out}/one", "--set", "train.workers=1"],
        ["csg-train", "run", recipe, "--out", f"{out}/auto", "--set", "train.workers=auto", "--set", "seed=1"],
        ["csg-train", "predict", checkpoint, pictures, "--out", f"{out}/predictions.csv"],
        ["csg-train", "export", checkpoint, "--to", f"{out}/exported", "--format", "safetensors"],
        ["csg-analyze", "energy", checkpoint],
        ["csg-analyze", "gradcam", checkpoint, "--out", f"{out}/gradcam"],
        ["csg-report", "build", out, "--out", f"{out}-report"],
        ["csg-report", "verify", f"{out}-report", out],
    ]


@pytest.mark.parametrize("system", ["macos", "windows"])
def test_commands_do_without_what_another_system_lacks(system, recipe_dict, trees, tmp_path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(recipe_dict))
    done = subprocess.run(
        [sys.executable, "-m", "tests.other_system", system],
        input=json.dumps(commands_of(str(recipe), str(trees / "target"), str(tmp_path / "runs"))),
        env=os.environ | {"CSG_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert command("csg-train", "run", recipe, "--out", tmp_path / "here", cwd=tmp_path).returncode == 0
    there, here = (torch.load(tmp_path / name / "ckpt.pt")["model"] for name in ("runs/one", "here"))
    assert all(torch.equal(there[name], here[name]) for name in here)
