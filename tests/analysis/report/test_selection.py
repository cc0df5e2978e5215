"""Selection rules in the report: what may stand side by side, what each rule is said to mean, what it measured."""

import json
import re
from pathlib import Path

import pytest
import yaml

from csg_analysis.report.curves import selection_curves
from csg_train.splits import Rule
from tests.analysis.report.cases import built_text, refused, rows_of, sha, write_run

pytestmark = pytest.mark.usefixtures("sketched")


def log_accuracy(folder: Path, split: str, values: dict[int, float]) -> None:
    """Add what the rule measured to a run's log."""
    path = folder / "log.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row["step"] in values:
            row[f"accuracy_{split}"] = values[row["step"]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_steps_that_a_rule_chose_may_differ(tmp_path: Path) -> None:
    """Both were trained for 40 steps: the log of neither ends early, and 10 and 30 are no difference of settings."""
    for method, step in (("baseline", 10), ("csg", 30)):
        folder = write_run(tmp_path / "runs", method, step=40, planned=40, selection="source-val")
        for path in folder.glob("*.json"):
            record = json.loads(path.read_text())
            record["run"]["step"] = step
            path.write_text(json.dumps(record))
    text = built_text(tmp_path / "runs", tmp_path / "out")
    assert "not yet" not in text
    assert "Before you read on" not in text


@pytest.mark.parametrize(("measured", "chosen"), [(100, 50), (300, 50), (300, 51)])
def test_the_chosen_step_is_marked_at_what_was_measured_however_many_were(measured: int, chosen: int, tmp_path: Path):
    folder = write_run(tmp_path, "baseline", step=measured, planned=measured, selection="source-val")
    log_accuracy(folder, "validation", {n: 0.9 if n == chosen else 0.5 for n in range(1, measured + 1)})
    for path in folder.glob("*.json"):
        record = json.loads(path.read_text())
        record["run"]["step"] = chosen
        path.write_text(json.dumps(record))
    chart = selection_curves(rows_of(tmp_path))
    (axes,) = chart.draw().axes
    marks = [line.get_xydata().tolist() for line in axes.get_lines() if len(line.get_xdata()) == 1]
    assert marks == [[[chosen, 90.0]]]


def test_other_lengths_of_training_are_refused_under_every_rule(tmp_path: Path) -> None:
    """Both chose step 20, of 40 and of 80."""
    write_run(tmp_path / "runs", "baseline", selection="source-val", planned=40)
    write_run(tmp_path / "runs", "csg", selection="source-val", planned=80)
    line = refused(tmp_path / "runs", "--out", tmp_path / "out")
    assert "training steps on clean: 40 (clean-baseline-0) / 80 (clean-csg-0)" in line


def test_the_last_step_of_a_run_cut_short_is_no_full_run(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "baseline", step=40, planned=40)
    write_run(tmp_path / "runs", "csg", step=20, planned=40)
    line = refused(tmp_path / "runs", "--out", tmp_path / "out")
    assert "training steps on clean: 40 (clean-baseline-0) / 20 of 40 (clean-csg-0)" in line


def test_a_chosen_step_without_a_recipe_says_nothing_about_the_length(tmp_path: Path) -> None:
    for method, step in (("baseline", 10), ("csg", 30)):
        (write_run(tmp_path / "runs", method, step=step, selection="source-val") / "recipe.yaml").unlink()
    assert len(rows_of(tmp_path / "runs")) == 2


def test_two_rules_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "baseline")
    write_run(tmp_path / "runs", "csg", selection="oracle")
    assert "selection rule" in refused(tmp_path / "runs", "--out", tmp_path / "out")


@pytest.mark.parametrize(("selection", "warned"), [("last", True), ("source-val", False), ("oracle", False)])
def test_an_earlier_step_is_a_fault_of_the_last_rule_alone(tmp_path: Path, selection: Rule, warned: bool) -> None:
    folder = write_run(tmp_path / "runs", "csg", selection=selection, planned=21)
    with (folder / "log.jsonl").open("a") as stream:
        stream.write('{"step": 21, "loss": 1.0}\n')
    text = built_text(tmp_path / "runs", tmp_path / "out")
    assert ("the records are of step 20, the training log goes to step 21" in text) == warned


@pytest.mark.parametrize("selection", ["last", "source-val"])
def test_a_log_that_ends_early_is_named(tmp_path: Path, selection: Rule) -> None:
    write_run(tmp_path / "runs", "csg", selection=selection, planned=400)
    text = built_text(tmp_path / "runs", tmp_path / "out")
    assert "clean-csg-0: the training log ends at step 20 of 400. Continue with csg-train run --resume" in text


SAID: list[tuple[Rule, str, str]] = [
    ("last", "Selection rule: last (the last training step; nothing was chosen on the target).", "the last step,"),
    ("source-val", "source-val (the step that did best on held-out synthetic pictures; nothing was", "by source-val,"),
    ("oracle", "oracle (the step that did best on the target itself, CHOSEN ON THE TARGET", "ON THE TARGET by oracle,"),
]


@pytest.mark.parametrize(("selection", "note", "protocol"), SAID)
def test_every_rule_is_said_as_it_is(tmp_path: Path, selection: Rule, note: str, protocol: str) -> None:
    write_run(tmp_path / "runs", "csg", selection=selection)
    text = built_text(tmp_path / "runs", tmp_path / "out")
    assert note in text
    assert protocol in text
    assert ("nothing was chosen on the target" in text) == (selection != "oracle")
    assert ("The measured step was CHOSEN ON THE TARGET (selection rule oracle): clean-csg-0" in text) == (
        selection == "oracle"
    )


@pytest.mark.parametrize(("selection", "file"), [("last", "ckpt.pt"), ("source-val", "best.pt")])
def test_advice_names_the_checkpoint_that_the_rule_chose(tmp_path: Path, selection: Rule, file: str) -> None:
    folder = write_run(tmp_path / "runs", "csg", selection=selection)
    record = json.loads((folder / "energy-target.json").read_text())
    (folder / "energy-target.json").unlink()
    assert f"csg-analyze energy RUN/{file}" in built_text(tmp_path / "runs", tmp_path / "out")
    record["run"]["checkpoint_sha256"] = sha("other")
    (folder / "energy-target.json").write_text(json.dumps(record))
    assert f"on this folder's {file}" in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_what_the_rule_measured_is_no_loss(drawn: None, tmp_path: Path) -> None:
    """It has a chart of its own with a mark at the chosen step; the loss chart keeps its two panels."""
    folder = write_run(tmp_path / "runs", "csg", selection="source-val")
    log_accuracy(folder, "validation", {10: 0.5, 20: 0.75})
    text = built_text(tmp_path / "runs", tmp_path / "out")
    assert "What the selection rule saw: mean-per-class accuracy" in text
    losses, chosen = ((tmp_path / f"out/figures/{name}.svg").read_text() for name in ("curves", "selection"))
    assert "accuracy" not in re.sub(r"<svg [^>]*>", "", losses)
    assert "on validation pictures" in chosen
    assert "figures/selection.png" in (tmp_path / "out/report.md").read_text()


def test_no_rule_no_chart_of_it(report: Path) -> None:
    assert not (report / "figures/selection.svg").exists()


def test_recipe_without_steps_is_no_fault(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "csg")
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"train": None}))
    assert rows_of(tmp_path / "runs")[0].runs[0].planned_steps is None
