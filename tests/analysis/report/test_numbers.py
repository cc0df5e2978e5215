"""The report's numbers: statistics against scipy, rows, references, the published order."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from csg_analysis.report import load
from csg_analysis.report.build import build_report
from csg_analysis.report.gallery import choose, make_gallery
from csg_analysis.report.paper import published
from csg_analysis.report.paper_order import order_sentences
from csg_analysis.report.rows import best, comparisons, reference, score, to_baseline
from csg_analysis.report.stats import paired_difference, rank_correlation, rank_correlation_interval, spread
from csg_train.errors import UserError
from csg_train.files import sha256_file
from csg_train.runs.records import AccuracyRecord, only_prediction, read_record, write_record
from tests.analysis.report.cases import HELP, MEAN, built_text, rows_of, table, visible_text, write_all, write_run

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
    first = [{pair: pair + 10.0 * method for pair in range(6)} for method in range(4)]
    assert rank_correlation_interval(first, first) == (1, 1)
    assert rank_correlation_interval(first, [{p: -v for p, v in m.items()} for m in first]) == (-1, -1)
    assert rank_correlation_interval(first[:3], first[:3]) is None  # methods
    five = [{pair: values[pair] for pair in range(5)} for values in first]
    assert rank_correlation_interval(five, first) is None  # shared pairs: of five, both ends are the least and the most
    noisy = [dict(enumerate(np.random.default_rng(method).uniform(0, 9, 6).tolist())) for method in range(4)]
    ordered = [{pair: float(method) for pair in range(6)} for method in range(4)]
    drawn = np.random.default_rng(0).integers(6, size=(2000, 6))
    direct = [
        stats.spearmanr([sum(m[p] for p in pairs.tolist()) for m in noisy], range(4)).statistic for pairs in drawn
    ]
    assert rank_correlation_interval(noisy, ordered) == pytest.approx(tuple(np.quantile(direct, [0.025, 0.975])))


def test_rank_correlation_needs_four_methods() -> None:
    assert rank_correlation([1, 2, 3], [3, 2, 1]) is None
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 1, 1], [4, 3, 2, 1]) is None


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
        for seed in range(6):
            write_run(tmp_path / "runs", method, seed, right=50 + 2 * place + seed, energy=-0.1 * place)
    out = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    assert (
        "\u22121.00 [\u22121.00, \u22121.00; 95% bootstrap over the paired runs, 10000 resamples] "
        "(n = 4 methods, their means)" in visible_text((out / "index.html").read_text())
    )


def test_rank_correlation_and_its_interval_are_of_the_same_runs(tmp_path: Path) -> None:
    """Nine more runs of one method turned the value about, beside the interval of the shared ones."""
    for place, method in enumerate(("baseline", "csg", "asg", "si")):
        for seed in range(15 if method == "csg" else 6):
            right = 50 + 2 * place + seed if seed < 6 else 90
            write_run(tmp_path / "runs", method, seed, right=right, energy=-0.1 * place)
    expected = (
        "\u22121.00 [\u22121.00, \u22121.00; 95% bootstrap over the paired runs, 10000 resamples] "
        "(n = 4 methods, their means over the 6 runs that all have)"
    )
    assert expected in built_text(tmp_path / "runs", tmp_path / "out")


def test_a_rank_correlation_of_few_runs_has_no_interval(tmp_path: Path) -> None:
    """Of three the bootstrap's 95 % held the true one in two thirds to nine tenths of the cases."""
    for place, method in enumerate(("baseline", "csg", "asg", "si")):
        for seed in range(9 if method == "csg" else 3):
            right = 50 + 2 * place + seed if seed < 3 else 90
            write_run(tmp_path / "runs", method, seed, right=right, energy=-0.1 * place)
    few = "n = 4 methods, their means over the 3 runs that all have; an interval takes 6 runs"
    assert f"\u22121.00 ({few})" in built_text(tmp_path / "runs", tmp_path / "out")


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
    assert "inconclusive" in accuracy


def test_gallery_takes_one_source_and_the_lowest_seed(tmp_path: Path) -> None:
    for method, source, seed in [("baseline", "b", 1), ("baseline", "b", 2), ("csg", "b", 3), ("csg", "a", 0)]:
        write_run(tmp_path, method, seed, source=source)
    chosen = [(row.label, run.info.source, run.info.seed) for row, run in choose(rows_of(tmp_path))]
    assert chosen == [("baseline", "b", 1), ("csg", "b", 3)]


def test_maps_of_pictures_of_another_size_are_a_setting_that_a_mixed_report_keeps_apart(tmp_path: Path) -> None:
    for method, size in {"baseline": 32, "csg": 64}.items():
        path = write_run(tmp_path, method, 0) / "attention.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"data": record["data"] | {"size": size}}))
    with pytest.raises(UserError, match=r"GradCAM input size: 32 px, pad .* / 64 px, pad .*allow-mixed"):
        rows_of(tmp_path)
    assert len(choose(rows_of(tmp_path, allow_mixed=True))) == 1


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({}, "2 pictures of photos (target), drawn with a fixed seed. Maps and predicted classes at 32 px, pad."),
        (
            {"split": "images", "size": 64},
            "2 pictures of photos, chosen by hand. Maps and predicted classes at 64 px, pad; scores of the tables at "
            "32 px, pad.",
        ),
    ],
)
def test_the_gallery_says_which_pictures_it_shows_and_at_which_size(changed, note, tmp_path: Path) -> None:
    path = write_run(tmp_path, "baseline", 0) / "attention.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"data": record["data"] | changed}))
    gallery = make_gallery(rows_of(tmp_path))
    assert gallery is not None
    assert gallery.notes[1] == note


def test_a_record_that_is_replaced_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch) -> None:
    """Else the page had the numbers of one beside the hash of the other."""
    path, read, old = write_run(tmp_path, "csg", 0) / "energy-target.json", load.named_record, []

    def replaced(record: Path):
        found = read(record)
        if record == path and not old:
            old.append(path.read_text())
            path.write_text(old[0].replace('"0": -0', '"0": -1'))
        return found

    monkeypatch.setattr(load, "named_record", replaced)
    (run,) = load.load_runs([tmp_path])
    assert run.energy["target"].mhe["0"] == json.loads(path.read_text())["mhe"]["0"] < -1
    assert dict(run.files)["energy-target.json"] == sha256_file(path)


def test_a_best_among_methods_of_which_one_was_not_measured(tmp_path: Path) -> None:
    write_all(tmp_path, HELP | {"asg": (1, 1, 1)}, attention=False)
    for path in tmp_path.glob("clean-asg-*/accuracy-target.json"):
        path.unlink()
    assert [row.label for row in best(rows_of(tmp_path), score())] == ["csg"]


def test_a_baseline_with_something_added_is_no_reference(tmp_path: Path) -> None:
    for seed in range(3):
        mean = MEAN | {"rule": "ema"}
        write_run(tmp_path / "a", "baseline", seed, options={"average": "ema"}, averaged=mean, attention=False)
        write_run(tmp_path / "b", "csg", seed, attention=False)
    rows = rows_of(tmp_path)
    assert reference(rows, "baseline", "") is None
    assert to_baseline(rows[0], rows, score()) is None
