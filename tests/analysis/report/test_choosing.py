"""Choosing without labels: rank correlation and regret against scipy and by hand, and the section that shows them."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from csg_analysis.report.build import build_report
from csg_analysis.report.choosing_part import choosing_part
from csg_analysis.report.compare import check_comparable, notices
from csg_analysis.report.load import load_runs
from csg_analysis.report.ordering import correlations, order, regrets, resampled
from csg_analysis.report.stats import fewest_groups
from csg_analysis.report.verify import verify_report
from csg_train.runs.records import HELD_OUT, ChoosingRecord, LabelFree, write_record
from tests.analysis.report.cases import refused, rows_of, sha, table, write_run
from tests.analysis.report.test_parts import facts_of

pytestmark = pytest.mark.usefixtures("sketched")

RIGHT = {"oracle": (40, 42, 41, 43) * 2, "baseline": (60, 62, 64, 61) * 2, "csg": (70, 74, 72, 73) * 2}


def write_choosing(folder: Path, values: dict[str, float | None], *, layer: str = "layer4", among: str = "all") -> None:
    """``low`` in a name: lower is better."""
    run, data = facts_of(folder)
    measures = {
        name: LabelFree(
            value=value,
            undefined="" if value is not None else "no other run to agree with",
            higher_is_better="low" not in name,
            low=None,
            high=None,
            definition=f"formula of {name} (source)",
        )
        for name, value in values.items()
    }
    record = ChoosingRecord(
        run=run,
        data=data,
        held_out=data.model_copy(update={"split": "validation", "name": "renders"}),
        layer=layer,
        pool="average",
        dim=512,
        flip=True,
        measures=measures,
        together=[sha(among)],
    )
    write_record(folder / "choosing-target.json", record)


def values_of(right: int) -> dict[str, float | None]:
    """Accuracy itself under two signs; held-out accuracy that puts the methods in the other order; one for some."""
    held = 0.9 if right < 50 else 0.8 if right < 65 else 0.7
    return {
        HELD_OUT: held,
        "same": right / 100,
        "low same": -right,
        "low other": right,
        "some": right if right > 65 else None,
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("choosing") / "runs"
    for method, rights in RIGHT.items():
        for seed, right in enumerate(rights):
            write_choosing(write_run(made, method, seed, right=right, attention=False), values_of(right))
    return made


@pytest.fixture(scope="module")
def out(root: Path) -> Path:
    return build_report([root], root.parent / "out", allow_mixed=False).parent


def test_weighted_correlations_are_spearmans_of_the_resample_written_out():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, 9).astype(float), rng.normal(size=9)
    weights = rng.integers(0, 4, (20, 9)).astype(float)
    for weight, found in zip(weights, correlations(first, second, weights), strict=True):
        one, other = (np.repeat(values, weight.astype(int)) for values in (first, second))
        assert found == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)


def test_regret_by_hand():
    scores, weights = np.array([0.5, 0.9, 0.7, 0.6]), np.ones((1, 4))
    assert regrets(np.array([1.0, 2, 3, 0]), scores, weights) == pytest.approx([0.2])
    assert regrets(np.array([3.0, 3, 1, 0]), scores, weights) == pytest.approx([0.2])  # two alike: their mean, 0.7
    assert regrets(np.array([1.0, np.nan, 0, 0]), scores, weights) == pytest.approx([0.4])
    assert regrets(np.array([1.0, 2, 3, 0]), scores, np.array([[2.0, 1, 0, 1], [0, 0, 0, 3]])) == pytest.approx([0, 0])
    assert np.isnan(regrets(np.full(4, np.nan), scores, weights)).all()


def test_runs_of_one_pair_are_drawn_together():
    weights = resampled(["a", *"abcdef"])
    assert weights is not None
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 1:].sum(1) == 6).all()
    assert weights.mean(0) == pytest.approx([1] * 7, abs=0.06)
    assert resampled([*"abcde", "a"]) is None


def test_a_difference_takes_as_many_pairs_as_a_sign_test_does():
    """Of one comparison 2 * 0.5^6 < 0.05 < 2 * 0.5^5; of eleven 2 * 0.5^9 < 0.05 / 11 < 2 * 0.5^8."""
    assert (fewest_groups(1), fewest_groups(11)) == (6, 9)


def test_seven_pairs_show_nothing_of_four_measures(tmp_path: Path):
    for method, rights in RIGHT.items():
        for seed, right in enumerate(rights[:7]):
            folder = write_run(tmp_path / "runs", method, seed, right=right, attention=False)
            write_choosing(folder, values_of(right))
    assert "cannot be said: fewer than 4 runs or 8 pairs" in sentences(tmp_path / "runs")


def test_one_order_by_hand():
    """Ends are those of the resamples; only a gain, which is read beside others, is adjusted for them."""
    rng = np.random.default_rng(3)
    scores, values, other = rng.normal(size=(3, 12))
    scores[2], values[2], other[5] = 9, np.nan, np.nan  # the best run has no number, a second one not the other
    weights = resampled([f"seed {index // 2}" for index in range(12)])
    assert weights is not None
    one, many = (order(values, scores, weights, against_N=other, comparisons=count) for count in (1, 11))
    has, both = ~np.isnan(values), ~np.isnan(values + other)
    assert one.runs == 11
    assert one.regret == pytest.approx(9 - scores[np.nanargmax(values)])
    ranks = [spearmanr(number[both], scores[both]).statistic for number in (values, other)]
    assert one.gain == pytest.approx(ranks[0] - ranks[1])
    assert one.rank == pytest.approx(spearmanr(values[has], scores[has]).statistic)
    drawn = correlations(values[has], scores[has], weights[:, has])
    assert one.rank_ends == many.rank_ends == pytest.approx(np.nanquantile(drawn, [0.025, 0.975]))
    assert one.regret_ends == many.regret_ends
    assert one.regret_ends == pytest.approx(np.quantile(regrets(values, scores, weights), [0.025, 0.975]))
    gains = np.subtract(*(correlations(number[both], scores[both], weights[:, both]) for number in (values, other)))
    for found, m in ((one, 1), (many, 11)):
        assert found.gain_ends == pytest.approx(np.nanquantile(gains, [0.025 / m, 1 - 0.025 / m]))


def test_a_number_that_no_run_has_orders_nothing():
    found = order(np.full(5, np.nan), np.arange(5.0), None)
    assert (found.runs, found.chosen, found.rank, found.regret) == (0, (), None, None)


def test_the_section_says_what_each_measure_is_worth(root: Path, out: Path):
    found = {row["measure"]: row for row in table(out, "choosing")}
    for name in ("same", "low same"):
        assert found[name]["rank_correlation"] == pytest.approx(1)
        assert (found[name]["rank_correlation_low"], found[name]["rank_correlation_high"]) == pytest.approx((1, 1))
        assert found[name]["chosen"] == "clean-csg-1 clean-csg-5"
        assert found[name]["chosen_rows"] == "csg s1; csg s5"
        assert (found[name]["score_percent"], found[name]["regret_points"]) == pytest.approx((74, 0))
    assert found["low other"]["rank_correlation"] == pytest.approx(-1)
    assert (found["low other"]["score_percent"], found["low other"]["regret_points"]) == pytest.approx((40, 34))
    rights = np.array([right for rights in RIGHT.values() for right in rights])
    held = spearmanr([values_of(right)[HELD_OUT] for right in rights], rights).statistic
    assert found[HELD_OUT]["rank_correlation"] == pytest.approx(held)
    assert found["same"]["minus_held_out"] == pytest.approx(1 - held)
    assert found["same"]["minus_held_out_low"] > 1
    assert found[HELD_OUT]["regret_points"] == pytest.approx(74 - 41.5)  # the oracles are alike
    assert found[HELD_OUT]["minus_held_out"] is None
    assert found["some"]["runs"] == 8
    assert found["a run at random"]["regret_points"] == pytest.approx(74 - rights.mean())
    assert {row["pairs"] for row in found.values()} == {8}


def test_the_sentences_name_what_beats_held_out_pictures(root: Path, out: Path):
    page = (out / "report.md").read_text()
    assert "24 runs have mean-per-class accuracy on the target, 40.0 to 74.0 %" in page
    assert "the one with the highest held-out accuracy 32.5." in page
    assert "Shown to order these runs better than held-out accuracy: low same, same." in page
    assert "formula of same (source)" in page
    assert verify_report(out, [root]).faults == []


def sentences(root: Path) -> str:
    part = choosing_part(rows_of(root))
    assert part is not None
    return " ".join(part.sentences)


def test_nothing_beats_held_out_pictures_where_nothing_does(tmp_path: Path):
    for method, rights in RIGHT.items():
        for seed, right in enumerate(rights):
            folder = write_run(tmp_path / "runs", method, seed, right=right, attention=False)
            write_choosing(folder, {HELD_OUT: right, "as good": 2 * right, "low back": right})
    assert sentences(tmp_path / "runs").endswith(
        "No measure is shown to order these runs better than held-out accuracy. Shown to order them worse: low back."
    )


def test_of_few_runs_it_says_that_nothing_can_be_said(tmp_path: Path):
    for method in ("baseline", "csg"):
        write_choosing(write_run(tmp_path / "runs", method, right=60, attention=False), values_of(60))
    said = "better than these cannot be said: fewer than 4 runs or 8 pairs of source and seed"
    assert said in sentences(tmp_path / "runs")


def test_no_section_without_records_or_without_real_scores(tmp_path: Path):
    folders = [write_run(tmp_path / "runs", method, attention=False) for method in ("baseline", "csg")]
    assert choosing_part(rows_of(tmp_path / "runs")) is None
    for folder in folders:
        write_choosing(folder, values_of(60))
        (folder / "accuracy-target.json").unlink()
    assert choosing_part(rows_of(tmp_path / "runs")) is None


def test_measures_of_other_pictures_are_left_out_and_said(tmp_path: Path):
    """``choose --target photos``: the report was refused, or set them beside the accuracy of the recipe's target."""
    for method in ("baseline", "csg"):
        folder = write_run(tmp_path / "runs", method, attention=False)
        write_choosing(folder, values_of(60))
        path = folder / "choosing-target.json"
        record = json.loads(path.read_text())
        record["data"] |= {"identity": sha("photos"), "count": 12}
        path.write_text(json.dumps(record))
    loaded = load_runs([tmp_path / "runs"])
    assert check_comparable(loaded, allow_mixed=False).differing == {}
    assert choosing_part(rows_of(tmp_path / "runs")) is None
    said = "csg-analyze choose measured other pictures than the target of clean-baseline-0, clean-csg-0: "
    assert [notice for notice in notices(loaded) if notice.startswith(said)]
    record["data"] |= {"identity": sha("others")}
    path.write_text(json.dumps(record))
    assert "pictures of choosing without labels (csg-analyze choose)" in refused(tmp_path / "runs", "--out", tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"layer": "layer3"}, "layer of measures without labels"), ({"among": "few"}, "runs chosen among")],
)
def test_runs_measured_otherwise_are_refused(tmp_path: Path, change: dict, named: str):
    first, second = (write_run(tmp_path / "runs", method, attention=False) for method in ("baseline", "csg"))
    write_choosing(first, values_of(60))
    write_choosing(second, values_of(70), **change)
    assert named in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_the_table_of_measures_by_hand(tmp_path):
    right = {"oracle": (40, 42, 41, 43, 39, 44, 38, 45), "baseline": (60, 62, 64, 61, 59, 63, 58, 57)}
    right["csg"] = (70, 74, 72, 73, 71, 69, 75, 68)
    for method, rights in right.items():
        for seed, own in enumerate(rights):
            write_choosing(write_run(tmp_path, method, seed, right=own, attention=False), values_of(own))
    part = choosing_part(rows_of(tmp_path))
    (table,) = part.tables
    cells = {row[0].text: row for row in table.rows}
    data = {row["measure"]: row for row in table.data}
    scores = np.array([own / 100 for rights in right.values() for own in rights])
    weights = resampled(list(range(8)) * 3)
    held = np.array([values_of(round(100 * own))[HELD_OUT] for own in scores])
    expected = order(scores, scores, weights, against_N=held, comparisons=4)
    assert expected.gain_ends != order(scores, scores, weights, against_N=held).gain_ends
    own = data["same"]
    assert (own["minus_held_out_low"], own["minus_held_out_high"]) == pytest.approx(expected.gain_ends)
    assert (cells["same"][0].note, cells["low same"][0].note) == ("higher", "lower")
    assert (cells["same"][3].tone, cells["same"][4].text) == ("good", "csg s6")
    oracle = float(np.mean(right["oracle"]))
    assert cells[HELD_OUT][5].text == f"{oracle:.1f}"
    assert cells[HELD_OUT][6].text == f"{75 - oracle:.1f}"
    low, high = order(held, scores, weights).regret_ends
    assert cells[HELD_OUT][6].note == f"[{100 * low:.1f}, {100 * high:.1f}]"
    assert data[HELD_OUT]["regret_points_low"] == pytest.approx(100 * low)
    known = f"random is on average {75 - 100 * scores.mean():.1f} points below the best, the one with the highest "
    assert f"{known}held-out accuracy {75 - oracle:.1f}." in part.sentences[0]


def test_runs_beside_other_held_out_pictures_are_refused(tmp_path: Path):
    for method in ("baseline", "csg"):
        folder = write_run(tmp_path / "runs", method, attention=False)
        write_choosing(folder, values_of(60))
    path = folder / "choosing-target.json"
    record = json.loads(path.read_text())
    record["held_out"]["identity"] = sha("others")
    path.write_text(json.dumps(record))
    assert "validation pictures measured for clean" in refused(tmp_path / "runs", "--out", tmp_path / "out")


def test_a_regret_is_read_alone_and_its_interval_adjusted_for_nothing():
    scores, values = np.random.default_rng(5).normal(size=(2, 40))
    weights = resampled(range(40))
    found = order(values, scores, weights, comparisons=11).regret_ends
    drawn = regrets(values, scores, weights)
    assert found == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    assert found != pytest.approx(tuple(np.quantile(drawn, [0.025 / 11, 1 - 0.025 / 11])))
