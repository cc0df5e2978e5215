"""What the summary says: of planted differences, of none, of few runs."""

import json
import re
from pathlib import Path

import pytest

from csg_analysis.report.build import build_report
from csg_analysis.report.chart import FEW
from csg_analysis.report.summary import summarize
from tests.analysis.report.cases import HELP, rows_of, visible_text, write_all, write_run

pytestmark = pytest.mark.usefixtures("sketched")


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
    assert helped.verdict == "improvement shown"


def test_summary_says_a_planted_harm(tmp_path: Path) -> None:
    *_, helped = summarize(rows_of(write_all(tmp_path, HELP | {"csg": (40, 43, 44)})))
    assert "lower, the interval excludes 0" in helped.text
    assert helped.verdict == "drop shown"


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
        ({"csg": (40, 43, 44), "asg": (50, 53, 54)}, "drop shown for 1 of 2"),
        ({"csg": (60, 63, 64), "asg": (50, 53, 54)}, "improvement shown for 1 of 2"),
        ({"csg": (60, 63, 64), "asg": (40, 43, 44)}, "differs by method"),
        ({"csg": (60, 63, 64), "asg": (60,)}, "improvement shown for 1 of 2"),
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
