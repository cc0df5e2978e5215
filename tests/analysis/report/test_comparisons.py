"""Intervals adjusted for the number of comparisons, and that no word on the page claims more than they carry."""

import csv
import json
from pathlib import Path

import pytest
from scipy import stats

from csg_analysis.report.build import build_report
from csg_analysis.report.cells import difference_cell, difference_data, run_label, spread_cell
from csg_analysis.report.comparisons import comparison_table
from csg_analysis.report.paper_order import order_sentences
from csg_analysis.report.rows import comparisons, energy, score, to_baseline
from csg_analysis.report.stats import Difference, paired_difference
from csg_analysis.report.summary import summarize
from tests.analysis.report.cases import HELP, rows_of, table, visible_text, write_all, write_run

pytestmark = pytest.mark.usefixtures("sketched")

CLOSE = {"oracle": (50, 50, 50), "baseline": (50, 50, 50), "csg": (51, 52, 53), "asg": (50, 52, 51)}
"""CSG's differences are 1, 2, 3: its own interval is [-0.48, 4.48]."""
FIRM = CLOSE | {"csg": (54, 55, 56)}
"""4, 5, 6: [2.52, 7.48] alone, [0.62, 9.38] as one of three comparisons, [-0.74, 10.74] as one of six."""


def difference(values: tuple[float, ...], count: int) -> Difference:
    found = paired_difference(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0), count)
    assert found is not None
    return found


def test_simultaneous_interval_by_hand() -> None:
    """Mean 5, sd 1, m = 5: the level is 0.99, t(0.995, 2) = 9.924843, half width 9.924843 / sqrt 3."""
    found = difference((4.0, 5.0, 6.0), 5)
    half = 9.924843200918294 / 3**0.5
    assert found.simultaneous == pytest.approx((5 - half, 5 + half))
    assert found.interval == pytest.approx((5 - 4.302652729911275 / 3**0.5, 5 + 4.302652729911275 / 3**0.5))
    expected = stats.ttest_1samp([4, 5, 6], 0).confidence_interval(1 - 0.05 / 5)
    assert found.simultaneous == pytest.approx((expected.low, expected.high))


def test_one_comparison_is_not_adjusted() -> None:
    found = difference((4.0, 5.0, 6.5), 1)
    assert found.simultaneous == found.interval


def test_more_comparisons_widen_the_simultaneous_interval_alone() -> None:
    found = [difference((4.0, 5.0, 6.0), count) for count in (1, 2, 3, 8, 20)]
    assert len({each.interval for each in found}) == 1
    widths = [each.simultaneous[1] - each.simultaneous[0] for each in found if each.simultaneous]
    assert widths == sorted(widths)
    assert len(set(widths)) == 5


def test_sign_follows_the_adjusted_interval() -> None:
    assert [difference((4.0, 5.0, 6.0), count).sign for count in (1, 3, 6)] == ["higher", "higher", "none"]
    assert [difference((-4.0, -5.0, -6.0), count).sign for count in (1, 6)] == ["lower", "none"]
    assert difference((4.0, 5.0), 6).sign == "few"


def test_every_compared_row_counts_and_the_frozen_one_too(tmp_path: Path) -> None:
    write_all(tmp_path, FIRM)
    (write_run(tmp_path, "asg", 7) / "energy-target.json").unlink()  # of no pair
    rows = rows_of(tmp_path)
    assert comparisons(rows, "", score()) == 3
    found = {row.method: to_baseline(row, rows, energy("0")) for row in rows}
    assert found["baseline"] is None
    assert {found[name].comparisons for name in ("oracle", "asg", "csg")} == {3}  # type: ignore[union-attr]
    for seed in range(3):
        (tmp_path / f"clean-asg-{seed}/energy-target.json").unlink()
    assert comparisons(rows_of(tmp_path), "", energy("0")) == 2
    assert comparisons(rows_of(tmp_path), "", score()) == 3


def test_a_claim_goes_when_comparisons_come(tmp_path: Path) -> None:
    """CSG's numbers are the same in both; three methods more, and the page says that nothing is shown."""
    more = dict.fromkeys(("weight-l2", "ewc", "si"), (50, 51, 49))
    verdicts = []
    for name, runs in (("few", FIRM), ("many", FIRM | more)):
        write_all(tmp_path / name, runs)
        out = build_report([tmp_path / name], tmp_path / f"{name}-report", allow_mixed=False).parent
        *_, helped = summarize(rows_of(tmp_path / name))
        verdicts.append(helped.verdict)
        (row,) = [row for row in table(out, "comparisons") if row["row"] == "csg"]
        field = "mean_per_class_percent_minus_baseline"
        own, wide = ([row[f"{field}{kind}_{end}"] for end in ("low", "high")] for kind in ("", "_simultaneous"))
        assert own == pytest.approx([5 - 2.4841, 5 + 2.4841], abs=1e-3)
        assert row[f"{field}_comparisons"] == len(runs) - 1
        assert (wide[0] > 0) == (name == "few")
        text = visible_text((out / "index.html").read_text())
        assert ("higher, the interval excludes 0" in text) == (name == "few")
        assert f"Bonferroni for {len(runs) - 1} comparisons" in text
        assert ("+5.0**" in (out / "report.md").read_text()) == (name == "few")
    assert verdicts == ["improvement shown for 1 of 2", "no difference shown"]


def test_collapse_follows_the_adjusted_interval_too(tmp_path: Path) -> None:
    """0.04, 0.05, 0.06 against the frozen network: shown as the only comparison, not as one of six."""
    for name, others in (("one", ()), ("six", ("weight-l2", "ewc", "si", "asg", "csg"))):
        for seed in range(3):
            write_run(tmp_path / name, "oracle", seed, energy=-0.3)
            write_run(tmp_path / name, "baseline", seed, energy=-0.26 + 0.01 * seed)
            for method in others:
                write_run(tmp_path / name, method, seed)
    assert [summarize(rows_of(tmp_path / name))[1].verdict for name in ("one", "six")] == [
        "collapse shown",
        "not shown",
    ]


def test_the_table_in_every_format_with_what_defines_it(tmp_path: Path) -> None:
    write_all(tmp_path / "runs", FIRM)
    out = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    rows = {row["row"]: row for row in csv.DictReader((out / "tables/comparisons.csv").read_text().splitlines())}
    assert set(rows) == {"oracle", "asg", "csg"}
    notes = " ".join(json.loads((out / "tables/comparisons.json").read_text())["notes"])
    assert "level 1 \u2212 0.05/m (Bonferroni)" in notes
    assert "Here m = 3, the frozen network (oracle) counted" in notes
    assert "Pairs differ in the seed alone (3 here)" in notes
    assert r"\textbf{+5.0}" in (out / "tables/comparisons.tex").read_text()
    assert "Simultaneous 95% interval" in visible_text((out / "index.html").read_text())


def test_pairs_of_several_sources_are_said_to_share_them(tmp_path: Path) -> None:
    for source in ("a", "b"):
        write_all(tmp_path / "runs", {"baseline": (50, 51), "csg": (52, 53)}, source=source)
    out = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    notes = json.loads((out / "tables/comparisons.json").read_text())["notes"]
    assert any("seed and source (2 and 2 here); those of one source share its pictures" in note for note in notes)


def test_without_a_baseline_there_is_no_table(tmp_path: Path) -> None:
    write_all(tmp_path / "runs", {"csg": (50,)})
    out = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    assert "Comparisons with the baseline" not in (out / "index.html").read_text()


def test_the_published_order_is_judged_of_all_pairs_at_once(tmp_path: Path) -> None:
    """CSG's 4, 5, 6 over the baseline are shown of one pair, and not of six."""
    pair = {name: FIRM[name] for name in ("baseline", "csg")}
    _, one = order_sentences(rows_of(write_all(tmp_path / "one", pair)))
    _, six = order_sentences(rows_of(write_all(tmp_path / "six", FIRM)))
    assert "1 ordered as published, baseline < csg" in one
    assert six.startswith("Accuracy: 6 pairs")
    assert "ordered as published," not in six


def test_pairs_without_a_measure_or_with_too_few_runs_are_not_called_inconclusive(tmp_path: Path) -> None:
    pair = {name: FIRM[name] for name in ("baseline", "csg")}
    write_all(tmp_path / "bare", pair)
    for seed in range(3):
        (tmp_path / f"bare/clean-csg-{seed}/energy-target.json").unlink()
        (tmp_path / f"bare/clean-baseline-{seed}/accuracy-target.json").unlink()
    many = "1 pair of methods in both tables (simultaneous 95% intervals): 1"
    assert order_sentences(rows_of(tmp_path / "bare")) == [
        f"E₀: {many} not measured here, published as baseline > csg.",
        f"Accuracy: {many} not measured here, published as baseline < csg.",
    ]
    single = {name: values[:1] for name, values in pair.items()}
    energies, scores = order_sentences(rows_of(write_all(tmp_path / "single", single)))
    assert energies == f"E₀: {many} of too few runs to tell, published as baseline > csg."
    assert scores == f"Accuracy: {many} of too few runs to tell, published as baseline < csg."


def test_best_is_judged_against_all_others_at_once(tmp_path: Path) -> None:
    """CSG leads each by about 5 +- 1: bold beside two others, not beside six."""
    field = "accuracy is bold"
    write_all(tmp_path / "few", FIRM)
    write_all(tmp_path / "many", FIRM | dict.fromkeys(("weight-l2", "ewc", "si"), (50, 50, 50)))
    found = []
    for name in ("few", "many"):
        out = build_report([tmp_path / name], tmp_path / f"{name}-out", allow_mixed=False).parent
        text = visible_text((out / "index.html").read_text())
        found.append(next(word for word in ("csg's", "no") if f"here {word} {field}" in text))
    assert found[1] == "no"


def test_cells_of_a_mean_and_of_a_difference_by_hand(tmp_path):
    """60, 63, 64: 62.3 +- 2.1, [57.2, 67.5]; less 50, 52, 54: 10, 11, 10."""
    write_all(tmp_path, HELP, attention=False)
    (tmp_path / "clean-csg-2/energy-target.json").unlink()
    rows = rows_of(tmp_path)
    csg = next(row for row in rows if row.method == "csg")
    cell = spread_cell(csg, score(), 1, scale=100, interval=True)
    assert cell.text == "62.3\N{NARROW NO-BREAK SPACE}±\N{NARROW NO-BREAK SPACE}2.1"
    assert cell.note == "[57.2, 67.5]"
    assert cell.sort == pytest.approx(187 / 3)
    assert spread_cell(csg, energy("0"), 3).note == "n = 2"
    found = to_baseline(csg, rows, score())
    shown = difference_cell(found, 1, 100, good="higher")
    assert (shown.text, shown.tone, shown.strong) == ("+10.3", "good", True)
    assert shown.sort == pytest.approx(31 / 3)
    assert difference_cell(found, 1, 100, good="lower").tone == "bad"
    low, high = found.simultaneous
    data = difference_data("x", found, 100)
    assert (data["x_simultaneous_low"], data["x_simultaneous_high"]) == pytest.approx((100 * low, 100 * high))
    assert shown.note.splitlines() == [f"[+{100 * low:.1f},\N{NO-BREAK SPACE}+{100 * high:.1f}]", "shown"]


def test_the_cells_of_a_comparison_by_hand(tmp_path):
    """E_0 is lower by 0.2 with each seed, which is better."""
    write_all(tmp_path, FIRM)
    for seed in range(3):
        (tmp_path / f"clean-asg-{seed}/energy-target.json").unlink()
    write_run(tmp_path, "csg", 7, right=99)  # of no pair
    table = comparison_table(rows_of(tmp_path))
    line = next(row for row in table.rows if row[0].text == "csg")
    space = "\N{NO-BREAK SPACE}"
    assert [cell.text for cell in line[1:4]] == ["+5.0", f"[+2.5,{space}+7.5]", f"[+0.6,{space}+9.4]"]
    assert line[1].note == "n = 3"
    assert (line[3].note, line[3].tone) == ("shown", "good")
    assert line[4].text == "\N{MINUS SIGN}0.200"
    assert (line[4].strong, line[6].tone) == (True, "good")
    assert "Here m = 2 and 3, the frozen network" in " ".join(table.notes)


def test_a_run_is_named_with_its_source_where_there_are_two(tmp_path):
    write_run(tmp_path, "csg", 3)
    (row,) = rows = rows_of(tmp_path)
    assert run_label(row, row.runs[0], rows) == "csg s3"
    write_run(tmp_path, "csg", 3, source="noisy")
    (row,) = rows = rows_of(tmp_path)
    assert [run_label(row, run, rows) for run in row.runs] == ["csg s3, clean", "csg s3, noisy"]
