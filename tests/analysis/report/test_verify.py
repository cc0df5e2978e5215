"""``csg-report verify`` finds every hand that touched a report, its records or its checkpoints."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csg_analysis.report.build import build_report, listed_files
from csg_analysis.report.verify import verify_report
from csg_train.errors import UserError
from csg_train.files import sha256_file
from tests.analysis.report.cases import command, refused, sha, write_run

pytestmark = pytest.mark.usefixtures("sketched")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report beside two runs, one with its checkpoint; read only."""
    root = tmp_path_factory.mktemp("verified")
    for method in ("baseline", "csg"):
        write_run(root / "runs", method)
    keep_checkpoint(root / "runs/clean-csg-0", "ckpt.pt")
    build_report([root / "runs"], root / "report", allow_mixed=False)
    return root


@pytest.fixture
def own(clean: Path, tmp_path: Path) -> Path:
    """A copy of ``clean`` that a test may spoil."""
    return shutil.copytree(clean, tmp_path / "own")


def keep_checkpoint(folder: Path, name: str) -> None:
    """Write some bytes as the run's checkpoint and name them in its records."""
    (folder / name).write_bytes(b"weights")
    for path in folder.glob("*-target.json"):
        change(path, lambda record: record["run"].update(checkpoint_sha256=hashlib.sha256(b"weights").hexdigest()))
    change(
        folder / "attention.json",
        lambda record: record["run"].update(checkpoint_sha256=hashlib.sha256(b"weights").hexdigest()),
    )


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def faults(root: Path) -> list[str]:
    """The lines of a report that does not agree, without the path of its folder."""
    result = command(root / "report", name="verify")
    assert result.exit_code == 2, result.output
    return [line.removeprefix(f"{root}/") for line in result.output.splitlines()]


def test_an_untouched_report_agrees_in_one_line(clean: Path) -> None:
    for runs in ([], [clean / "runs"], [clean / "runs/clean-csg-0", clean / "runs/clean-baseline-0"]):
        result = command(clean / "report", *runs, name="verify")
        assert result.exit_code == 0, result.output
        (line,) = result.output.splitlines()
        assert "agree with the 6 records of 2 runs; 1 checkpoints checked, 1 not there" in line


def test_the_list_holds_every_files_hash(clean: Path) -> None:
    listed = listed_files(clean / "report")
    there = {path.relative_to(clean / "report").as_posix() for path in (clean / "report").rglob("*") if path.is_file()}
    assert listed.keys() == there - {"files.json"}
    assert all(sha256_file(clean / "report" / name) == value for name, value in listed.items())


@pytest.mark.parametrize("name", ["tables/methods.csv", "index.html", "report.md", "tables/runs.tex"])
def test_a_number_edited_by_hand_is_named_alone(own: Path, name: str) -> None:
    path = own / "report" / name
    text = path.read_text()
    assert "50.0" in text
    path.write_text(text.replace("50.0", "59.0", 1))
    assert faults(own) == [f"report/{name}: changed after the report was built, files.json has another SHA-256"]


def test_an_edit_whose_hash_was_adapted_is_found_in_the_rebuilt_bytes(own: Path) -> None:
    path = own / "report/tables/methods.csv"
    path.write_text(path.read_text().replace("50.0", "59.0", 1))
    change(own / "report/files.json", lambda files: files.update({"tables/methods.csv": sha256_file(path)}))
    lines = faults(own)
    assert len(lines) == 2
    assert lines[0].startswith("report/files.json: line ")
    assert lines[1] == "report/tables/methods.csv: line 2 is not what the runs give now"


def test_a_missing_and_an_unlisted_file(own: Path) -> None:
    (own / "report/tables/runs.csv").unlink()
    change(own / "report/files.json", lambda files: files.pop("report.md"))
    lines = faults(own)
    assert "report/tables/runs.csv: missing; the report lists it" in lines
    assert "report/report.md: the records give this file, the report does not list it" in lines


def test_an_edited_record_is_named_with_what_it_contradicts(own: Path) -> None:
    path = own / "runs/clean-csg-0/accuracy-target.json"
    change(path, lambda record: record.update(mean_per_class=0.9))
    lines = faults(own)
    assert "runs/clean-csg-0/accuracy-target.json: changed after the report was built" in lines
    told = "mean_per_class does not follow from the record's own confusion matrix"
    assert f"runs/clean-csg-0/accuracy-target.json: {told}" in lines
    assert any(line.startswith("report/tables/methods.csv: line 3 is not what") for line in lines)


@pytest.mark.parametrize(("masks", "field"), [(False, "overall"), (True, "mean_iou"), (True, "overall")])
def test_a_record_edited_before_the_build_is_found_too(tmp_path: Path, masks: bool, field: str) -> None:
    folder = write_run(tmp_path / "runs", "csg", masks=masks)
    (path,) = [path for path in folder.glob("*-target.json") if not path.name.startswith("energy")]
    change(path, lambda record: record.update({field: 0.9}))
    build_report([tmp_path / "runs"], tmp_path / "report", allow_mixed=False)
    assert faults(tmp_path) == [
        f"runs/clean-csg-0/{path.name}: {field} does not follow from the record's own confusion matrix"
    ]


@pytest.mark.parametrize(
    ("change_to", "fault"),
    [
        ({"mhe": {"0": -0.6}}, "mhe of s = 0 does not follow from its own value in the convention paper"),
        ({"mhe": {"0": None}}, "mhe of s = 0 does not follow from its own value in the convention paper"),
        ({"paper": {"0": 1.0}, "mhe": {"0": 2.0}}, "mhe of s = 0 lies outside its own interval"),
        (
            {"within": {"0": 0.1}, "between": {"0": 0.3}},
            "mhe of s = 0 does not lie between its means within classes and between them",
        ),
    ],
)
def test_an_energy_edited_before_the_build_is_found_too(tmp_path: Path, change_to: dict, fault: str) -> None:
    path = write_run(tmp_path / "runs", "csg") / "energy-target.json"
    change(path, lambda record: [record[field].update(values) for field, values in change_to.items()])
    build_report([tmp_path / "runs"], tmp_path / "report", allow_mixed=False)
    assert f"runs/clean-csg-0/{path.name}: {fault}" in faults(tmp_path)


def test_an_edited_energy_is_named(own: Path) -> None:
    change(own / "runs/clean-csg-0/energy-target.json", lambda record: record["mhe"].update({"0": -0.6}))
    assert "runs/clean-csg-0/energy-target.json: changed after the report was built" in faults(own)


def test_a_replaced_checkpoint_is_named_alone(own: Path) -> None:
    (own / "runs/clean-csg-0/ckpt.pt").write_bytes(b"other weights")
    (line,) = faults(own)
    assert line.startswith("runs/clean-csg-0/ckpt.pt: not the checkpoint that was measured (")
    assert hashlib.sha256(b"other weights").hexdigest()[:12] in line


def test_the_checkpoint_of_a_rule_is_best_pt(tmp_path: Path) -> None:
    """ckpt.pt is another step then, and no fault."""
    folder = write_run(tmp_path / "runs", "csg", selection="source-val")
    keep_checkpoint(folder, "best.pt")
    (folder / "ckpt.pt").write_bytes(b"the last step")
    build_report([tmp_path / "runs"], tmp_path / "report", allow_mixed=False)
    assert "1 checkpoints checked" in command(tmp_path / "report", name="verify").output
    (folder / "best.pt").write_bytes(b"other")
    assert faults(tmp_path)[0].startswith("runs/clean-csg-0/best.pt: not the checkpoint")


def test_records_and_runs_that_come_and_go(own: Path) -> None:
    shutil.copy(own / "runs/clean-csg-0/energy-target.json", own / "runs/clean-csg-0/energy-source.json")
    change(own / "runs/clean-csg-0/energy-source.json", lambda record: record["data"].update(split="source"))
    (own / "runs/clean-csg-0/attention.json").unlink()
    write_run(own / "runs", "asg")
    result = command(own / "report", own / "runs", name="verify")
    lines = [line.removeprefix(f"{own}/") for line in result.output.splitlines()]
    assert "runs/clean-csg-0/energy-source.json: measured after the report was built" in lines
    assert "runs/clean-csg-0/attention.json: missing; the report names it" in lines
    assert "runs/clean-asg-0: has records, but the report does not name this run" in lines
    shutil.rmtree(own / "runs/clean-baseline-0")
    shutil.rmtree(own / "runs/clean-asg-0")
    assert "clean-baseline-0: the report names this run, its records were not found" in faults(own)


def test_a_mixed_report_is_verified_as_one(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "baseline")
    write_run(tmp_path / "runs", "csg", identity=sha("other"))
    build_report([tmp_path / "runs"], tmp_path / "report", allow_mixed=True)
    assert command(tmp_path / "report", name="verify").exit_code == 0


def test_runs_that_are_elsewhere_have_to_be_given(own: Path, tmp_path: Path) -> None:
    moved = (own / "runs").rename(tmp_path / "deep-runs")
    shutil.move(own / "report", tmp_path / "far/away/report")
    line = refused(tmp_path / "far/away/report", name="verify")
    assert "clean-baseline-0 is not beside the report; give the folders: csg-report verify" in line
    assert command(tmp_path / "far/away/report", moved, name="verify").exit_code == 0


def test_a_neighbour_with_one_run_of_the_same_name_is_not_taken(own: Path) -> None:
    write_run(own / "other", "csg")
    assert verify_report(own / "report", []).faults == []


def test_of_neighbours_with_the_same_runs_the_one_it_was_built_from_is_taken(own: Path) -> None:
    """Those of other seeds were compared with it, because their folder comes first by name."""
    shutil.copytree(own / "runs", own / "a-runs")
    for path in (own / "a-runs").glob("*/energy-target.json"):
        change(path, lambda record: record["data"].update(count=7))
    assert verify_report(own / "report", []).faults == []


def test_a_damaged_record_is_one_line_beside_the_faults(own: Path) -> None:
    (own / "report/index.html").write_text("other")
    (own / "runs/clean-csg-0/energy-target.json").write_text("{")
    first, second = faults(own)
    assert first.startswith("report/index.html: changed")
    assert "energy-target.json: not a csg-record/1" in second


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    assert "files.json: No such file or directory; give the folder of a report" in refused(tmp_path, name="verify")
    for content in ('{"a": 1}', '{"a\\u0000b": "z"}'):
        (tmp_path / "files.json").write_text(content)
        with pytest.raises(UserError, match=r"not a report's list of files"):
            listed_files(tmp_path)


def test_the_list_of_an_older_report_has_names_alone(own: Path) -> None:
    path = own / "report/files.json"
    path.write_text(json.dumps([*json.loads(path.read_text()), "files.json"]))
    assert faults(own) == ["report/files.json: line 1 is not what the runs give now"]
