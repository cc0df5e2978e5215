"""Losses and weights that are not finite; runs that die: said while it happens, and marked in the report."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from csg_analysis.report.died import death
from csg_analysis.report.logged import Curve
from csg_train.data.loaders.batch import Batch
from csg_train.engine.finite import require_finite_row, require_finite_weights
from csg_train.engine.loop import _Run, train
from csg_train.errors import UserError
from csg_train.recipes.reading import parse_recipe
from csg_train.runs.deaths import Watch
from tests.commands import command

NAMES = ("bus", "car", "dog")
CHANCE = math.log(3)


def said(rows: list[tuple[float, bool, int]], *, steps: int = 200, warmup: int = 5) -> list[tuple[int, str]]:
    """What a watch says of rows of loss, features and prediction, and at which step."""
    watch = Watch(steps=steps, warmup=warmup, classes=NAMES)
    found = [
        (step, watch.see(step, loss=loss, features=features, predicted=predicted))
        for step, (loss, features, predicted) in enumerate(rows, start=1)
    ]
    return [(step, line) for step, line in found if line is not None]


ALIVE = [(0.5, True, -1)] * 50


@pytest.mark.parametrize(
    ("dead", "first", "words"),
    [
        ((0.5, False, -1), 51, "all features are zero"),
        ((9.0, True, 2), 52, "dog is predicted for every picture"),  # in step 51 it may be chance
        ((CHANCE * 1.01, True, -1), 51, "the loss is at the chance level, ln 3 = 1.1"),
    ],
)
def test_a_death_is_said_once_with_the_step_at_which_it_began(dead, first, words):
    ((step, line),) = said([*ALIVE, *[dead] * 100])
    assert step == first + 19  # a tenth of 200 steps
    assert line.startswith(f"since step {first} {words}")


@pytest.mark.parametrize(
    "rows",
    [
        ALIVE * 4,
        [(CHANCE, True, -1)] * 19 + ALIVE,
        [(0.5, True, step % 3) for step in range(200)],  # batches of one picture
        [(CHANCE * (1.1 if step % 2 else 0.8), True, -1) for step in range(200)],
        [(CHANCE * (1 - step / 200), True, -1) for step in range(200)],  # learns slowly
    ],
)
def test_a_living_run_is_left_in_peace(rows):
    assert said(rows) == []


def test_a_row_that_is_not_finite_names_the_term_and_what_can_help(tmp_path):
    def refused(row: dict[str, float], step: int, saved: int | None) -> str:
        with pytest.raises(UserError) as caught:
            require_finite_row(row, step, tmp_path, saved)
        return caught.value.message

    require_finite_row({"loss": 1.0, "ce": 1.0}, 1, tmp_path, None)
    line = refused({"loss": math.nan, "ce": 1.0, "csg": math.nan}, 1, None)
    assert "step 1 (csg is nan)" in line
    assert "train.lr" not in line
    assert "kept" not in line
    line = refused({"loss": math.inf, "ce": math.inf}, 7, 4)
    assert "step 7 (ce is inf)" in line
    assert "train.lr_head" in line
    assert "method" not in line
    assert line.endswith("the checkpoint of step 4 is kept")


def test_a_number_measured_after_the_step_is_no_term_of_its_loss(tmp_path):
    row = {"loss": 1.0, "ce": 1.0, "loss_validation": math.nan}
    with pytest.raises(UserError) as caught:
        require_finite_row(row, 1, tmp_path, None, measured="loss_validation")
    assert "step 1 (loss_validation is nan); lower train.lr_head or train.lr_backbone" in caught.value.message
    assert "method" not in caught.value.message


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. More"), MemoryError()]
)
def test_a_step_that_finds_no_memory_is_one_line_with_the_way_out(error, recipe_dict, tmp_path, monkeypatch):
    taken = _Run._train_step

    def fail(run: _Run, batch: Batch) -> None:
        if run.step == 3:
            raise error
        taken(run, batch)

    monkeypatch.setattr(_Run, "_train_step", fail)
    with pytest.raises(UserError) as caught:
        train(parse_recipe(recipe_dict, origin="test"), tmp_path, device="cpu")
    line = caught.value.format_message()
    assert line.startswith(f"{tmp_path}: step 4: out of memory")
    assert "train.batch_size" in line
    assert line.endswith("the checkpoint of step 2 is kept")


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    network = torch.nn.Linear(2, 2)
    require_finite_weights(network, 3, tmp_path, None)
    network.bias.data[1] = math.inf
    with pytest.raises(UserError, match=r"bias is not finite after step 3.*step 2 is kept"):
        require_finite_weights(network, 3, tmp_path, 2)


@pytest.mark.parametrize(
    ("near", "width", "dies"),
    [(3, 1, False), (9, 1, False), (10, 1, True), (1, 5, False), (2, 5, True), (1, 10, True)],
)
def test_the_report_calls_a_run_dead_after_ten_steps_at_chance(near, width, dies):
    """One batch within 2 % of ln C was enough in a run of few steps."""
    values = [0.5] * 3 + [CHANCE] * near
    curve = Curve(tuple(float(width * (place + 1)) for place in range(len(values))), tuple(values), width)
    record = SimpleNamespace(classes=list(NAMES), confusion=[[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    how = death(SimpleNamespace(scores={"target": record}, curves={"ce": curve}))
    assert how == (f"the loss is at the chance level, about from step {3 * width + 1}" if dies else None)


def test_a_run_that_dies_is_said_and_marked_in_the_report(recipe_file, weights, tmp_path):
    """Starting weights whose last stage gives zero for every picture."""
    state = torch.load(weights, weights_only=True)
    for name, value in state.items():
        if (name.startswith("layer4") and "bn" in name) or "downsample.1" in name:
            value.fill_(-1.0 if name.endswith(".bias") else 0.0 if name.endswith(".weight") else 1.0)
    torch.save(state, tmp_path / "dead.pt")
    out = tmp_path / "runs" / "dead"
    sets = ("--set", "train.steps=30", "--set", "model.batch_norm=frozen", "--weights", tmp_path / "dead.pt")
    result = command("csg-train", "run", recipe_file, *sets, "--out", out, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("since step 3 all features are zero: the run has died") == 1
    built = command("csg-report", "build", tmp_path / "runs", "--out", tmp_path / "report", cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "report" / "report.md").read_text()
    assert "DIED: " in page
    (row,) = json.loads((tmp_path / "report" / "tables" / "runs.json").read_text())["rows"]
    assert row["died"].endswith("is predicted for every picture")
