"""What holds for every method and option: resume equals an uninterrupted run, and frozen parts stay as they are."""

import json
from pathlib import Path

import pytest
import torch

from csg_train.engine import loop as engine
from csg_train.engine.selection import chosen_file
from csg_train.methods.table import METHODS
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import load_checkpoint
from tests.nested import equal
from tests.train.methods.cases import HELD_OUT, METHOD_CASES, STYLES, TASK_CASES, WITH

CPU = torch.device("cpu")


def recipe_of(recipe_dict: dict, method: str, **train: object) -> Recipe:
    fields = {"name": method} | METHOD_CASES[method]
    options = fields.pop(WITH, {})
    if fields.get("styles") == STYLES:
        fields["styles"] = f"{recipe_dict['data']['source']['root']}/images"
    combined = {name: recipe_dict.get(name, {}) | own for name, own in options.items()}
    value = recipe_dict | combined | {"method": fields}
    if value["data"].get("validation") == HELD_OUT:
        source = value["data"]["source"]
        masks = source | {"root": str(Path(source["root"]).with_name("held-out"))}
        value["data"]["validation"] = masks if "segmentation" in value else {"dataset": "holdout", "fraction": 0.4}
    return Recipe.model_validate(value | {"train": value["train"] | train})


@pytest.fixture
def task_dict(task: str, recipe_dict: dict, masked_recipe_dict: dict) -> dict:
    """The tiny recipe of one task."""
    return recipe_dict if task == "classification" else masked_recipe_dict


def run(recipe: Recipe, out: Path, *, resume: bool = False) -> Path:
    return engine.train(recipe, out, device=CPU, resume=resume, overwrite=False, report=lambda step, values: None)


def test_the_oracles_features_are_frozen_whatever_its_batch_norm(recipe_dict, tmp_path):
    """With ``batch_norm: train`` its statistics moved, and the report called that the frozen features."""
    model = recipe_dict["model"] | {"batch_norm": "train"}
    training = engine._Run(recipe_of(recipe_dict | {"model": model}, "oracle", steps=3), tmp_path, CPU)
    start = {name: value.clone() for name, value in training.network.state_dict().items()}
    for batch in training._batches():
        training._train_step(batch)
    moved = {name for name, value in training.network.state_dict().items() if not torch.equal(value, start[name])}
    assert moved
    assert all(name.startswith("head.") for name in moved)


def test_every_method_has_a_case():
    assert {case.get("name", label) for label, case in METHOD_CASES.items()} == set(METHODS)


@pytest.fixture(scope="module")
def finished() -> dict[tuple[str, str], Path]:
    """Folders of `whole`."""
    return {}


@pytest.fixture
def whole(task, method, task_dict, finished, tmp_path_factory) -> Path:
    """The folder of a method's finished run, one for all tests of the method; read only."""
    if (task, method) not in finished:
        folder = tmp_path_factory.mktemp("whole")
        run(recipe_of(task_dict, method), folder)
        finished[task, method] = folder
    return finished[task, method]


@pytest.mark.parametrize(
    ("task", "method", "stop_at"),
    [(*case, stop_at) for case in TASK_CASES for stop_at in ([1, 3] if case[0] == "classification" else [3])],
)
def test_resume_equals_uninterrupted(method, stop_at, whole, task_dict, tmp_path, monkeypatch):
    """Stopped in the middle of an epoch, before and after a periodic save."""
    original = engine._Run._train_step

    def die(self, batch):
        if self.step == stop_at:
            raise KeyboardInterrupt
        original(self, batch)

    monkeypatch.setattr(engine._Run, "_train_step", die)
    with pytest.raises(KeyboardInterrupt):
        run(recipe_of(task_dict, method), tmp_path / "parts")
    monkeypatch.setattr(engine._Run, "_train_step", original)
    chosen = run(recipe_of(task_dict, method), tmp_path / "parts", resume=True)

    averaged = load_checkpoint(chosen).resolved_recipe().average is not None
    assert chosen.name == ("average.pt" if averaged else "ckpt.pt")
    for file in {"ckpt.pt", chosen.name}:
        one, other = (load_checkpoint(folder / file) for folder in (whole, tmp_path / "parts"))
        assert one.step == other.step == 5
        assert one.sha256 == other.sha256  # which every record has
        for name in ("model", "method", "optimizer", "rng", "log_bytes", "average", "averaged"):
            assert equal(getattr(one, name), getattr(other, name)), name
    logs = [(folder / "log.jsonl").read_text() for folder in (whole, tmp_path / "parts")]
    assert logs[0] == logs[1]
    assert [json.loads(line)["step"] for line in logs[0].splitlines()] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("task", "method"), TASK_CASES)
def test_frozen_parts_do_not_move(task, method, whole, task_dict, tmp_path):
    """BatchNorm statistics and the ImageNet classifier, bit for bit; with the oracle the whole backbone."""
    recipe = recipe_of(task_dict, method)
    start = engine._Run(recipe, tmp_path, CPU).network.state_dict()
    start = {name: value.clone() for name, value in start.items()}
    end = load_checkpoint(chosen_file(recipe, whole)).model
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert any(name.startswith("head.") for name in moved)
    assert not [name for name in moved if "running_" in name or ".fc." in name or "num_batches" in name]
    assert bool([name for name in moved if name.startswith("backbone.")]) == (method != "oracle")
    stages = [*recipe.train.frozen, *(["net.bn1", "net.conv1"] if "layer1" in recipe.train.frozen else [])]
    assert not [name for name in moved if any(stage in name for stage in stages)]
    if method != "oracle":  # scale and shift train, of a segmentation they do not
        assert ("backbone.net.layer4.0.bn2.weight" in moved) == (task == "classification")


def test_trained_batch_norm_moves(recipe_dict, tmp_path):
    recipe = Recipe.model_validate(recipe_dict | {"model": recipe_dict["model"] | {"batch_norm": "train"}})
    end = load_checkpoint(run(recipe, tmp_path / "run")).model
    assert end["backbone.net.bn1.num_batches_tracked"] == 5


def test_workers_change_no_number(recipe_dict, tmp_path):
    one, two = (
        load_checkpoint(run(recipe_of(recipe_dict, "csg", workers=workers), tmp_path / str(workers)))
        for workers in (0, 2)
    )
    assert equal(one.model, two.model)
    assert equal(one.method, two.method)
