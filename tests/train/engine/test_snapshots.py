"""Checkpoints along a run: which steps, what they hold, that they change nothing and survive an interruption."""

import copy
import json
from pathlib import Path

import pytest
import torch

from csg_train.engine import loop as engine
from csg_train.errors import UserError
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import load_checkpoint, rule_title
from csg_train.runs.provenance import run_info
from csg_train.runs.snapshots import owner_of, snapshot_folder, snapshot_folders, snapshot_steps
from tests.nested import equal
from tests.survival.test_full_disk import files_up_to
from tests.train.methods.test_methods import CPU, TASK_CASES, recipe_of, run, task_dict  # noqa: F401 - a fixture


def content(out: Path) -> dict[str, bytes]:
    """Every snapshot's bytes by its path in the run's folder."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.glob("along/*/*"))}


@pytest.mark.parametrize(
    ("steps", "count", "expected"),
    [
        (100, 10, list(range(0, 101, 10))),
        (7, 3, [0, 2, 5, 7]),  # 7/3 and 14/3, rounded
        (3, 10, [0, 1, 2, 3]),  # no step twice
        (5, 1, [0, 5]),
        (5, 0, []),
    ],
)
def test_steps_are_even_with_start_and_end(steps, count, expected):
    assert sorted(snapshot_steps(steps, count)) == expected


def test_folders_are_found_by_step_and_belong_to_their_run(tmp_path):
    for name in ("000010", "000002", "1000000", "2", "notes"):
        (tmp_path / "along" / name).mkdir(parents=True)
    assert list(snapshot_folders(tmp_path)) == [2, 10, 1000000]
    assert owner_of(snapshot_folder(tmp_path, 10)) == tmp_path
    for folder in (tmp_path, tmp_path / "along", tmp_path / "along/notes", tmp_path / "along/2"):
        assert owner_of(folder) == folder


@pytest.mark.parametrize(("task", "method"), [("classification", "csg"), ("segmentation", "csg-dense")])
def test_they_change_no_number_and_hold_the_state_after_their_step(task, method, task_dict, tmp_path, monkeypatch):  # noqa: F811
    assert (task, method) in TASK_CASES
    states = []
    original = engine._Run._train_step

    def keep(self, batch):
        if self.step == 0:
            states.append(copy.deepcopy(self.network.state_dict()))
        original(self, batch)
        states.append(copy.deepcopy(self.network.state_dict()))

    monkeypatch.setattr(engine._Run, "_train_step", keep)
    without = load_checkpoint(run(recipe_of(task_dict, method), tmp_path / "without"))
    monkeypatch.setattr(engine._Run, "_train_step", original)
    with_them = load_checkpoint(run(recipe_of(task_dict, method, snapshots=3), tmp_path / "with"))

    for name in ("model", "method", "optimizer", "rng", "log_bytes"):
        assert equal(getattr(with_them, name), getattr(without, name)), name
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("without", "with")]
    assert logs[0] == logs[1]
    assert not (tmp_path / "without/along").exists()
    assert list(content(tmp_path / "with")) == [f"along/00000{step}/ckpt.pt" for step in (0, 2, 3, 5)]
    for step in (0, 2, 3, 5):
        saved = load_checkpoint(snapshot_folder(tmp_path / "with", step) / "ckpt.pt")
        assert saved.step == step
        assert equal(saved.model, dict(states[step]))
        assert (saved.optimizer, saved.method, saved.rng, saved.log_bytes) == ({}, {}, [], 0)
        saved.build_network(CPU)


def test_nobody_chose_them_and_training_cannot_go_on_from_one(recipe_dict, tmp_path):
    recipe = recipe_of(recipe_dict, "baseline", snapshots=2)
    run(recipe, tmp_path / "run")
    path = snapshot_folder(tmp_path / "run", 2) / "ckpt.pt"
    saved = load_checkpoint(path)
    assert (run_info(saved).step, run_info(saved).selection, saved.best_score) == (2, "last", None)
    assert rule_title(saved) == "step 2 of 5"
    assert rule_title(load_checkpoint(snapshot_folder(tmp_path / "run", 5) / "ckpt.pt")) == "the last step (5)"
    with pytest.raises(UserError, match=r"ckpt\.pt: imported or a snapshot, without the optimiser's state"):
        run(recipe, path.parent, resume=True)


@pytest.mark.parametrize(
    ("file", "step"),
    [
        ("along/000000/ckpt.pt", 0),
        ("along/000003/ckpt.pt", 3),  # killed before the snapshot; the last ckpt.pt is of step 2
        ("ckpt.pt", 3),  # between the two files of one step: the snapshot is ahead
        ("ckpt.pt", 5),
    ],
)
def test_an_interrupted_and_resumed_run_has_all_of_them(file, step, recipe_dict, tmp_path, monkeypatch):
    recipe = recipe_of(recipe_dict, "csg", snapshots=3)
    run(recipe, tmp_path / "whole")
    save = engine.save_checkpoint

    def die(path, checkpoint):
        if path == tmp_path / "parts" / file and checkpoint.step == step:
            raise KeyboardInterrupt
        save(path, checkpoint)

    monkeypatch.setattr(engine, "save_checkpoint", die)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "parts")
    monkeypatch.setattr(engine, "save_checkpoint", save)
    run(recipe, tmp_path / "parts", resume=True)
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
    whole, parts = (load_checkpoint(tmp_path / name / "ckpt.pt") for name in ("whole", "parts"))
    assert equal(parts.model, whole.model)


def test_a_loss_that_is_not_finite_leaves_no_snapshot_of_it(recipe_dict, tmp_path):
    recipe = recipe_of(recipe_dict, "baseline", snapshots=5, lr_head=1e30, lr_backbone=1e30, warmup=0, save_every=100)
    with pytest.raises(UserError, match="not finite"):
        run(recipe, tmp_path / "run")
    for path in (tmp_path / "run").glob("along/*/ckpt.pt"):
        losses = [json.loads(line)["loss"] for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
        assert load_checkpoint(path).step <= len(losses)


def test_overwrite_removes_them_with_their_records(recipe_dict, tmp_path):
    run(recipe_of(recipe_dict, "baseline", snapshots=5), tmp_path / "run")
    (tmp_path / "run/along/000001/energy-target.json").write_text("{}")
    engine.train(recipe_of(recipe_dict, "baseline", snapshots=1), tmp_path / "run", device=CPU, overwrite=True)
    assert list(content(tmp_path / "run")) == ["along/000000/ckpt.pt", "along/000005/ckpt.pt"]
    engine.train(recipe_of(recipe_dict, "baseline"), tmp_path / "run", device=CPU, overwrite=True)
    assert not (tmp_path / "run/along").exists()


def test_a_checkpoint_from_before_the_field_resumes(recipe_dict, tmp_path):
    recipe = Recipe.model_validate(recipe_dict)
    path = run(recipe, tmp_path / "run")
    saved = torch.load(path, weights_only=True)
    assert saved["recipe"]["train"].pop("snapshots") == 0
    torch.save(saved, path)
    assert run(recipe, tmp_path / "run", resume=True) == path


def test_a_full_disk_is_one_line_and_no_half_file(recipe_dict, tmp_path):
    with files_up_to(5000), pytest.raises(UserError, match=r"along/000000/ckpt\.pt: cannot write \(File too large\)"):
        run(recipe_of(recipe_dict, "baseline", snapshots=2), tmp_path / "run")
    assert content(tmp_path / "run") == {}
