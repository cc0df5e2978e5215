"""A run of two gloo processes against the same run of one: losses, weights and queue; and what two refuse."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from csg_train.checkpoint import load_checkpoint
from tests.train.test_methods import recipe_of, run

TORCHRUN = [str(Path(sys.executable).parent / "torchrun"), "--standalone", "--nproc-per-node", "2"]


def run_two(recipe: dict, folder: Path) -> subprocess.CompletedProcess:
    """What a user would type."""
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    arguments = ["-m", "csg_train", "run", "tiny.yaml", "--device", "cpu", "--out", "two"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*TORCHRUN, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=200
    )


def losses(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("task", "method"),
    [("classification", "csg"), ("classification", "weight-l2"), ("segmentation", "csg-dense")],
)
def test_two_processes_train_what_one_trains(task, method, recipe_dict, masked_recipe_dict, tmp_path):
    """Masks ignore some pixels, so the processes count different numbers of them."""
    base = recipe_dict if task == "classification" else masked_recipe_dict
    recipe = recipe_of(base, method, batch_size=4, steps=4)
    done = run_two(recipe.as_dict(), tmp_path)
    assert done.returncode == 0, done.stderr
    alone = load_checkpoint(run(recipe, tmp_path / "one"))
    both = load_checkpoint(tmp_path / "two" / "ckpt.pt")
    assert len(losses(tmp_path / "two")) == 4
    for one, two in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert two == pytest.approx(one, rel=1e-6, abs=1e-6)
    for part in ("model", "method"):  # of csg: 7 (50) keys that 4 pictures (16 patches) a step go around
        ours, theirs = getattr(alone, part), getattr(both, part)
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            torch.testing.assert_close(theirs[key], value, rtol=1e-5, atol=1e-5, msg=key)
    assert not list((tmp_path / "two").glob("*.tmp"))


def test_a_batch_that_does_not_divide_is_refused_by_one_line(recipe_dict, tmp_path):
    done = run_two(recipe_of(recipe_dict, "baseline", batch_size=5).as_dict(), tmp_path)
    assert done.returncode != 0
    assert done.stderr.count("Error: train.batch_size: 5 pictures do not divide among 2 processes") == 1
    assert not list((tmp_path / "two").glob("[!.]*"))


def test_bfloat16_is_near_float32_and_not_equal(recipe_dict, tmp_path):
    for precision in ("float32", "bfloat16"):
        path = run(recipe_of(recipe_dict, "csg", steps=2, precision=precision), tmp_path / precision)
    exact, lowered = (losses(tmp_path / precision)[0]["ce"] for precision in ("float32", "bfloat16"))
    assert lowered == pytest.approx(exact, rel=0.05)
    assert lowered != exact
    saved = load_checkpoint(path)
    assert {value.dtype for value in saved.model.values() if value.is_floating_point()} == {torch.float32}
