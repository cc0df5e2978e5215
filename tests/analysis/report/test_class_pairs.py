"""The report's table of pairs within and between classes."""

import json
from pathlib import Path

import pytest

from csg_analysis.report.class_pairs_part import class_pairs_part
from tests.analysis.report.cases import built_text, rows_of, table, write_run

pytestmark = pytest.mark.usefixtures("sketched")
WITHIN = {"baseline": (-0.1, -0.2, -0.3), "csg": (-0.3, -0.5, -0.7)}  # csg less the baseline: -0.2, -0.3, -0.4


def parted(root: Path, method: str, seed: int, within: float | None, *, split: str = "target") -> None:
    folder = write_run(root, method, seed, attention=False)
    record = json.loads((folder / "energy-target.json").read_text())
    record["data"]["split"] = split
    record |= {"within": {"0": within}, "between": {"0": -0.45}}
    (folder / f"energy-{split}.json").write_text(json.dumps(record))


def test_means_and_paired_differences_of_either_kind_of_pairs(tmp_path: Path) -> None:
    for method, values in WITHIN.items():
        for seed, value in enumerate(values):
            parted(tmp_path / "runs", method, seed, value)
    page = built_text(tmp_path / "runs", tmp_path / "out")
    assert "Within classes and between them" in page
    baseline, csg = table(tmp_path / "out", "class_pairs_target")
    assert (baseline["e0_mhe_within"], csg["e0_mhe_within"]) == pytest.approx((-0.2, -0.5))
    assert csg["e0_mhe_within_sd"] == pytest.approx(0.2)
    assert csg["e0_mhe_within_minus_baseline"] == pytest.approx(-0.3)
    assert csg["e0_mhe_within_minus_baseline_low"] == pytest.approx(-0.3 - 4.302652730 * 0.1 / 3**0.5)
    assert csg["e0_mhe_between_minus_baseline"] == pytest.approx(0)


def test_a_table_for_each_split_that_has_labels_the_target_first(tmp_path: Path) -> None:
    for split in ("source", "target"):
        parted(tmp_path, "csg", 0, -0.2, split=split)
    assert [own.name for own in class_pairs_part(rows_of(tmp_path)).tables] == [
        "class_pairs_target",
        "class_pairs_source",
    ]


def test_infinite_pairs_have_no_mean(tmp_path: Path) -> None:
    parted(tmp_path, "csg", 0, None)
    (data,) = class_pairs_part(rows_of(tmp_path)).tables[0].data
    assert (data["e0_mhe_within"], data["e0_mhe_between"]) == (None, -0.45)


def test_none_without_labels(tmp_path: Path) -> None:
    write_run(tmp_path, "csg", attention=False)
    assert class_pairs_part(rows_of(tmp_path)) is None
