"""Runs for scale: in a table of their own, in no comparison, measured on the same target."""

import json
from pathlib import Path

import pytest
import yaml

from csg_analysis.report.build import build_report
from csg_analysis.report.load import load_runs
from csg_analysis.report.scale import scale_rows, scale_table
from csg_analysis.report.verify import verify_report
from csg_train.errors import UserError
from tests.analysis.report.cases import write_run

pytestmark = pytest.mark.usefixtures("sketched")


def _for_scale(root: Path, text: str, method: str = "baseline", **options: object) -> None:
    folder = write_run(root, method, source="real", **options)  # type: ignore[arg-type]
    path = folder / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text()) if path.exists() else {}
    path.write_text(yaml.safe_dump(recipe | {"for_scale": text}))


def test_a_run_for_scale_has_its_own_table_and_leaves_every_other_as_it_was(tmp_path: Path) -> None:
    for seed, right in enumerate((40, 50, 60)):
        write_run(tmp_path / "runs", "baseline", seed, right=right)
        write_run(tmp_path / "runs", "csg", seed, right=right + 5)
    build_report([tmp_path / "runs"], tmp_path / "before", allow_mixed=False)
    for seed, right in enumerate((80, 90)):
        _for_scale(tmp_path / "runs", "trained on real pictures", seed=seed, right=right)
    build_report([tmp_path / "runs"], tmp_path / "after", allow_mixed=False)
    before, after = (json.loads((tmp_path / name / "tables/methods.json").read_text()) for name in ("before", "after"))
    assert before == after
    (row,) = json.loads((tmp_path / "after/tables/scale.json").read_text())["rows"]
    assert row["row"] == "trained on real pictures (baseline)"
    assert row["mean_per_class_percent"] == pytest.approx(85)
    assert row["runs"] == 2
    assert not (tmp_path / "before/tables/scale.json").exists()
    assert verify_report(tmp_path / "after", [tmp_path / "runs"]).faults == []


def test_two_configurations_of_one_text_have_names_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "baseline")
    for weight in (0.1, 1.0):
        _for_scale(tmp_path / f"runs/{weight}", "on real pictures", method_config={"weight": weight})
    build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False)
    rows = json.loads((tmp_path / "out/tables/scale.json").read_text())["rows"]
    assert [row["row"] for row in rows] == [f"on real pictures (baseline weight={weight})" for weight in (0.1, 1.0)]


def test_a_run_for_scale_on_another_target_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "baseline")
    _for_scale(tmp_path, "trained on real pictures", name="other photos", identity="f" * 64)
    with pytest.raises(UserError, match="target pictures"):
        build_report([tmp_path], tmp_path / "out", allow_mixed=False)


def test_one_run_for_scale_twice_is_refused_and_an_unknown_method_has_its_name(tmp_path: Path) -> None:
    """The second would be in no mean, and yet be counted."""
    for steps in (20, 30):
        _for_scale(tmp_path / f"{steps}", "on real pictures", step=steps)
    with pytest.raises(UserError, match=r"30/\S+: the same run for scale as \S+20/"):
        scale_rows(load_runs([tmp_path]), first=0)
    _for_scale(tmp_path / "other", "on real pictures", method="later")
    (row,) = scale_rows(load_runs([tmp_path / "other"]), first=0)
    assert (row.title, row.label) == ("later", "on real pictures (later)")


def test_runs_for_scale_alone_make_no_report(tmp_path: Path) -> None:
    _for_scale(tmp_path, "trained on real pictures")
    with pytest.raises(UserError, match="methods' runs"):
        build_report([tmp_path], tmp_path / "out", allow_mixed=False)


def test_the_cells_of_a_run_for_scale_by_hand(tmp_path):
    for seed, right in enumerate((80, 90)):
        _for_scale(tmp_path, "on real pictures", seed=seed, right=right)
        path = tmp_path / f"real-baseline-{seed}/accuracy-target.json"
        record = json.loads(path.read_text())
        record["confusion"] = [[right, 100 - right], [0, 200]]
        record["per_class"], record["mean_per_class"] = [right / 100, 1.0], (right / 100 + 1) / 2
        record["overall"] = (right + 200) / 300
        path.write_text(json.dumps(record))
    own = scale_table(scale_rows(load_runs([tmp_path]), first=0))
    (cells,), (data,) = own.rows, own.data
    assert cells[2].text == "2"
    assert cells[3].text.startswith("\N{MINUS SIGN}0.200")  # of -0.2 and -0.199
    assert cells[4].text.split("\N{NARROW NO-BREAK SPACE}")[0] == "92.5"
    assert cells[5].text.split("\N{NARROW NO-BREAK SPACE}")[0] == "95.0"
    assert data["mean_per_class_percent"] == pytest.approx(92.5)


@pytest.mark.parametrize(
    ("file", "changes", "named"),
    [
        ("energy", {"layer": "layer3"}, "energy layer and pool"),
        ("energy", {"pool": "attention"}, "energy layer and pool"),
        ("energy", {"coincident_rule": "infinite"}, "rule for coincident pairs"),
        ("accuracy", {"flip": False}, "flip averaging"),
    ],
)
def test_a_run_for_scale_that_was_measured_otherwise_is_refused(tmp_path, file, changes, named):
    write_run(tmp_path, "baseline")
    _for_scale(tmp_path, "trained on real pictures")
    path = tmp_path / f"real-baseline-0/{file}-target.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError, match=f"for scale, but its {named}"):
        build_report([tmp_path], tmp_path / "out", allow_mixed=False)


@pytest.mark.parametrize(
    ("changes", "named"), [({"size": 64}, "input size"), ({"selection": "oracle"}, "selection rule")]
)
def test_a_run_for_scale_of_another_size_or_rule_is_refused(tmp_path, changes, named):
    write_run(tmp_path, "baseline")
    _for_scale(tmp_path, "trained on real pictures", **changes)
    with pytest.raises(UserError, match=f"for scale, but its {named}"):
        build_report([tmp_path], tmp_path / "out", allow_mixed=False)
