"""Pictures that break while a run goes on: after they are mended, a resume ends as a run that nobody disturbed."""

import copy
import errno
import shutil
from pathlib import Path

import filelock
import pytest
from click.testing import CliRunner

from csg_train import engine
from csg_train.cli import main
from csg_train.data.loaders import loader
from csg_train.engine import loop
from csg_train.engine.loop import train
from csg_train.errors import UserError
from csg_train.recipes.reading import parse_recipe
from csg_train.runs.checkpoint import load_checkpoint
from tests.conftest import write_tree
from tests.nested import equal


@pytest.mark.parametrize(("split", "steps"), [("source", 6), ("target", 6), ("target", 4)])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_resume_equals_an_undisturbed_run(split, steps, workers, recipe_dict, tmp_path, monkeypatch):
    """Those that are trained on and those that the rule measures, at the last step too."""
    monkeypatch.setattr(loader, "KEPT_PIXELS", 0)
    given = copy.deepcopy(recipe_dict)
    for number, name in enumerate(("source", "target")):
        write_tree(tmp_path / name, seed=number)
        given["data"][name]["root"] = str(tmp_path / name)
    given["train"] |= {"steps": steps, "workers": workers, "log_every": 1, "save_every": 100}
    given["evaluate"] = {"select": "oracle", "select_every": 4}
    recipe, whole, out = parse_recipe(given, origin="test"), tmp_path / "whole", tmp_path / "out"
    train(recipe, whole, device="cpu")

    def hide(step: int, _values: dict[str, float]) -> None:
        if step == 2:
            shutil.move(tmp_path / split, tmp_path / "hidden")

    with pytest.raises(UserError, match=r"\.png"):
        train(recipe, out, device="cpu", report=hide)
    assert load_checkpoint(out / "ckpt.pt").step >= 2
    shutil.move(tmp_path / "hidden", tmp_path / split)
    chosen = train(recipe, out, device="cpu", resume=True)
    assert (out / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()
    for name in ("ckpt.pt", chosen.name):
        ours, theirs = (load_checkpoint(folder / name) for folder in (out, whole))
        for field in ("step", "model", "method", "optimizer", "rng", "log_bytes", "best_score"):
            assert equal(getattr(ours, field), getattr(theirs, field)), f"{name}: {field}"


@pytest.mark.parametrize("after", ["while it is measured", "before its checkpoint", "two steps later"])
def test_an_owed_measure_that_is_interrupted_costs_nothing(after, recipe_dict, tmp_path, monkeypatch):
    """The log had lost the row that the checkpoint counts on, and no resume was possible."""
    write_tree(tmp_path / "target", seed=1)
    recipe_dict["data"]["target"]["root"] = str(tmp_path / "target")
    recipe_dict["train"] |= {"steps": 8, "log_every": 1, "save_every": 100}
    recipe_dict["evaluate"] = {"select": "oracle", "select_every": 4}
    recipe, whole, out = parse_recipe(recipe_dict, origin="test"), tmp_path / "whole", tmp_path / "out"
    train(recipe, whole, device="cpu")
    hidden = tmp_path / "hidden"

    def hide(step: int, _values: dict[str, float]) -> None:
        if step == 2:
            shutil.move(tmp_path / "target", hidden)

    with pytest.raises(UserError, match=r"\.png"):
        train(recipe, out, device="cpu", report=hide)
    shutil.move(hidden, tmp_path / "target")
    moments = {"while it is measured": ("_is_best", 4), "before its checkpoint": ("_save", 4)}
    own, broken = moments.get(after, ("_train_step", 6))
    original = getattr(loop._Run, own)

    def die(self: object, *given: object) -> object:
        if self.step == broken:
            raise KeyboardInterrupt
        return original(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(loop._Run, own, die)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, out, device="cpu", resume=True)
    chosen = train(recipe, out, device="cpu", resume=True)
    assert (out / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()
    assert load_checkpoint(chosen).sha256 == load_checkpoint(whole / chosen.name).sha256


@pytest.mark.parametrize("error", [ConnectionResetError(errno.ECONNRESET, "reset"), filelock.Timeout("another lock")])
def test_an_error_of_the_training_is_not_one_of_its_folder(error, recipe_dict, tmp_path):
    def fail(_step: int, _values: dict[str, float]) -> None:
        raise error

    recipe = parse_recipe(recipe_dict, origin="test")
    with pytest.raises(type(error)) as found:
        train(recipe, tmp_path / "out", device="cpu", report=fail)
    assert found.value is error
    with pytest.raises(type(error)):  # the folder is free again
        train(recipe, tmp_path / "out", device="cpu", report=fail, overwrite=True)


@pytest.mark.parametrize("split", ["source", "target"])
def test_a_picture_lost_while_those_in_memory_train_is_not_left_out(split, recipe_file, tmp_path, monkeypatch):
    """The score was of those that were left."""
    write_tree(tmp_path / "own", seed=1)
    lost = tmp_path / "own" / "bus" / "0.png"

    def losing(*args: object, **options: object) -> Path:
        path = train(*args, **options)
        lost.unlink()
        return path

    monkeypatch.setattr(engine, "train", losing)
    own = f"data.{split}.root={tmp_path / 'own'}"
    done = CliRunner().invoke(main, ["run", str(recipe_file), "--set", own, "--out", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert f"{lost}: no such image" in done.output
