"""``csg-report diff``: which runs and which numbers changed between two reports."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from csg_analysis.report.build import build_report
from csg_analysis.report.diff import Change, compare_reports
from tests.analysis.report.cases import command, refused, write_run

pytestmark = pytest.mark.usefixtures("sketched")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Baseline and CSG; then CSG is measured anew, baseline is gone and ASG there; read only."""
    root = tmp_path_factory.mktemp("diff")
    first, second = root / "a", root / "b"
    write_run(root / "1", "baseline", right=50)
    write_run(root / "1", "csg", right=60)
    write_run(root / "2", "csg", right=70)
    write_run(root / "2", "asg", right=40)
    build_report([root / "1"], first, allow_mixed=False)
    build_report([root / "2"], second, allow_mixed=False)
    return first, second


def test_equal_reports_have_no_difference(pair: tuple[Path, Path]) -> None:
    found = compare_reports(pair[0], pair[0])
    assert (found.added, found.removed, found.changed, found.numbers) == ([], [], {}, [])
    result = command(pair[0], pair[0], name="diff")
    assert result.exit_code == 0
    assert result.output.splitlines() == ["the same runs", "no number changed"]


def test_runs_come_go_and_change(pair: tuple[Path, Path]) -> None:
    found = compare_reports(*pair)
    assert (found.added, found.removed) == (["clean-asg-0"], ["clean-baseline-0"])
    assert found.changed == {"clean-csg-0": ["checkpoint_sha256", "records"]}


def test_numbers_that_changed_and_no_other(pair: tuple[Path, Path]) -> None:
    numbers = compare_reports(*pair).numbers
    methods = [c for c in numbers if c.table == "methods" and c.row == "csg"]
    assert [(c.field, c.after) for c in methods] == [
        ("e0_mhe_minus_baseline", None),
        ("e0_mhe_minus_baseline_comparisons", 0),
        ("e0_mhe_minus_baseline_pairs", 0),
        ("mean_per_class_percent", 70.0),
        ("mean_per_class_percent_minus_baseline", None),
        ("mean_per_class_percent_minus_baseline_comparisons", 0),
        ("mean_per_class_percent_minus_baseline_pairs", 0),
        ("overall_percent", 70.0),
    ]
    assert methods[4].before == pytest.approx(10)
    assert Change("per_class", "bird csg", "accuracy_percent", 60.0, 70.0) in numbers
    assert Change("confusion", "bird fish csg", "share", 0.4, 0.3) in numbers
    assert Change("runs", "clean-asg-0", "seed", None, 0) in numbers
    assert not [c for c in numbers if c.table == "paper" and c.field.startswith("published")]


def test_json_is_the_same_and_the_other_way_round(pair: tuple[Path, Path]) -> None:
    def read(*reports: Path) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(command(*reports, "--json", name="diff").output)
        return value

    there, back = read(*pair), read(*reversed(pair))
    assert (there["added"], there["removed"]) == (back["removed"], back["added"])
    swapped = [(c["table"], c["row"], c["field"], c["after"], c["before"]) for c in back["numbers"]]
    assert sorted(swapped, key=str) == sorted(
        [(c["table"], c["row"], c["field"], c["before"], c["after"]) for c in there["numbers"]], key=str
    )


def test_the_table_on_the_screen(pair: tuple[Path, Path]) -> None:
    lines = command(*pair, name="diff").output.splitlines()
    assert lines[:3] == [
        "run added: clean-asg-0",
        "run removed: clean-baseline-0",
        "run changed: clean-csg-0 (checkpoint_sha256, records)",
    ]
    assert [line.split() for line in lines if "splits: csg" in line and "accuracy_percent_target " in line] == [
        ["│", "splits:", "csg", "│", "accuracy_percent_target", "│", "60", "│", "70", "│"]
    ]


def test_a_report_that_lost_a_table_is_no_other_report(pair: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(pair[0], tmp_path / "cut")
    (tmp_path / "cut/tables/methods.json").unlink()
    for reports in ((pair[0], tmp_path / "cut"), (tmp_path / "cut", pair[0])):
        assert "methods.json: no such table, which files.json lists" in refused(*reports, name="diff")


def test_what_is_no_report_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert "no report in this folder" in refused(pair[0], tmp_path, name="diff")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/provenance.json").write_text("[1]")
    assert "provenance.json: not a table of a report" in refused(pair[0], tmp_path, name="diff")
