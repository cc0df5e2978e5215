"""The course of training: records of snapshots, ``RUN/along/STEP``, in the report."""

import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from csg_analysis.drawing.numbers import MINUS
from csg_analysis.report.build import build_report
from csg_analysis.report.course import course_sentences, energy_course, on_the_way
from csg_analysis.report.diff import Change, compare_reports
from csg_analysis.report.load import load_runs
from csg_analysis.report.page import Report, make_report
from csg_analysis.report.summary import summarize
from csg_analysis.report.verify import verify_report
from csg_train.engine.loop import train
from csg_train.recipes.sections import Recipe
from csg_train.runs.records import EnergyRecord, read_record
from tests.analysis.conftest import analyze
from tests.analysis.report.cases import (
    HELP,
    built_text,
    command,
    refused,
    rows_of,
    table,
    visible_text,
    write_all,
    write_run,
    write_snapshot,
)

pytestmark = pytest.mark.usefixtures("sketched")

COURSES = {
    "baseline": ({0: -0.4, 10: -0.28, 20: -0.2}, {0: -0.4, 10: -0.3, 20: -0.22}, {0: -0.4, 10: -0.26, 20: -0.18}),
    "csg": ({0: -0.4, 10: -0.46, 20: -0.44}, {0: -0.4, 10: -0.48, 20: -0.435}, {0: -0.4, 10: -0.5, 20: -0.445}),
    "oracle": ({0: -0.4, 10: -0.4, 20: -0.4},) * 3,
}
"""E_0 of each method's seeds 0, 1 and 2 by step."""
RIGHT = {0: 40, 10: 60, 20: 55}
"""Of 100; one more for each seed."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods of three seeds with snapshots at 0, 10 and 20, accuracy too; read only."""
    runs = write_all(tmp_path_factory.mktemp("course") / "runs", HELP, attention=False)
    for method, seeds in COURSES.items():
        for seed, course in enumerate(seeds):
            for step, value in course.items():
                write_snapshot(runs / f"clean-{method}-{seed}", step, value, right=RIGHT[step] + seed)
    return runs


@pytest.fixture(scope="module")
def out(root: Path) -> Path:
    return build_report([root], root.parent / "out", allow_mixed=False).parent


@pytest.fixture
def own(root: Path, out: Path, tmp_path: Path) -> Path:
    """A copy of runs and report that a test may spoil."""
    shutil.copytree(out, tmp_path / "out")
    return shutil.copytree(root, tmp_path / "runs")


def made(root: Path) -> Report:
    return make_report(load_runs([root]), allow_mixed=False)


def rows(out: Path, name: str, label: str) -> list[dict[str, Any]]:
    return [row for row in table(out, name) if row["row"] == label]


def test_snapshots_are_no_runs(root: Path) -> None:
    runs = load_runs([root, root / "clean-csg-0/along/000010"])
    assert len(runs) == 9
    assert all(list(run.along) == [0, 10, 20] for run in runs)
    assert {len(run.files) for run in runs} == {2 + 3 * 2}


def test_the_table_is_the_mean_over_runs_by_hand(out: Path) -> None:
    """Baseline ends at -0.2, -0.22, -0.18: +0.2 with deviation 0.02; csg's means are -0.4, -0.48, -0.44."""
    (baseline,), (csg,), (frozen,) = (rows(out, "course_target", label) for label in ("baseline", "csg", "oracle"))
    assert [baseline[f"e0_mhe_{place}"] for place in ("first", "lowest", "last")] == pytest.approx([-0.4, -0.4, -0.2])
    assert baseline["e0_mhe_last_sd"] == pytest.approx(0.02)
    half = 4.302653 * 0.02 / np.sqrt(3)
    found = [baseline[f"e0_mhe_change{end}"] for end in ("", "_low", "_high", "_pairs")]
    assert found == pytest.approx([0.2, 0.2 - half, 0.2 + half, 3], abs=1e-6)
    assert [csg[f"e0_mhe_{place}"] for place in ("first", "lowest", "last")] == pytest.approx([-0.4, -0.48, -0.44])
    assert [csg[f"e0_mhe_{place}_step"] for place in ("first", "lowest", "last")] == [0, 10, 20]
    assert (csg["runs"], csg["e0_mhe_change"]) == (3, pytest.approx(-0.04))
    assert [csg[f"mean_per_class_percent_{place}"] for place in ("first", "last")] == pytest.approx([41, 56])
    assert csg["mean_per_class_percent_change"] == pytest.approx(15)
    assert (frozen["e0_mhe_change"], frozen["e0_mhe_change_low"], frozen["e0_mhe_change_high"]) == (0, 0, 0)


def test_the_chart_draws_the_means_and_every_point_is_in_a_table(root: Path, out: Path) -> None:
    """Means and deviations over seeds, from the standard library; the band is mean - sd to mean + sd."""
    figure = made(root).charts["course_target"].draw()
    energies, accuracy = figure.axes
    frozen_start, *lines = energies.get_lines()
    assert list(frozen_start.get_ydata()) == pytest.approx([-0.4, -0.4])
    for line, scores, method in zip(lines, accuracy.get_lines(), ("oracle", "baseline", "csg"), strict=True):
        columns = list(zip(*(course.values() for course in COURSES[method]), strict=True))
        means = [statistics.fmean(column) for column in columns]
        assert list(line.get_xdata()) == [0, 10, 20]
        assert list(line.get_ydata()) == pytest.approx(means)
        assert list(scores.get_ydata()) == pytest.approx([41, 61, 56])
        points = rows(out, "course_target_steps", method)
        assert [point["step"] for point in points] == [0, 10, 20]
        assert [point["e0_mhe"] for point in points] == pytest.approx(means)
        assert [point["e0_mhe_sd"] for point in points] == pytest.approx([statistics.stdev(c) for c in columns])
        assert [point["mean_per_class_percent"] for point in points] == pytest.approx([41, 61, 56])
        assert {point["e0_mhe_n"] for point in points} == {3}
    _, baseline, csg = energies.collections
    assert baseline.get_datalim(energies.transData).get_points()[:, 1] == pytest.approx([-0.4, -0.18])
    assert csg.get_datalim(energies.transData).get_points()[0, 1] == pytest.approx(-0.48 - 0.02)


def test_words_say_what_the_intervals_show(out: Path) -> None:
    page = visible_text((out / "index.html").read_text()).replace("\xa0", " ")
    assert (
        "On target pictures, from the first measured step to the last (simultaneous 95% intervals, n = 3 runs): "
        f"E₀ rises for baseline ({MINUS}0.400 to {MINUS}0.200): the features lose diversity; "
        f"E₀ falls for csg ({MINUS}0.400 to {MINUS}0.440): the features gain diversity; E₀ stays the same for oracle."
    ) in page
    for part in (
        "mean over runs (n = 3), band: ± standard deviation",
        "convention mhe, lower = more diverse. Average pool of layer4, 512 dimensions",
        "photos, 200 pictures (32 px, pad)",
        "along/: 6 records",
    ):
        assert part in page, part
    markdown = (out / "report.md").read_text()
    assert "## The course of training" in markdown
    assert "](figures/course_target.png)" in markdown
    for name in ("course_target", "course_target_steps"):
        for ending in ("csv", "json", "tex"):
            assert (out / f"tables/{name}.{ending}").is_file()
            assert f'href="tables/{name}.{ending}"' in (out / "index.html").read_text()


def test_a_collapse_on_the_way_is_said_though_the_end_shows_none(tmp_path: Path) -> None:
    """At step 10 the baseline rises by 0.199, 0.2, 0.201, and csg lies 0.1 below it: of 2 x 3 rows x 2 steps, two."""
    seeds = (-0.001, 0.0, 0.001)
    courses = {
        "baseline": [{0: -0.4, 10: -0.2 + more, 20: -0.4 - 9 * more} for more in seeds],
        "csg": [{0: -0.4, 10: -0.3 + 2 * more, 20: -0.41 - more} for more in seeds],
        "oracle": [dict.fromkeys((0, 10, 20), -0.4)] * 3,
    }
    for method, own in courses.items():
        for seed, course in enumerate(own):
            folder = write_run(tmp_path, method, seed, attention=False, energy=course[20])
            for step, value in course.items():
                write_snapshot(folder, step, value)
    half = stats.t.ppf(1 - 0.05 / 2 / 12, 2) * 0.001 / 3**0.5

    def told(mean: float, half: float, where: str = "") -> str:
        low, middle, high = (f"{value:+.3f}".replace("-", MINUS) for value in (mean - half, mean, mean + half))
        return f"({middle} [{low},\xa0{high}]{where})"

    rows = rows_of(tmp_path)
    way = on_the_way(rows, energy_course("target"))
    step = " at step 10"
    assert way == (
        f"During training E₀ rises above its start for baseline {told(0.2, half, step)}, csg "
        f"{told(0.1, 2 * half, step)}: the features collapse; where the baseline's E₀ is "
        f"highest, it is lower for csg {told(-0.1, half)} "
        "(adjusted for every step of every row)."
    )
    collapse = summarize(rows)[1]
    assert collapse.verdict == "during training, not shown at the end"
    assert collapse.text.endswith(way)
    baseline = made(tmp_path).tables["course_target"].data[1]
    assert (baseline["row"], baseline["e0_mhe_highest_step"]) == ("baseline", 10)


def test_a_rise_at_the_end_is_none_on_the_way(root: Path) -> None:
    """The baseline ends at its highest, so nothing lies on the way; the section's own words say it."""
    assert on_the_way(rows_of(root), energy_course("target")) == ""


def test_two_runs_are_shown_and_nothing_is_claimed(own: Path) -> None:
    for method in COURSES:
        shutil.rmtree(own / f"clean-{method}-2/along")
    report = made(own)
    assert report.parts[0].sentences == (
        "Nothing is said of oracle, baseline, csg on target pictures: fewer than 3 runs.",
    )
    assert "(n = 2)" in report.charts["course_target"].title
    (csg,) = (row for row in report.tables["course_target"].data if row["row"] == "csg")
    assert (csg["runs"], csg["e0_mhe_last_n"], csg["e0_mhe_change_low"]) == (2, 2, None)


def test_a_step_that_a_run_lacks_is_left_out_and_counted(own: Path) -> None:
    shutil.rmtree(own / "clean-csg-1/along/000020")
    course = made(own).tables["course_target"]
    assert "Left out, measured in some runs of a method only: 4 numbers." in course.notes  # two runs, both numbers
    (csg,) = (row for row in course.data if row["row"] == "csg")
    assert (csg["e0_mhe_last_step"], csg["e0_mhe_last"]) == (10, pytest.approx(-0.48))


def test_accuracy_alone_and_no_section_without_records(tmp_path: Path, report: Path) -> None:
    folder = write_run(tmp_path / "runs", "csg", attention=False)
    for step in (0, 20):
        write_snapshot(folder, step, None, right=50)
    page = built_text(tmp_path / "runs", tmp_path / "out")
    assert "First accuracy % mean per class" in page
    assert "First E₀" not in page
    assert 'id="course"' not in (report / "index.html").read_text()
    assert not list((report / "tables").glob("course*"))


@pytest.mark.parametrize(
    ("section", "field", "value", "told"),
    [
        ("run", "method", "asg", "of another run, its method differs"),
        ("run", "seed", 7, "of another run, its seed differs"),
        ("run", "source_identity", "other", "of another run, its source_identity differs"),
        ("run", "step", 5, "of step 5"),
        ("data", "identity", "other", "identity other, not"),
        (None, "layer", "layer3", "layer layer3, not layer4"),
        (None, "dtype", "float16", "dtype float16, not float32"),
        (None, "coincident_rule", "infinite", "coincident_rule infinite, not exclude"),
    ],
)
def test_a_record_that_does_not_belong_is_named(
    own: Path, section: str | None, field: str, value: object, told: str
) -> None:
    path = own / "clean-csg-1/along/000010/energy-target.json"
    record = json.loads(path.read_text())
    (record[section] if section else record)[field] = value
    path.write_text(json.dumps(record))
    (path.parent / "accuracy-target.json").unlink()
    line = refused(own)
    assert told in line
    assert str(path) in line


def test_runs_of_which_only_snapshots_were_measured_in_another_way(tmp_path: Path) -> None:
    """Within each run alike, between the runs not; and a run without records of its own."""
    first, second = (write_run(tmp_path / "runs", method, attention=False) for method in ("baseline", "csg"))
    write_snapshot(first, 0, -0.4)
    write_snapshot(second, 0, -0.4, layer="layer3")
    (second / "energy-target.json").unlink()
    assert "energy layer and pool" in refused(tmp_path / "runs", "--out", tmp_path / "out")
    (second / "accuracy-target.json").unlink()
    assert f"{second}: only its snapshots were measured; measure the run too" in refused(tmp_path / "runs")


def test_recipes_that_differ_in_snapshots_alone_get_no_notice(own: Path) -> None:
    path = own / "clean-csg-0/recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    recipe["train"]["snapshots"] = 2
    path.write_text(yaml.safe_dump(recipe))
    assert made(own).notices == []


def test_verify_and_diff_see_snapshots(own: Path, out: Path, tmp_path: Path) -> None:
    assert verify_report(tmp_path / "out", [own]).faults == []
    path = own / "clean-csg-1/along/000010/energy-target.json"
    path.write_text(path.read_text().replace('"0": -0.48', '"0": -0.42', 1))
    (own / "clean-csg-2/along/000010/ckpt.pt").write_bytes(b"other")
    (own / "clean-csg-0/along/000010/accuracy-target.json").unlink()
    faults = verify_report(tmp_path / "out", [own]).faults
    assert f"{path}: changed after the report was built" in faults
    assert f"{own}/clean-csg-0/along/000010/accuracy-target.json: missing; the report names it" in faults
    assert any("along/000010/ckpt.pt: not the checkpoint that was measured" in fault for fault in faults)
    assert any("tables/course_target_steps.csv" in fault for fault in faults)
    build_report([own], tmp_path / "new", allow_mixed=False)
    found = compare_reports(out, tmp_path / "new")
    assert found.changed == {f"clean-csg-{seed}": ["records"] for seed in (0, 1)}
    assert {"course_target", "course_target_steps"} == {change.table for change in found.numbers}
    change = next(one for one in found.numbers if one.row == "10 csg" and one.field == "e0_mhe")
    assert isinstance(change, Change)
    assert (change.before, change.after) == (pytest.approx(-0.48), pytest.approx(-0.46))


def test_an_accuracy_that_contradicts_its_counts_is_found(own: Path, tmp_path: Path) -> None:
    path = own / "clean-csg-1/along/000010/accuracy-target.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"overall": 0.9}))
    build_report([own], tmp_path / "new", allow_mixed=False)
    (fault,) = verify_report(tmp_path / "new", [own]).faults
    assert fault == f"{path}: overall does not follow from the record's own confusion matrix"


def test_methods_that_start_apart_have_a_mark_each(tmp_path: Path) -> None:
    for method, start in (("baseline", -0.4), ("csg", -0.4000001), ("ibn-net", -0.3)):
        folder = write_run(tmp_path / "runs", method, attention=False)
        for step in (0, 20):
            write_snapshot(folder, step, start + step / 100)
    report = made(tmp_path / "runs")
    (axes,) = report.charts["course_target"].draw().axes
    dashed = [line.get_ydata()[0] for line in axes.get_lines() if len(line.get_xdata()) == 2 and line.is_dashed()]
    assert dashed == pytest.approx([-0.4, -0.3], abs=1e-6)
    assert len(rows_of(tmp_path / "runs")) == 3


def test_from_training_to_the_page(recipe_dict: dict[str, Any], tmp_path: Path) -> None:
    """The two commands; the start's energy is the frozen one, whatever was trained."""
    recipe_dict["train"] |= {"snapshots": 2, "lr_backbone": 0.05}
    recipe_dict["data"]["augment"] = "none"
    paths = []
    for method in ("oracle", "baseline"):
        recipe = Recipe.model_validate(recipe_dict | {"method": {"name": method}})
        paths.append(train(recipe, tmp_path / f"runs/{method}-s0", device="cpu"))
    snapshots = sorted((tmp_path / "runs").glob("*/along/*/ckpt.pt"))
    assert len(snapshots) == 6
    found = analyze("energy", *paths, *snapshots)
    assert found.exit_code == 0, found.output
    assert analyze("accuracy", *paths, *snapshots).exit_code == 0
    for label in ("baseline s0 step 0", "oracle s0 step 2", "oracle s0 "):
        assert label in found.output
    energies: dict[tuple[str, int], float] = {}
    for path in snapshots:
        record = read_record(path.parent / "energy-target.json")
        assert isinstance(record, EnergyRecord)
        assert record.run.step == int(path.parent.name)
        value = record.mhe["0"]
        assert value is not None
        energies[path.parts[-4], record.run.step] = value
    frozen = energies["oracle-s0", 5]
    assert energies["oracle-s0", 0] == frozen
    assert energies["baseline-s0", 0] == pytest.approx(frozen, abs=1e-6)
    assert energies["baseline-s0", 5] != pytest.approx(frozen, abs=1e-6)
    last = read_record(tmp_path / "runs/baseline-s0/energy-target.json")
    assert isinstance(last, EnergyRecord)
    assert energies["baseline-s0", 5] == last.mhe["0"]
    assert command(tmp_path / "runs", "--out", tmp_path / "out").exit_code == 0
    (row,) = rows(tmp_path / "out", "course_target", "baseline")
    assert [row["e0_mhe_first"], row["e0_mhe_last"]] == [energies["baseline-s0", step] for step in (0, 5)]
    (source,) = rows(tmp_path / "out", "course_source", "baseline")
    assert source["e0_mhe_last_step"] == 5
    told = command(tmp_path / "out", name="verify").output
    assert "8 checkpoints checked, 0 not there" in told


def test_a_method_of_one_step_is_no_comparison(tmp_path):
    write_all(tmp_path, HELP, attention=False)
    for method, steps in (("baseline", (0, 10, 20)), ("csg", (0, 20)), ("oracle", (20,))):
        for seed in range(3):
            for step in steps:
                write_snapshot(tmp_path / f"clean-{method}-{seed}", step, -0.4 + 0.01 * step + 0.001 * seed)
    rows = rows_of(tmp_path)
    found = {row.method: energy_course("target").change(row, rows) for row in rows}
    assert found["oracle"] is None
    assert found["csg"].comparisons == found["baseline"].comparisons == 2


def test_a_step_of_infinite_energy_is_none_of_a_course(tmp_path):
    folder = write_run(tmp_path, "csg", attention=False)
    for step in (0, 10, 20):
        write_snapshot(folder, step, -0.4)
    path = folder / "along/000010/energy-target.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mhe": dict.fromkeys("012")}))
    (row,) = rows_of(tmp_path)
    assert energy_course("target").steps(row) == [0, 20]


def test_a_collapse_on_the_way_is_said_though_the_end_lies_below_the_start(tmp_path):
    for seed in range(3):
        courses = {"oracle": (-0.4, -0.4, -0.4), "baseline": (-0.4, -0.2 + 0.001 * seed, -0.5 + 0.001 * seed)}
        for method, course in courses.items():
            folder = write_run(tmp_path, method, seed, attention=False, energy=course[-1])
            for step, value in zip((0, 10, 20), course, strict=True):
                write_snapshot(folder, step, value)
    collapse = summarize(rows_of(tmp_path))[1]
    assert collapse.text.startswith("No: ")
    assert "During training E₀ rises above its start for baseline" in collapse.text
    assert (collapse.verdict, collapse.tone) == ("during training, not at the end", "plain")


def test_a_baseline_that_ends_at_its_highest_is_no_measure_of_the_way(tmp_path):
    courses = {"baseline": (-0.4, -0.3, -0.1), "csg": (-0.4, -0.2, -0.3), "oracle": (-0.4, -0.4, -0.4)}
    for seed in range(3):
        for method, course in courses.items():
            folder = write_run(tmp_path, method, seed, attention=False)
            for step, value in zip((0, 10, 20), course, strict=True):
                write_snapshot(folder, step, value + 0.001 * seed * step)
    way = on_the_way(rows_of(tmp_path), energy_course("target"))
    assert way.startswith("During training E₀ rises above its start for csg ")
    assert "at the baseline's highest" not in way


def test_a_change_that_is_not_shown_is_not_said_to_be_none(tmp_path):
    for seed, end in enumerate((-0.41, -0.4, -0.39)):
        folder = write_run(tmp_path, "csg", seed, attention=False)
        for step, value in ((0, -0.4), (20, end)):
            write_snapshot(folder, step, value)
    said = course_sentences(rows_of(tmp_path), "target", energy_course("target"))
    assert said.endswith("n = 3 runs): no change of E₀ can be shown for csg.")
