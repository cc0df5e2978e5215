"""Reports of segmentation: mean IoU in the places of accuracy, the paper's Table 5, both tasks kept apart."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import jaccard_score

from csg_analysis.report.paper_order import order_sentences
from csg_analysis.report.paper_segmentation import published_gains
from csg_analysis.report.summary import summarize
from csg_analysis.report.wording import input_size, wording_of
from csg_train.runs.records import DataInfo, SegmentationRecord, read_record
from tests.analysis.report.cases import built_text, command, refused, rows_of, table, write_run

RIGHT = {"baseline": (50, 54, 52), "ibn-net": (50, 51, 57), "csg": (70, 75, 71)}


def iou(right: int) -> float:
    """Of either class, 100 pixels true each: r right, 200 - r in the union."""
    return right / (200 - right)


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods of segmentation, three seeds, CSG better; read only."""
    root = tmp_path_factory.mktemp("masks")
    for method, values in RIGHT.items():
        for seed, right in enumerate(values):
            write_run(root / "runs", method, seed, right=right, masks=True, backbone="resnet50")
    return root


@pytest.fixture(scope="module")
def shown(masks: Path) -> str:
    """What the page of ``masks`` shows; the report is beside the runs."""
    return built_text(masks / "runs", masks / "out")


def test_the_cases_are_sklearns_iou(masks: Path) -> None:
    record = read_record(masks / "runs/clean-csg-0/segmentation-target.json")
    assert isinstance(record, SegmentationRecord)
    true = np.repeat([0, 0, 1, 1], np.ravel(record.confusion))
    predicted = np.repeat([0, 1, 0, 1], np.ravel(record.confusion))
    assert record.per_class == pytest.approx(jaccard_score(true, predicted, average=None))


def test_mean_iou_stands_where_accuracy_stands(masks: Path, shown: str) -> None:
    assert "Hyperspherical energy and mean IoU on the target, by method" in shown
    assert "Energy against mean IoU" in shown
    assert "IoU by class on the target" in shown
    assert "in % of the pixels of each true class" in shown
    assert "whole pictures" in shown
    assert "accuracy" not in shown.lower()
    markdown = (masks / "out/report.md").read_text()
    assert "Energy and mean IoU" in markdown
    assert "accuracy" not in markdown.replace("energy_accuracy.png", "").lower()
    for name in ("differences", "energy_accuracy", "confusion", "curves"):
        assert "accuracy" not in (masks / f"out/figures/{name}.svg").read_text().replace("energy_accuracy-", "")


def test_tables_hold_mean_iou(masks: Path, shown: str) -> None:
    assert shown
    rows = {row["row"]: row for row in table(masks / "out", "methods")}
    csg, base = [np.array([100 * iou(right) for right in RIGHT[method]]) for method in ("csg", "baseline")]
    expected = stats.ttest_rel(csg, base).confidence_interval(0.95)
    assert rows["csg"]["mean_iou_percent"] == pytest.approx(csg.mean())
    assert rows["csg"]["mean_iou_percent_minus_baseline"] == pytest.approx((csg - base).mean())
    assert rows["csg"]["mean_iou_percent_minus_baseline_low"] == pytest.approx(expected.low)
    assert rows["csg"]["overall_percent"] == pytest.approx(72)
    run = next(row for row in table(masks / "out", "runs") if row["run"] == "clean-csg-1")
    assert run["mean_iou_percent"] == pytest.approx(60)
    assert run["mean_iou_percent_high"] == pytest.approx(65)
    by_class = [row["iou_percent"] for row in table(masks / "out", "per_class") if row["row"] == "csg"]
    assert by_class == pytest.approx([csg.mean(), csg.mean()])
    share = next(r for r in table(masks / "out", "confusion") if (r["row"], r["predicted"]) == ("csg", "bird"))
    assert share["share"] == pytest.approx(0.72)
    assert table(masks / "out", "splits")[-1]["mean_iou_percent_target"] == pytest.approx(csg.mean())


def test_summary_speaks_of_mean_iou(masks: Path) -> None:
    *_, helped = summarize(rows_of(masks / "runs"))
    assert helped.text.startswith("Mean IoU on the target against the baseline (in brackets simultaneous 95% ")
    assert "higher, the interval excludes 0" in helped.text


def test_published_gains_are_table_5() -> None:
    found = {backbone: published_gains(backbone) for backbone in ("resnet50", "resnet101")}
    gains = {(b, m): round(100 * entry.gain, 2) for b, entries in found.items() for m, entry in entries.items()}
    assert gains == {
        ("resnet50", "ibn-net"): 7.47,
        ("resnet50", "domain-randomization"): 4.97,
        ("resnet50", "asg"): 3.77,
        ("resnet50", "csg"): 9.39,
        ("resnet101", "domain-randomization"): 8.97,
        ("resnet101", "asg"): 3.16,
        ("resnet101", "csg"): 9.25,
    }
    assert found["resnet101"]["csg"].after == pytest.approx(0.3888)
    assert found["resnet50"]["domain-randomization"].before == pytest.approx(0.3245)


def test_table_5_stands_beside_ours_and_table_1_does_not(masks: Path, shown: str) -> None:
    assert "the paper's Table 5 (published) and our numbers" in shown
    assert "Table 1" not in shown
    assert not (masks / "out/tables/paper.csv").exists()
    rows = {row["method"]: row for row in table(masks / "out", "paper_segmentation")}
    assert list(rows) == ["ibn-net", "domain-randomization", "asg", "csg", "baseline"]
    csg, base = [np.array([100 * iou(right) for right in RIGHT[method]]) for method in ("csg", "baseline")]
    assert rows["csg"]["published_resnet101_gain_points"] == pytest.approx(9.25)
    assert rows["csg"]["ours_before_percent"] == pytest.approx(base.mean())
    assert rows["csg"]["ours_after_percent"] == pytest.approx(csg.mean())
    assert rows["csg"]["ours_gain_points"] == pytest.approx((csg - base).mean())
    assert rows["asg"]["row"] is None
    assert rows["ibn-net"]["published_resnet101_after_percent"] is None


def test_gains_by_class_are_paired_differences_of_the_records(masks: Path, shown: str) -> None:
    assert "Gains by class" in shown
    rows = {(row["class"], row["row"]): row for row in table(masks / "out", "class_gains")}
    assert list(rows)[:3] == [(None, "baseline"), (None, "ibn-net"), (None, "csg")]
    csg, base = [np.array([100 * iou(right) for right in RIGHT[method]]) for method in ("csg", "baseline")]
    alone, wide = (stats.ttest_rel(csg, base).confidence_interval(level) for level in (0.95, 1 - 0.05 / 2))
    for name in (None, "bird", "fish"):
        row = rows[name, "csg"]
        assert row["iou_percent"] == pytest.approx(csg.mean())
        assert row["gain_points"] == pytest.approx((csg - base).mean())
        assert (row["gain_points_low"], row["gain_points_high"]) == pytest.approx((alone.low, alone.high))
        assert row["gain_points_simultaneous_low"] == pytest.approx(wide.low)
        assert rows[name, "baseline"]["gain_points"] is None


def test_without_a_baseline_there_are_no_gains(undrawn: None, tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path / "runs", "csg", seed, masks=True)
    assert "Gains by class" not in built_text(tmp_path / "runs", tmp_path / "out")
    assert not (tmp_path / "out/tables/class_gains.json").exists()


def test_order_is_that_of_the_published_gains(masks: Path) -> None:
    (sentence,) = order_sentences(rows_of(masks / "runs"))
    assert sentence.startswith("Mean IoU: 3 pairs of methods in both tables (simultaneous 95% intervals): ")
    assert "1 ordered as published, baseline < csg;" in sentence
    assert "2 inconclusive in these runs, published as baseline < ibn-net, ibn-net < csg" in sentence


def test_resnet101_is_compared_with_its_own_column(undrawn: None, tmp_path: Path) -> None:
    for method in ("baseline", "csg"):
        write_run(tmp_path / "runs", method, masks=True, backbone="resnet101")
    built_text(tmp_path / "runs", tmp_path / "out")
    (row,) = table(tmp_path / "out", "order")
    assert row["mean_iou_percent_published"] == pytest.approx(9.25)


def test_both_tasks_are_refused_together(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "baseline")
    write_run(tmp_path / "runs", "csg", masks=True)
    line = refused(tmp_path / "runs", "--out", tmp_path / "out")
    assert "task: classification (clean-baseline-0) / segmentation (clean-csg-0)" in line
    assert "--allow-mixed" in line
    assert not (tmp_path / "out").exists()


def test_both_tasks_in_a_mixed_report_keep_apart(undrawn: None, tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / "runs/pictures", "baseline", seed, right=50 + seed)
        write_run(tmp_path / "runs/masks", "csg", seed, right=70, masks=True)
    assert command(tmp_path / "runs", "--out", tmp_path / "out", "--allow-mixed").exit_code == 0
    for row in table(tmp_path / "out", "methods"):
        assert row["score_percent_minus_baseline"] is None
    assert {"paper.json", "paper_segmentation.json"} <= {path.name for path in (tmp_path / "out/tables").iterdir()}
    assert [row["row"] for row in table(tmp_path / "out", "paper") if row["row"]] == ["baseline [B]"]


def test_a_second_score_of_one_split_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "runs", "csg")
    write_run(tmp_path / "runs", "csg", masks=True)
    line = refused(tmp_path / "runs", "--out", tmp_path / "out")
    assert f"{folder}/segmentation-target.json: a second score of target" in line


@pytest.mark.parametrize("change", [{"confusion": [[1, 2], [3]]}, {"per_class": [0.5]}, {"classes": ["a", "b", "c"]}])
def test_numbers_that_do_not_fit_the_classes_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = write_run(tmp_path / "runs", "csg", masks=True) / "segmentation-target.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert "do not fit its" in refused(tmp_path / "runs", "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("size", "fit", "text"),
    [
        (224, "pad", "224 px, pad"),
        (None, "whole", "whole pictures"),
        (512, "whole", "whole pictures, the longer side at most 512 px"),
    ],
)
def test_input_size_in_words(size: int | None, fit: str, text: str) -> None:
    assert input_size(DataInfo(split="target", name="x", identity="", count=1, size=size, fit=fit)) == text


def test_names_are_the_records_own(masks: Path, runs: Path) -> None:
    """What a heading says is what the record's ``score_name`` says."""
    for root in (masks / "runs", runs):
        (run, *_) = rows_of(root)[0].runs
        words = wording_of([run])
        assert run.scores["target"].score_name in (words.score, words.unit.removeprefix("% "))
