"""What the report refuses, and what it says where parts are missing."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from csg_analysis.report.build import build_report
from csg_analysis.report.compare import check_comparable, notices
from csg_analysis.report.load import load_runs
from csg_analysis.report.verify import verify_report
from csg_train.errors import UserError
from csg_train.files import sha256_file
from tests.analysis.report.cases import (
    NO_DIFFERENCE,
    command,
    refused,
    sha,
    visible_text,
    write_all,
    write_predictions,
    write_run,
    write_snapshot,
)

pytestmark = pytest.mark.usefixtures("sketched")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"identity": sha("other")}, "target pictures"),
        ({"size": 64}, "input size"),
        ({"step": 40}, "training steps on clean"),
    ],
)
def test_refuses_what_is_not_comparable(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    write_run(tmp_path / "runs", "baseline")
    write_run(tmp_path / "runs", "csg", **change)
    line = refused(tmp_path / "runs", "--out", tmp_path / "out")
    assert named in line
    assert "--allow-mixed" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "key", "value", "named"),
    [
        ("energy-target.json", "layer", "layer3", "energy layer and pool"),
        ("energy-target.json", "pool", "attention", "energy layer and pool"),
        ("energy-target.json", "coincident_rule", "infinite", "rule for coincident pairs"),
        ("accuracy-target.json", "flip", False, "flip averaging"),
        ("attention.json", "explained", "label", "GradCAM explained class"),
    ],
)
def test_refuses_other_measurements(tmp_path: Path, file: str, key: str, value: object, named: str) -> None:
    write_run(tmp_path / "runs", "baseline")
    path = write_run(tmp_path / "runs", "csg") / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    assert named in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_pictures_of_one_identity_are_one_set_whatever_their_folder_is_called(tmp_path: Path) -> None:
    """As where runs were measured on two machines, or one run's records on both."""
    for method in ("baseline", "csg"):
        folder = write_run(tmp_path / "runs", method)
    for file in ("energy-target.json", "attention.json"):
        record = json.loads((folder / file).read_text())
        record["data"]["name"] = "moved"
        (folder / file).write_text(json.dumps(record))
    (first, second) = load_runs([tmp_path / "runs"])
    assert check_comparable([first, second], allow_mixed=False).differing == {}
    assert second.energy["target"].data == second.scores["target"].data == first.scores["target"].data


def test_mixed_report_is_marked_and_keeps_groups_apart(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / "runs", "baseline", seed, right=50 + seed)
        write_run(tmp_path / "runs", "csg", seed, right=70 + 2 * seed, identity=sha("other"))
    out = tmp_path / "out"
    assert command(tmp_path / "runs", "--out", out, "--allow-mixed").exit_code == 0
    text = visible_text((out / "index.html").read_text())
    assert "Mixed report" in text
    assert "baseline [A]" in text
    assert "csg [B]" in text
    data = json.loads((out / "tables/methods.json").read_text())["rows"]
    assert all(row["mean_per_class_percent_minus_baseline"] is None for row in data)
    assert "Mixed report" in (out / "report.md").read_text()


def test_refuses_records_of_two_checkpoints(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "csg")
    path = folder / "energy-target.json"
    record = json.loads(path.read_text())
    record["run"]["checkpoint_sha256"] = sha("newer")
    path.write_text(json.dumps(record))
    line = refused(tmp_path / "runs", "--out", tmp_path / "out")
    assert "csg-analyze" in line
    assert "energy-target.json" in line


def test_refuses_a_copied_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "csg")
    shutil.copytree(folder, tmp_path / "runs/copy")
    assert "same checkpoint" in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_refuses_two_runs_of_one_seed(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/a", "csg")
    write_run(tmp_path / "runs/b", "csg")
    assert "the same run as" in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_runs_of_two_learning_rates_are_refused_by_their_name_and_groups_of_a_mixed_report(tmp_path: Path) -> None:
    for name, rate in (("a", 0.01), ("b", 0.02)):
        for seed in range(2):
            path = write_run(tmp_path / "runs" / name, "csg", seed) / "recipe.yaml"
            recipe = yaml.safe_load(path.read_text())
            recipe["train"]["lr_head"] = rate
            path.write_text(yaml.safe_dump(recipe))
    line = refused(tmp_path / "runs", "--out", tmp_path / "out")
    assert "in train.lr_head alone, not in its method; build two reports, or pass --allow-mixed to show groups" in line
    mixed = check_comparable(load_runs([tmp_path / "runs"]), allow_mixed=True)
    assert [mixed.group[name] for name in sorted(mixed.group)] == ["A", "A", "B", "B"]
    assert mixed.differing["train.lr_head"] == (
        "0.01 (a/clean-csg-0, a/clean-csg-1)",
        "0.02 (b/clean-csg-0, b/clean-csg-1)",
    )
    for path in (tmp_path / "runs" / "b").rglob("recipe.yaml"):  # of a version that had no such field
        recipe = yaml.safe_load(path.read_text())
        del recipe["train"]["lr_head"]
        path.write_text(yaml.safe_dump(recipe))
    mixed = check_comparable(load_runs([tmp_path / "runs"]), allow_mixed=True)
    assert mixed.differing == {"train.lr_head": ("0.01 (a/clean-csg-0, a/clean-csg-1)",)}


def test_runs_that_were_begun_and_not_measured_are_said(tmp_path: Path) -> None:
    """A method that diverges on some seeds was averaged over the others without a word."""
    write_run(tmp_path / "runs", "baseline")
    lost = write_run(tmp_path / "runs", "csg")
    for path in lost.glob("*.json"):
        path.unlink()
    done = command(tmp_path / "runs", "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert (
        f"left out: {lost.name}, begun but not measured; csg-train run --resume finishes it" in done.output.splitlines()
    )
    said = f"Begun but not measured, so in no number here: {lost.name}."
    assert said in visible_text((tmp_path / "out" / "index.html").read_text())
    assert said in (tmp_path / "out" / "report.md").read_text()
    assert verify_report(tmp_path / "out", [tmp_path / "runs"]).faults == []
    (lost / "log.jsonl").unlink()
    assert verify_report(tmp_path / "out", []).faults == [], "the report says what was so when it was built"
    assert "no records" in refused(tmp_path / "runs", lost, "--out", tmp_path / "out")


def test_refuses_empty_and_missing_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no records" in refused(tmp_path / "empty", "--out", tmp_path / "out")
    assert "no such folder" in refused(tmp_path / "nowhere", "--out", tmp_path / "out")
    with pytest.raises(UserError, match="no folder of runs given"):
        build_report([], tmp_path / "out", allow_mixed=False)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("energy-target.json", b'{"kind": "energy"'),
        ("attention.npz", b"PK\x03\x04 cut"),
        ("log.jsonl", b"nonsense\n"),
        ("recipe.yaml", b"{["),
        ("recipe.yaml", b"a: &a [1, 1]\nb: [*a, *a]"),
    ],
)
def test_refuses_damaged_files(tmp_path: Path, file: str, content: bytes) -> None:
    folder = write_run(tmp_path / "runs", "csg")
    (folder / file).write_bytes(content)
    assert file in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_maps_that_are_not_the_record_s_are_one_line(tmp_path: Path) -> None:
    """As where GradCAM was interrupted between the two files, or one was copied alone."""
    shown, other = (write_run(tmp_path / "runs", "csg", seed) / "attention.npz" for seed in range(2))
    for path in (shown, other):
        record = path.with_suffix(".json")
        record.write_text(json.dumps(json.loads(record.read_text()) | {"arrays_sha256": sha256_file(path)}))
    build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False)
    other.write_bytes(other.read_bytes() + b" ")
    said = command(tmp_path / "out", tmp_path / "runs", name="verify").output
    assert f"{other}: not the arrays that attention.json is of" in said
    shown.write_bytes(shown.read_bytes() + b" ")
    said = refused(tmp_path / "runs", "--out", tmp_path / "again")
    assert f"{shown}: not what attention.json is of (SHA-256); run csg-analyze gradcam again" in said


def test_a_record_of_another_version_says_so(tmp_path: Path) -> None:
    path = write_run(tmp_path / "runs", "csg") / "energy-target.json"
    record = json.loads(path.read_text()) | {"later": 1}
    record["run"]["versions"]["csg-toolkit"] = "9.1"
    path.write_text(json.dumps(record))
    assert "csg-toolkit 9.1 wrote it" in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_hidden_folders_hold_copies_and_no_runs(tmp_path: Path) -> None:
    """Of a trash, of a notebook's checkpoints; one that is asked for by its name is read."""
    folder = write_run(tmp_path / "runs", "csg")
    shutil.copytree(folder, tmp_path / "runs" / ".Trash-1000" / "files")
    (folder / ".ipynb_checkpoints").mkdir()
    shutil.copy(folder / "energy-target.json", folder / ".ipynb_checkpoints" / "energy-target-checkpoint.json")
    assert [run.folder for run in load_runs([tmp_path / "runs"])] == [folder]
    assert len(load_runs([tmp_path / "runs" / ".Trash-1000"])) == 1
    shutil.copy(folder / "energy-target.json", folder / "energy-target (1).json")
    assert "remove the copy" in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_refuses_a_record_under_a_wrong_name(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "csg")
    (folder / "energy-target.json").rename(folder / "energy-source.json")
    assert "energy-source.json" in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_half_a_last_log_line_is_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "csg")
    with (folder / "log.jsonl").open("a") as stream:
        stream.write('{"step": 21, "lo')
    (run,) = load_runs([tmp_path])
    assert run.last_step == 20


@pytest.mark.parametrize(
    ("removed", "told"),
    [
        (("attention.json", "attention.npz"), "csg-analyze gradcam"),
        (("energy-target.json",), "csg-analyze energy"),
        (("accuracy-target.json",), "csg-analyze accuracy"),
        (("log.jsonl", "recipe.yaml"), "No run folder holds a training log"),
    ],
)
def test_missing_parts_say_how_to_make_them(tmp_path: Path, removed: tuple[str, ...], told: str) -> None:
    root = write_all(tmp_path / "runs", NO_DIFFERENCE)
    for name in removed:
        for path in root.rglob(name):
            path.unlink()
    out = build_report([root], tmp_path / "out", allow_mixed=False).parent
    assert told in visible_text((out / "index.html").read_text())
    assert told in (out / "report.md").read_text().replace("\\", "")


@pytest.mark.parametrize("kept", ["attention.json", "accuracy-target.json", "energy-target.json"])
def test_one_run_with_one_record_is_a_report(tmp_path: Path, kept: str) -> None:
    folder = write_run(tmp_path / "runs", "csg")
    for path in folder.iterdir():
        if path.name not in (kept, "attention.npz"):
            path.unlink()
    assert build_report([folder], tmp_path / "out", allow_mixed=False).is_file()


def test_what_a_row_is_named_after_is_no_difference_between_recipes(tmp_path: Path) -> None:
    options: dict[str, dict[str, Any]] = {
        "plain": {},
        "lp-ft": {"probe": 9},
        "frozen": {"frozen": ["layer1"]},
        "pasta": {"augment": "pasta"},
        "strong": {"augment": "pasta", "alpha": 20.0},
    }
    for name, added in options.items():
        folder = write_run(tmp_path / "runs" / name, "baseline", options=added)
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
        recipe["train"] |= {"probe": added.get("probe", 0), "frozen": added.get("frozen", [])}
        recipe["data"] = {"augment": added.get("augment", "none" if name == "plain" else "randaugment")}
        recipe["data"]["pasta"] = {"alpha": added.get("alpha", 10.0)} if "augment" in added else None
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    text = visible_text(build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).read_text())
    assert text.count("The recipes differ in") == 1
    assert "The recipes differ in data.augment" in text  # RandAugment, which no row is named after
    assert '"pasta" (' not in text


def test_notices_name_other_recipes_and_old_records(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "baseline")
    folder = write_run(tmp_path / "runs", "csg")
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["train"]["lr_head"] = 0.5
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with (folder / "log.jsonl").open("a") as stream:
        stream.write('{"step": 21, "loss": 1.0}\n')
    out = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    text = visible_text((out / "index.html").read_text())
    assert "The recipes differ in train.lr_head" in text
    assert "the training log goes to step 21" in text


@pytest.mark.parametrize(
    ("section", "key", "value", "named"),
    [
        ("run", "backbone", "resnet50", "backbone: resnet18 (clean-baseline-0) / resnet50 (clean-csg-0)"),
        ("run", "weights", sha("others"), "starting weights"),
        ("run", "source_identity", sha("others"), "source pictures of clean"),
    ],
)
def test_refuses_runs_of_another_start(tmp_path: Path, section: str, key: str, value: str, named: str) -> None:
    write_run(tmp_path / "runs", "baseline")
    for path in write_run(tmp_path / "runs", "csg").glob("*.json"):
        record = json.loads(path.read_text())
        record[section][key] = value
        path.write_text(json.dumps(record))
    assert named in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_runs_of_one_value_are_counted_from_four_on(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "baseline", size=64)
    for seed in range(3):
        write_run(tmp_path / "runs", "csg", seed)
    named = "32 px, pad (clean-csg-0, clean-csg-1, clean-csg-2)"
    assert named in refused(tmp_path / "runs", "--out", tmp_path / "out")
    write_run(tmp_path / "runs", "csg", 3)
    assert "32 px, pad (clean-csg-0, clean-csg-1 and 2 more)" in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_another_layer_of_gradcam_keeps_the_numbers_together(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "baseline")
    path = write_run(tmp_path / "runs", "csg") / "attention.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layer": "layer3"}))
    assert "GradCAM layer" in refused(tmp_path / "runs", "--out", tmp_path / "out")
    assert set(check_comparable(load_runs([tmp_path / "runs"]), allow_mixed=True).group.values()) == {""}


def test_an_infinite_energy_along_a_run_is_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "csg")
    changes = {"coincident_rule": "infinite"}
    path = folder / "energy-target.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    write_snapshot(folder, 0, -0.4, **changes, mhe=dict.fromkeys("012"), paper=dict.fromkeys("012"), interval={})
    (notice,) = notices(load_runs([tmp_path]))
    assert notice.startswith("Equal pictures make the energy of clean-csg-0")


@pytest.mark.parametrize(("field", "said"), [("batch_size", True), ("workers", False)])
def test_a_recipe_s_batch_is_a_difference_and_its_workers_are_none(tmp_path: Path, field: str, said: bool) -> None:
    for method, value in (("baseline", 8), ("csg", 16)):
        path = write_run(tmp_path, method) / "recipe.yaml"
        recipe = yaml.safe_load(path.read_text())
        recipe["train"][field] = value
        path.write_text(yaml.safe_dump(recipe))
    found = notices(load_runs([tmp_path]))
    assert [notice.split(": ")[0] for notice in found] == [f"The recipes differ in train.{field}"] * said


def test_a_run_from_before_the_field_was_trained_with_sgd(tmp_path: Path) -> None:
    write_run(tmp_path, "baseline")
    path = write_run(tmp_path, "csg") / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    recipe["train"]["optimizer"] = "adamw"
    path.write_text(yaml.safe_dump(recipe))
    (found,) = notices(load_runs([tmp_path]))
    assert found.startswith('The recipes differ in train.optimizer: "sgd" (clean-baseline-0) / "adamw" (clean-csg-0)')


def test_masks_of_other_pictures_keep_the_numbers_together(tmp_path: Path) -> None:
    for count, method in ((2, "baseline"), (3, "csg")):
        write_predictions(write_run(tmp_path, method, masks=True, attention=False), count=count)
    assert "predicted masks of target" in refused(tmp_path, "--out", tmp_path / "out")
    assert set(check_comparable(load_runs([tmp_path]), allow_mixed=True).group.values()) == {""}
