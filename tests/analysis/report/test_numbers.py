"""The report's numbers and wording: statistics against scipy, no claim that an interval does not carry."""

import csv
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from csg_analysis.report.build import build_report
from csg_analysis.report.chart import FEW
from csg_analysis.report.gallery import choose
from csg_analysis.report.method_tables import class_table, method_table, split_table
from csg_analysis.report.paper import published
from csg_analysis.report.paper_order import order_sentences, order_table
from csg_analysis.report.rows import best, comparisons, reference, score, to_baseline
from csg_analysis.report.run_tables import provenance_table, run_table
from csg_analysis.report.stats import paired_difference, rank_correlation, rank_correlation_interval, spread
from csg_analysis.report.summary import summarize
from csg_train.runs.records import AccuracyRecord, only_prediction, read_record, write_record
from tests.analysis.report.cases import HELP, built_text, rows_of, sha, table, visible_text, write_all, write_run

pytestmark = pytest.mark.usefixtures("sketched")


def test_paired_interval_is_scipys() -> None:
    ours = {"a": 0.61, "b": 0.55, "c": 0.70, "d": 0.58}
    theirs = {"d": 0.50, "c": 0.66, "b": 0.56, "a": 0.52, "e": 0.1}
    found = paired_difference(ours, theirs)
    values = [0.09, -0.01, 0.04, 0.08]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found is not None
    assert found.values == pytest.approx(values)
    assert found.mean == pytest.approx(0.05)
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert found.sign == "none"


def test_paired_interval_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, sd 1, t(0.975, 2) = 4.302653, half width 4.302653 / sqrt 3."""
    found = paired_difference({1: 1.0, 2: 2.0, 3: 3.0}, {1: 0.0, 2: 0.0, 3: 0.0})
    assert found is not None
    assert found.interval is not None
    assert found.interval[1] == pytest.approx(2 + 4.302652729911275 / 3**0.5)


@pytest.mark.parametrize(
    ("values", "sign"),
    [
        ((1.0,), "few"),
        ((1.0, 1.1), "few"),
        ((1.0, 1.1, 1.2), "higher"),
        ((-1.0, -1.1, -1.2), "lower"),
        ((0, 0, 0), "none"),
    ],
)
def test_sign_follows_the_interval(values: tuple[float, ...], sign: str) -> None:
    found = paired_difference(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0))
    assert found is not None
    assert found.sign == sign


def test_no_common_pair_no_difference() -> None:
    assert paired_difference({1: 1.0}, {2: 1.0}) is None


def test_spread_of_one_run_has_no_deviation() -> None:
    one, three = spread([0.5]), spread([1.0, 2.0, 3.0])
    assert one is not None
    assert one.sd is None
    assert three is not None
    assert three.sd == pytest.approx(1.0)


def test_interval_of_a_mean_is_scipys() -> None:
    values = [0.61, 0.55, 0.70, 0.58]
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert spread(values).interval == pytest.approx(expected)
    assert spread(values[:2]).interval is None


def test_interval_of_the_rank_correlation() -> None:
    """Shifted copies keep their order in every resample: [1, 1]. One noisy pair of methods: against a direct loop."""
    first = [{pair: pair + 10.0 * method for pair in range(5)} for method in range(4)]
    assert rank_correlation_interval(first, first) == (1, 1)
    assert rank_correlation_interval(first, [{p: -v for p, v in m.items()} for m in first]) == (-1, -1)
    assert rank_correlation_interval(first[:3], first[:3]) is None  # methods
    assert rank_correlation_interval([{0: m[0], 1: m[1]} for m in first], first) is None  # shared pairs
    noisy = [{0: 0.0, 1: 3.0, 2: 9.0}, {0: 5.0, 1: 2.0, 2: 1.0}, {0: 7.0, 1: 6.0, 2: 8.0}, {0: 9.0, 1: 9.0, 2: 0.5}]
    ordered = [{pair: float(method) for pair in range(3)} for method in range(4)]
    drawn = np.random.default_rng(0).integers(3, size=(2000, 3))
    direct = [
        stats.spearmanr([sum(m[p] for p in pairs.tolist()) for m in noisy], range(4)).statistic for pairs in drawn
    ]
    assert rank_correlation_interval(noisy, ordered) == pytest.approx(tuple(np.quantile(direct, [0.025, 0.975])))


def test_rank_correlation_needs_four_methods() -> None:
    assert rank_correlation([1, 2, 3], [3, 2, 1]) is None
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 1, 1], [4, 3, 2, 1]) is None


def test_summary_says_no_difference(runs: Path) -> None:
    what, collapse, helped = summarize(rows_of(runs))
    assert "9 runs of 3 methods (oracle, baseline, csg)" in what.text
    assert "200 target pictures (photos)" in what.text
    assert collapse.text.startswith("Yes")
    assert "+0.160" in collapse.text
    assert "no difference can be shown, in points over 3 pairs, for csg +0.3 [" in helped.text
    assert helped.tone == "plain"


def test_summary_says_once_of_which_rows_no_difference_can_be_shown(tmp_path: Path) -> None:
    *_, helped = summarize(rows_of(write_all(tmp_path, HELP | {"asg": (53, 50, 54), "si": (51, 55, 50)})))
    assert helped.text.count("no difference can be shown") == 1
    equal = helped.text[helped.text.index("no difference can be shown") :]
    assert equal.startswith("no difference can be shown, in points over 3 pairs each, for si ")
    assert "asg +0.3 [" in equal
    assert "csg" not in equal
    assert "csg +10.3 points [" in helped.text


def test_summary_says_a_planted_difference(tmp_path: Path) -> None:
    *_, helped = summarize(rows_of(write_all(tmp_path, HELP)))
    assert "csg +10.3 points" in helped.text
    assert "higher, the interval excludes 0" in helped.text
    assert helped.verdict == "help shown"


def test_summary_says_a_planted_harm(tmp_path: Path) -> None:
    *_, helped = summarize(rows_of(write_all(tmp_path, HELP | {"csg": (40, 43, 44)})))
    assert "lower, the interval excludes 0" in helped.text
    assert helped.verdict == "harm shown"


def test_summary_says_no_collapse_when_energy_falls(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "oracle", seed, energy=-0.2)
        write_run(tmp_path, "baseline", seed, energy=-0.4 + 0.001 * seed)
    _, collapse, helped = summarize(rows_of(tmp_path))
    assert collapse.text.startswith("No:")
    assert "cannot be said" in helped.text


def test_single_seed_gives_no_ranking(tmp_path: Path) -> None:
    write_all(tmp_path / "runs", {"oracle": (50,), "baseline": (40,), "csg": (90,), "asg": (70,)})
    out = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    page = (out / "index.html").read_text()
    text = visible_text(page)
    assert "too few runs for an interval" in text
    assert not re.search(r'class="[^"]*\bstrong\b', page)
    assert "higher, the interval" not in text
    assert "not given while a method has fewer than 3 runs" in text
    assert "agrees" not in text.replace("Does the order agree", "")
    assert "**+" not in (out / "report.md").read_text()
    data = json.loads((out / "tables/methods.json").read_text())["rows"]
    assert all(row["mean_per_class_percent_minus_baseline_low"] is None for row in data)
    assert all(row["mean_per_class_percent_sd"] is None for row in data)


def test_best_is_bold_only_against_every_other(tmp_path: Path) -> None:
    clear = build_report([write_all(tmp_path / "clear", HELP)], tmp_path / "a", allow_mixed=False).parent
    unclear = build_report(
        [write_all(tmp_path / "un", HELP | {"oracle": (70, 40, 60)})], tmp_path / "b", allow_mixed=False
    ).parent
    assert "here csg's accuracy is bold" in visible_text((clear / "index.html").read_text())
    assert "here no accuracy is bold" in visible_text((unclear / "index.html").read_text())


def test_each_group_of_a_mixed_report_has_its_best(tmp_path: Path) -> None:
    for backbone in ("resnet18", "resnet50"):
        write_all(tmp_path / backbone, HELP, backbone=backbone)
    rows = rows_of(tmp_path, allow_mixed=True)
    assert [row.label for row in best(rows, score())] == ["csg [A]", "csg [B]"]
    assert {comparisons(rows, row.group, score()) for row in rows} == {len(HELP) - 1}  # though all share their pairs
    text = built_text(tmp_path, tmp_path / "out", allow_mixed=True)
    assert "here csg [A]'s and csg [B]'s accuracy is bold" in text


def test_an_infinite_energy_is_in_no_mean_and_said(tmp_path: Path) -> None:
    """The two finite runs of CSG had a mean of their own, lower than the baseline's."""
    for method in ("baseline", "csg"):
        for seed in range(3):
            path = write_run(tmp_path / "runs", method, seed, right=50 + seed) / "energy-target.json"
            changes: dict[str, object] = {"coincident_rule": "infinite"}
            if (method, seed) == ("csg", 2):
                changes |= {"mhe": dict.fromkeys("012"), "paper": dict.fromkeys("012"), "interval": {}, "coincident": 1}
            write_record(path, read_record(path).model_copy(update=changes))
    text = built_text(tmp_path / "runs", tmp_path / "out")
    assert "Equal pictures make the energy of clean-csg-2 infinite" in text
    base, csg = table(tmp_path / "out", "methods")
    assert base["e0_mhe_n"] == 3
    assert (csg["e0_mhe"], csg["e0_mhe_n"], csg["e0_mhe_minus_baseline"]) == (None, 0, None)
    assert csg["mean_per_class_percent_n"] == 3


def test_recipes_that_differ_in_the_network_s_head_are_said(tmp_path: Path) -> None:
    for method, head in {"baseline": "deeplab-v2", "csg": "deeplab-v3"}.items():
        path = write_run(tmp_path / "runs", method, masks=True, attention=False) / "recipe.yaml"
        parts = {"segmentation": {"head": head, "tile": len(method)}}
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | parts))
    text = built_text(tmp_path / "runs", tmp_path / "out")
    assert 'The recipes differ in segmentation.head: "deeplab-v2" (clean-baseline-0) / "deeplab-v3"' in text
    assert "segmentation.tile" not in text


@pytest.mark.parametrize(
    ("confusion", "expected"),
    [([[3, 0], [1, 0]], "a"), ([[0, 3], [0, 1]], "b"), ([[3, 0], [0, 0]], None), ([[3, 0], [0, 1]], None)],
)
def test_only_prediction_of_several_classes(confusion: list[list[int]], expected: str | None, runs: Path) -> None:
    record = read_record(next(runs.glob("*/accuracy-target.json")))
    assert isinstance(record, AccuracyRecord)
    changed = record.model_copy(update={"classes": ["a", "b"], "confusion": confusion})
    assert only_prediction(changed) == expected


def test_one_prediction_for_all_is_noted(tmp_path: Path) -> None:
    write_all(tmp_path / "runs", HELP)
    path = next((tmp_path / "runs").glob("*csg*1/accuracy-target.json"))
    record = read_record(path)
    assert isinstance(record, AccuracyRecord)
    columns = np.array(record.confusion)
    columns[:, 0], columns[:, 1:] = columns.sum(1), 0
    write_record(path, record.model_copy(update={"confusion": columns.tolist()}))
    note = f"One class was predicted for all of the target by {path.parent.name} ({record.classes[0]})"
    assert note in built_text(tmp_path / "runs", tmp_path / "report")


def test_rows_keep_the_registrys_order(tmp_path: Path) -> None:
    write_all(tmp_path, {"csg": (90, 91, 92), "zeta": (99, 99, 99), "baseline": (10, 11, 12)})
    assert [row.label for row in rows_of(tmp_path)] == ["baseline", "csg", "zeta"]


def test_configurations_of_a_method_are_rows_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "csg", method_config={"weight": 0.1, "dim": 128})
    write_run(tmp_path / "b", "csg", method_config={"weight": 1.0, "dim": 128})
    assert [row.label for row in rows_of(tmp_path)] == ["csg weight=0.1", "csg weight=1.0"]


def test_rank_correlation_of_four_methods_is_given(tmp_path: Path) -> None:
    for place, method in enumerate(("baseline", "csg", "asg", "si")):
        for seed in range(3):
            write_run(tmp_path / "runs", method, seed, right=50 + 2 * place + seed, energy=-0.1 * place)
    out = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    assert (
        "\u22121.00 [\u22121.00, \u22121.00; 95% bootstrap over the paired runs] (n = 4 methods, their means)"
        in visible_text((out / "index.html").read_text())
    )


def test_rank_correlation_and_its_interval_are_of_the_same_runs(tmp_path: Path) -> None:
    """Nine more runs of one method turned the value about, beside the interval of the shared ones."""
    for place, method in enumerate(("baseline", "csg", "asg", "si")):
        for seed in range(12 if method == "csg" else 3):
            right = 50 + 2 * place + seed if seed < 3 else 90
            write_run(tmp_path / "runs", method, seed, right=right, energy=-0.1 * place)
    expected = (
        "\u22121.00 [\u22121.00, \u22121.00; 95% bootstrap over the paired runs] "
        "(n = 4 methods, their means over the 3 runs that all have)"
    )
    assert expected in built_text(tmp_path / "runs", tmp_path / "out")


def test_published_numbers_are_table_1() -> None:
    rows = {entry.method: entry for entry in published()}
    assert len(rows) == 7
    assert rows["csg"].energy == {"0": 0.3188, "1": 1.1806, "2": 1.4177}
    assert rows["csg"].accuracy == pytest.approx(0.6405)
    assert rows["oracle"].energy == {}
    assert rows["baseline"].energy["0"] == max(entry.energy.get("0", 0) for entry in rows.values())


def test_order_against_the_paper(tmp_path: Path) -> None:
    energy, accuracy = order_sentences(rows_of(write_all(tmp_path, HELP)))
    assert "1 pair of methods in both tables (simultaneous 95% intervals): 1 ordered as published" in energy
    assert "baseline > csg" in energy
    assert "baseline < csg" in accuracy
    assert "cannot be told" in accuracy


def test_gallery_takes_one_source_and_the_lowest_seed(tmp_path: Path) -> None:
    for method, source, seed in [("baseline", "b", 1), ("baseline", "b", 2), ("csg", "b", 3), ("csg", "a", 0)]:
        write_run(tmp_path, method, seed, source=source)
    chosen = [(row.label, run.info.source, run.info.seed) for row, run in choose(rows_of(tmp_path))]
    assert chosen == [("baseline", "b", 1), ("csg", "b", 3)]


def test_tables_hold_exact_numbers(report: Path) -> None:
    rows = {row["row"]: row for row in csv.DictReader((report / "tables/methods.csv").read_text().splitlines())}
    expected = stats.ttest_1samp([3, -4, 2], 0).confidence_interval(0.95)
    assert float(rows["csg"]["mean_per_class_percent_minus_baseline"]) == pytest.approx(1 / 3)
    assert float(rows["csg"]["mean_per_class_percent_minus_baseline_low"]) == pytest.approx(expected.low)
    assert float(rows["csg"]["mean_per_class_percent_sd"]) == pytest.approx(np.std([53, 50, 54], ddof=1))
    confusion = json.loads((report / "tables/confusion.json").read_text())["rows"]
    first = next(r for r in confusion if (r["row"], r["true"], r["predicted"]) == ("csg", "bird", "bird"))
    assert first["share"] == pytest.approx((0.53 + 0.50 + 0.54) / 3)


def test_provenance_names_checkpoint_and_records(report: Path, runs: Path) -> None:
    text = visible_text((report / "index.html").read_text())
    folder = runs / "clean-csg-0"
    assert sha(str(folder))[:12] in text
    assert hashlib.sha256((folder / "energy-target.json").read_bytes()).hexdigest()[:8] in text
    data = json.loads((report / "tables/provenance.json").read_text())["rows"]
    assert {row["checkpoint_sha256"] for row in data} == {sha(str(path)) for path in runs.iterdir()}


def test_of_classes_and_methods_the_more_numerous_go_down_the_page(tmp_path: Path) -> None:
    for method, right in (("baseline", 20), ("csg", 80)):
        write_run(tmp_path, method, right=right, classes=["ant", "bee", "cow"])
    tall = class_table(rows_of(tmp_path))
    assert [column.label for column in tall.columns] == ["Class", "Pictures", "baseline", "csg"]
    assert [[cell.text for cell in row] for row in tall.rows] == [
        [name, "100", "20.0", "80.0"] for name in ("ant", "bee", "cow")
    ]
    for method in ("oracle", "ewc"):
        write_run(tmp_path, method, right=50, classes=["ant", "bee", "cow"])
    wide = class_table(rows_of(tmp_path))
    heads = [(column.label, column.hint) for column in wide.columns]
    assert heads == [("Method", ""), *((name, "%, 100 pictures") for name in ("ant", "bee", "cow"))]
    assert ["csg", "80.0", "80.0", "80.0"] in [[cell.text for cell in row] for row in wide.rows]
    assert {(one["class"], one["row"]) for one in tall.data} < {(one["class"], one["row"]) for one in wide.data}


def test_each_method_against_the_baseline_as_published_by_hand(tmp_path):
    """Table 1: csg 0.3188 and 64.05 %, baseline 0.4245 and 49.3 %. Ours: -0.4 and -0.2; 10, 11 and 10 points."""
    table = order_table(rows_of(write_all(tmp_path, HELP, attention=False)))
    (record,) = [own for own in table.data if own["row"] == "csg"]
    (line,) = [own for own in table.rows if own[0].text == "csg"]
    assert record["e0_mhe_published"] == pytest.approx(0.3188 - 0.4245)
    assert record["e0_mhe_ours"] == pytest.approx(-0.2)
    assert record["e0_mhe_agrees"] == "agrees"
    assert [cell.text for cell in line[1:4]] == ["\N{MINUS SIGN}0.106", "\N{MINUS SIGN}0.200", "agrees"]
    assert [cell.text for cell in line[4:7]] == ["+14.75", "+10.3", "agrees"]


def test_the_summary_s_numbers_by_hand(tmp_path):
    """E_0 of seeds 0 to 2: -0.359 frozen, -0.199 after."""
    _, collapse, helped = summarize(rows_of(write_all(tmp_path, HELP, attention=False)))
    said = "-0.359 for the frozen features (oracle) and -0.199 after plain training (baseline): +0.160 "
    assert said.replace("-", "\N{MINUS SIGN}") in collapse.text
    assert "simultaneous 95% intervals, Bonferroni for 2 comparisons" in helped.text


def test_the_methods_that_the_summary_leaves_out_are_counted(tmp_path):
    write_all(tmp_path, {"baseline": (50, 50, 50), "csg": (60, 60, 60)}, attention=False)
    for weight in range(FEW):
        write_all(tmp_path / f"{weight}", {"ewc": (50, 51, 49)}, attention=False, method_config={"weight": weight})
    *_, helped = summarize(rows_of(tmp_path))
    assert f"for {FEW} more no difference can be shown (chart)" in helped.text


def changed(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def write_lopsided(root: Path, method: str, seed: int, birds: int, e0: float, e1: float, e2: float) -> Path:
    """Of 100 birds so many are right, of 200 fish 180: the mean per class is another than the share of all."""
    folder = write_run(root, method, seed, attention=False)
    shares = [birds / 100, 0.9]
    changed(
        folder / "accuracy-target.json",
        confusion=[[birds, 100 - birds], [20, 180]],
        per_class=shares,
        mean_per_class=sum(shares) / 2,
        overall=(birds + 180) / 300,
        interval={"low": 0.4, "high": 0.75, "level": 0.95, "kind": "bootstrap"},
    )
    ends = {"0": (-0.5, -0.25), "1": (0.875, 1.5), "2": (0.75, 2.0)}
    changed(
        folder / "energy-target.json",
        mhe={"0": e0, "1": e1, "2": e2},
        paper={"0": e0 / 2, "1": e1, "2": e2},
        interval={s: {"low": low, "high": high, "level": 0.95, "kind": "jackknife"} for s, (low, high) in ends.items()},
        coincident=3 * seed,
    )
    return folder


def texts(cells) -> list[str]:
    """Without the deviations."""
    return [cell.text.split("\N{NARROW NO-BREAK SPACE}")[0].replace("\N{MINUS SIGN}", "-") for cell in cells]


def test_the_line_of_a_run_by_hand(tmp_path: Path) -> None:
    """Classes 30 and 90 %: 60; of all 300 pictures 210."""
    write_lopsided(tmp_path, "csg", 1, 30, -0.4, 1.25, 1.75)
    own = run_table(rows_of(tmp_path))
    (cells,), (data,) = own.rows, own.data
    assert texts(cells[3:]) == ["1", "-0.400", "1.250", "1.750", "60.0", "70.0"]
    notes = [cell.note.replace("\N{MINUS SIGN}", "-") for cell in cells[4:]]
    assert notes == ["[-0.500, -0.250]", "[0.875, 1.500]", "[0.750, 2.000]", "[40.0, 75.0]", ""]
    assert own.notes[:2] == [
        "Interval of a single run: E_s, 95% jackknife.",
        "Interval of a single run: accuracy, 95% bootstrap.",
    ]
    expected = {"e0_mhe": -0.4, "e0_mhe_low": -0.5, "e0_mhe_high": -0.25, "e0_paper": -0.2, "e2_paper": 1.75}
    expected |= {"e1_mhe_low": 0.875, "e2_mhe_high": 2.0, "pairs": 19900, "coincident_pairs": 3}
    expected |= {"mean_per_class_percent": 60, "mean_per_class_percent_low": 40, "mean_per_class_percent_high": 75}
    assert {name: data[name] for name in expected} == pytest.approx(expected)
    assert data["overall_percent"] == pytest.approx(70)


@pytest.mark.parametrize("flip", [True, False])
def test_the_lines_of_methods_by_hand(flip: bool, tmp_path: Path) -> None:
    """Birds 30, 31, 32; 70, 72, 71; 50, 52, 51: of two classes 20, 20.5, 19.5 points and 10, 10.5, 9.5."""
    birds = {"baseline": (30, 31, 32), "asg": (70, 72, 71), "csg": (50, 52, 51)}
    for place, (method, own) in enumerate(birds.items()):
        for seed, right in enumerate(own):
            folder = write_lopsided(
                tmp_path, method, seed, right, -0.1 * place - 0.001 * seed * place, 1 + place, 2.5 + place
            )
            changed(folder / "accuracy-target.json", flip=flip)
    own = method_table(rows_of(tmp_path))
    assert [texts(row) for row in own.rows] == [
        ["baseline", "3", "0.000", "reference", "60.5", "reference", "1.000", "2.500", "70.3"],
        ["asg", "3", "-0.101", "-0.101", "80.5", "+20.0", "2.000", "3.500", "83.7"],
        ["csg", "3", "-0.202", "-0.202", "70.5", "+10.0", "3.000", "4.500", "77.0"],
    ]
    assert [(row[3].tone, row[5].tone, row[4].strong) for row in own.rows] == [
        ("", "", False),
        ("good", "good", True),
        ("good", "good", False),
    ]
    csg = own.data[2]
    assert (csg["e1"], csg["e2"], csg["e1_sd"]) == (3, 4.5, 0)
    assert (csg["overall_percent"], csg["mean_per_class_percent"]) == pytest.approx((77, 70.5))
    half = 4.302652729911275 * 0.5 / 3**0.5
    found = [csg[f"mean_per_class_percent_{end}"] for end in ("low", "high")]
    assert found == pytest.approx([70.5 - half, 70.5 + half])
    name = "mean_per_class_percent_minus_baseline"
    assert (csg[name], csg[f"{name}_pairs"], csg[f"{name}_comparisons"]) == (pytest.approx(10), 3, 2)
    notes = " ".join(own.notes)
    assert "Coincident pairs: 0 to 6, rule “exclude”" in notes
    assert "Uniform directions would have E₀ = \N{MINUS SIGN}0.690 in 512 dimensions" in notes
    assert ("averaged over the picture and its mirror image" in notes) == flip
    assert ("Sigmoid of the picture;" in notes) != flip


def test_each_split_stands_in_its_own_column(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "csg", right=50, energy=-0.3, attention=False)
    for split, right, energy in (("source", 0.9, -0.1), ("validation", 0.8, -0.2)):
        for kind, changes in (
            ("accuracy", {"mean_per_class": right, "per_class": [right, right]}),
            ("energy", {"mhe": {"0": energy}}),
        ):
            record = json.loads((folder / f"{kind}-target.json").read_text())
            record["data"] |= {"split": split, "identity": sha(split)}
            (folder / f"{kind}-{split}.json").write_text(json.dumps(record | changes))
    own = split_table(rows_of(tmp_path))
    (cells,), (data,) = own.rows, own.data
    heads = [(column.label, column.hint) for column in own.columns[1:]]
    names = (("Source", "trained on"), ("Validation", "held out"), ("Target", "real"))
    assert heads == [(f"{name} {what}", hint) for what in ("%", "E₀") for name, hint in names]
    assert texts(cells[1:]) == ["90.0", "80.0", "50.0", "-0.100", "-0.200", "-0.300"]
    assert [data[f"accuracy_{split}"] for split in ("source", "validation", "target")] == pytest.approx([90, 80, 50])
    assert [data[f"e0_mhe_{split}"] for split in ("source", "validation", "target")] == [-0.1, -0.2, -0.3]


def test_a_class_without_pictures_in_one_run_is_the_mean_of_the_others(tmp_path: Path) -> None:
    write_lopsided(tmp_path, "csg", 0, 30, -0.4, 1, 1)
    folder = write_lopsided(tmp_path, "csg", 1, 40, -0.4, 1, 1)
    changed(folder / "accuracy-target.json", per_class=[0.4, None], confusion=[[40, 60], [0, 0]], mean_per_class=0.4)
    rows = class_table(rows_of(tmp_path)).rows
    assert [texts(row) for row in rows] == [["bird", "100", "35.0"], ["fish", "0 / 200", "90.0"]]


def test_a_best_among_methods_of_which_one_was_not_measured(tmp_path: Path) -> None:
    write_all(tmp_path, HELP | {"asg": (1, 1, 1)}, attention=False)
    for path in tmp_path.glob("clean-asg-*/accuracy-target.json"):
        path.unlink()
    assert [row.label for row in best(rows_of(tmp_path), score())] == ["csg"]


def test_a_baseline_with_something_added_is_no_reference(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path / "a", "baseline", seed, options={"average": "ema"}, attention=False)
        write_run(tmp_path / "b", "csg", seed, attention=False)
    rows = rows_of(tmp_path)
    assert reference(rows, "baseline", "") is None
    assert to_baseline(rows[0], rows, score()) is None


def test_the_summary_counts_sources_and_seeds(tmp_path: Path) -> None:
    for source in ("clean", "noisy"):
        for seed in (0, 4, 7):
            write_run(tmp_path, "csg", seed, source=source, attention=False)
    assert (
        "trained on 2 synthetic sources (clean, noisy) with 3 seeds (0, 4, 7)" in summarize(rows_of(tmp_path))[0].text
    )


@pytest.mark.parametrize(
    ("right", "verdict"),
    [
        ({"csg": (40, 43, 44), "asg": (50, 53, 54)}, "harm shown"),
        ({"csg": (60, 63, 64), "asg": (50, 53, 54)}, "differs by method"),
        ({"csg": (60, 63, 64), "asg": (40, 43, 44)}, "differs by method"),
        ({"csg": (60, 63, 64), "asg": (60,)}, "differs by method"),
        ({"csg": (51, 53, 54), "asg": (60,)}, "no difference shown"),
    ],
)
def test_the_verdict_of_several_methods(right: dict[str, tuple[int, ...]], verdict: str, tmp_path: Path) -> None:
    *_, helped = summarize(rows_of(write_all(tmp_path, {"baseline": (50, 52, 54)} | right, attention=False)))
    assert helped.verdict == verdict


def test_one_pair_each_is_said_of_nothing_else(tmp_path: Path) -> None:
    write_all(tmp_path, {"baseline": (50, 52), "asg": (51,), "csg": (51,)}, attention=False)
    assert "One pair of runs each: these differences may be chance." in summarize(rows_of(tmp_path))[2].text
    write_all(tmp_path, {"csg": (51, 53)}, attention=False)
    assert "One pair of runs each" not in summarize(rows_of(tmp_path))[2].text


def test_as_many_methods_as_are_few_are_named_each(tmp_path: Path) -> None:
    write_all(tmp_path, {"baseline": (50, 50, 50)}, attention=False)
    for weight in range(FEW):
        write_all(tmp_path / f"{weight}", {"ewc": (50, 51, 49)}, attention=False, method_config={"weight": weight})
    *_, helped = summarize(rows_of(tmp_path))
    assert all(f"weight={weight} " in helped.text for weight in range(FEW))
    assert "(chart)" not in helped.text


def test_provenance_tells_the_source_from_the_target_and_the_rule_of_the_step(tmp_path: Path) -> None:
    write_run(tmp_path, "csg", 2, selection="source-val", attention=False)
    (facts,) = provenance_table(rows_of(tmp_path)).data
    assert (facts["method"], facts["step"]) == ("csg, seed 2", "20 (source-val)")
    assert (facts["source_identity"], facts["target_identity"]) == (sha("clean"), sha("t"))
    assert facts["weights_sha256"] == sha("weights")
