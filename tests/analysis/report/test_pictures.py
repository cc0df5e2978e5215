"""Intervals over seeds and pictures, from the single predictions of the records."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from csg_analysis.report.build import build_report
from csg_analysis.report.format import interval
from csg_analysis.report.load import load_runs
from csg_analysis.report.page import make_report
from csg_analysis.report.rows import score, to_baseline
from csg_analysis.report.stats import Difference, paired_difference, picture_variance
from csg_analysis.report.summary import summarize
from csg_train.errors import UserError
from tests.analysis.report.cases import rows_of, table, visible_text, write_all, write_run

pytestmark = pytest.mark.usefixtures("sketched")


def crossed(values, pictures, comparisons=1):
    found = paired_difference(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0), comparisons, pictures)
    return found.crossed


def add_predictions(folder, right):
    """Into a record of 100 pictures a class; ``right`` says of each class which are right."""
    path = folder / "accuracy-target.json"
    record = json.loads(path.read_text())
    lines = [[label if ok else 1 - label for ok in own] for label, own in enumerate(right)]
    record["predicted"] = [" ".join(map(str, line)) for line in lines]
    record["confusion"] = [np.bincount(line, minlength=2).tolist() for line in lines]
    record["per_class"] = [float(np.mean(own)) for own in right]
    record["mean_per_class"] = record["overall"] = float(np.mean(right))
    path.write_text(json.dumps(record))


def test_variance_over_pictures_by_hand():
    """Class 1: 1, 0, 0, -1, variance 2/3; class 2: 1, 0, variance 1/2: (2/3 / 4 + 1/2 / 2) / 4."""
    found = picture_variance([np.array([1.0, 0.0, 0.0, -1.0]), np.array([1.0, 0.0])])
    assert found == pytest.approx((1 / 6 + 1 / 4) / 4)
    alone = picture_variance([np.array([1.0, 0.0]), np.array([1.0])])
    assert alone == pytest.approx((0.5 / 2 + 1) / 4), "one picture says nothing of others: the largest possible"
    assert picture_variance([]) is None


def test_interval_by_hand_and_its_limits():
    """Mean 5, s^2 = 1, n = 3, v = 2: 5 +- 4.302653 sqrt(1/3 + 2); without v the t-interval, and ever wider with it."""
    half = 4.302652729911275 * math.sqrt(1 / 3 + 2)
    assert crossed((4.0, 5.0, 6.0), 2.0) == pytest.approx((5 - half, 5 + half))
    t = stats.ttest_1samp([4, 5, 6], 0).confidence_interval(1 - 0.05 / 7)
    assert crossed((4.0, 5.0, 6.0), 0.0, comparisons=7) == pytest.approx((t.low, t.high))
    adjusted = np.hypot(stats.t.ppf(1 - 0.025 / 7, 2) / math.sqrt(3), stats.t.ppf(1 - 0.025 / 7, 2) * math.sqrt(2))
    assert crossed((4.0, 5.0, 6.0), 2.0, comparisons=7) == pytest.approx((5 - adjusted, 5 + adjusted))
    widths = [np.ptp(crossed((4.0, 5.0, 6.0), v)) for v in (0, 0.1, 1, 10)]
    assert widths == sorted(widths)
    assert crossed((5.0, 5.0, 5.0), 0.25) == pytest.approx((5 - 4.302652729911275 / 2, 5 + 4.302652729911275 / 2))
    assert crossed((4.0, 5.0), 2.0) is None


def test_the_variance_is_that_of_a_bootstrap_over_seeds_and_pictures():
    """An independent way: 40 seeds and the pictures of each class are drawn anew, the same ones for both methods."""
    rng = np.random.default_rng(1)
    counts, seeds = (60, 25), 40
    right = [  # hard pictures are hard for both methods and all seeds; seeds differ in how good the first method is
        (rng.random(n) + np.array([[[0.25]], [[0.0]]]) + rng.normal(0, 0.2, (2, seeds, 1))) > 0.55 for n in counts
    ]
    z_SN = [own[0] * 1.0 - own[1] for own in right]
    means = np.mean([z.mean(axis=1) for z in z_SN], axis=0)
    found = crossed(tuple(means), picture_variance([z.mean(axis=0) for z in z_SN]))
    half = (found[1] - found[0]) / 2 / stats.t.ppf(0.975, seeds - 1)
    drawn = []
    for _ in range(3000):
        own = rng.integers(seeds, size=seeds)
        drawn.append(np.mean([z[own][:, rng.integers(z.shape[1], size=z.shape[1])].mean() for z in z_SN]))
    assert half == pytest.approx(np.std(drawn), rel=0.06)
    assert half > 1.1 * means.std(ddof=1) / math.sqrt(seeds), "the pictures add to it"


def test_pictures_can_take_a_claim_back(tmp_path):
    """CSG is 4 to 6 points better with every seed, on other pictures each time: shown of seeds, not of pictures."""
    everyone = np.arange(100)
    for seed in range(3):
        better = 54 + seed
        write_run(tmp_path / "a", "baseline", seed, right=50, attention=False)
        write_run(tmp_path / "a", "csg", seed, right=better, attention=False)
    assert to_baseline(rows_of(tmp_path)[1], rows_of(tmp_path), score()).sign == "higher"
    before = to_baseline(rows_of(tmp_path)[1], rows_of(tmp_path), score())
    assert before.crossed is None
    for seed in range(3):
        add_predictions(tmp_path / f"a/clean-baseline-{seed}", [everyone < 50] * 2)
        add_predictions(tmp_path / f"a/clean-csg-{seed}", [everyone >= 46 - seed] * 2)
    rows = rows_of(tmp_path)
    found = to_baseline(rows[1], rows, score())
    assert (found.simultaneous, found.sign) == (before.simultaneous, "none")
    z = np.mean([(everyone >= 46 - seed) * 1.0 - (everyone < 50) for seed in range(3)], axis=0)
    half = 4.302652729911275 * math.sqrt(1e-4 / 3 + z.var(ddof=1) / 100 / 2)
    assert found.crossed == pytest.approx((0.05 - half, 0.05 + half))
    for path in tmp_path.rglob("accuracy-target.json"):
        record = json.loads(path.read_text())
        record["data"]["split"] = "validation"
        path.with_name("accuracy-validation.json").write_text(json.dumps(record))
    rows = rows_of(tmp_path)
    held = rows[1].against(rows[0], score("validation"))
    assert (held.mean, held.crossed) == (pytest.approx(0.05), None)  # the variance is that of the target's pictures
    out = build_report([tmp_path / "a"], tmp_path / "out", allow_mixed=False).parent
    (row,) = table(out, "comparisons")
    assert row["mean_per_class_percent_minus_baseline_pictures_low"] == pytest.approx(100 * found.crossed[0])
    csg = table(out, "methods")[1]
    assert csg["mean_per_class_percent_minus_baseline_pictures_high"] == pytest.approx(100 * found.crossed[1])
    notes = json.loads((out / "tables/methods.json").read_text())["notes"]
    assert any(note.startswith("Seeds and pictures: ") and "v that of the mean difference" in note for note in notes)
    text = visible_text((out / "index.html").read_text())
    assert "the 95% interval over seeds and pictures" in text
    assert "(simultaneous 95% intervals over seeds and pictures): 1 inconclusive" in text
    (note,) = json.loads((out / "tables/order.json").read_text())["notes"]
    assert "interval (where there is one, that over seeds and pictures)" in note
    assert "It covers no other source, class or data set. 1 comparisons here have it" in text


def test_one_record_without_predictions_leaves_the_seeds_alone(tmp_path):
    for seed in range(3):
        for method in ("baseline", "csg"):
            folder = write_run(tmp_path, method, seed, attention=False)
            if (method, seed) != ("csg", 2):
                add_predictions(folder, [np.arange(100) < 50] * 2)
    rows = rows_of(tmp_path)
    assert to_baseline(rows[1], rows, score()).crossed is None


def test_earlier_records_have_no_word_of_pictures(tmp_path):
    write_all(tmp_path / "runs", {"baseline": (50, 51, 52), "csg": (55, 56, 57)})
    out = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    assert "seeds and pictures" not in (out / "report.md").read_text().lower()
    assert "pictures_low" not in (out / "tables/comparisons.csv").read_text()


@pytest.mark.parametrize("line", ["0 0 1", "0 x", "5 5"])
def test_predictions_that_do_not_fit_their_counts_are_refused(tmp_path, line):
    folder = write_run(tmp_path, "csg")
    add_predictions(folder, [np.arange(100) < 50] * 2)
    path = folder / "accuracy-target.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"predicted": [line, line]}))
    with pytest.raises(UserError, match="listed predictions do not fit"):
        load_runs([tmp_path])


def test_the_variance_is_computed_once_a_build(tmp_path, monkeypatch):
    for seed in range(3):
        for method in ("baseline", "csg", "asg"):
            folder = write_run(tmp_path / "a", method, seed, attention=False)
            add_predictions(folder, [np.arange(100) < 50 + seed] * 2)
    calls = []
    monkeypatch.setattr(
        "csg_analysis.report.rows.picture_variance", lambda own: calls.append(1) or picture_variance(own)
    )
    make_report(load_runs([tmp_path / "a"]), allow_mixed=False)
    # each of csg and asg to the baseline, and for the best row the differences that it asks for
    assert 2 <= len(calls) <= 6


def test_a_class_without_pictures_changes_no_interval(tmp_path):
    everyone = np.arange(100)
    for seed in range(3):
        for method, right in (("baseline", 50), ("csg", 60 + seed)):
            add_predictions(
                write_run(tmp_path, method, seed, attention=False), [everyone < right, everyone >= 100 - right]
            )
    rows = rows_of(tmp_path)
    before = to_baseline(rows[1], rows, score()).crossed
    for path in tmp_path.rglob("accuracy-target.json"):
        record = json.loads(path.read_text())
        record["confusion"] = [*([*line, 0] for line in record["confusion"]), [0, 0, 0]]
        for field, value in (("classes", "cow"), ("predicted", ""), ("per_class", None)):
            record[field].append(value)
        path.write_text(json.dumps(record))
    rows = rows_of(tmp_path)
    assert to_baseline(rows[1], rows, score()).crossed == before is not None


def test_the_brackets_hold_the_interval_that_decides():
    found = Difference(0.2, (0.1, 0.2, 0.3), simultaneous=(0.1, 0.3), crossed=(-0.1, 0.5))
    assert interval(found, 1) == "[\N{MINUS SIGN}0.1,\N{NO-BREAK SPACE}+0.5]"


def test_the_summary_says_pictures_only_where_every_interval_is_over_them(tmp_path):
    everyone, right = np.arange(100), {"baseline": 50, "asg": 60, "csg": 70}
    folders = {
        (m, seed): write_run(tmp_path, m, seed, right=r, attention=False) for m, r in right.items() for seed in range(3)
    }
    for among, said in ((("baseline", "csg"), False), (("asg",), True)):
        for method, seed in folders:
            if method in among:
                add_predictions(folders[method, seed], [everyone < right[method] + seed] * 2)
        assert ("intervals over seeds and pictures" in summarize(rows_of(tmp_path))[2].text) == said
