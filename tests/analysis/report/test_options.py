"""Methods combined with an option: a row of their own, compared with the method alone."""

import pytest
import yaml

from csg_analysis.report.load import load_runs
from csg_analysis.report.rows import BASELINE, reference, score, to_baseline
from csg_analysis.report.summary import summarize
from tests.analysis.report.cases import MEAN, built_text, refused, rows_of, table, write_run, write_snapshot

pytestmark = pytest.mark.usefixtures("sketched")

SWAD = {"average": "swad"}


def test_a_combination_is_a_row_compared_with_the_plain_baseline(tmp_path):
    for seed in range(3):
        write_run(tmp_path / "plain", "baseline", seed, right=50 + seed)
        write_run(tmp_path / "swad", "baseline", seed, right=60 + seed, options=SWAD, averaged=MEAN)
        write_run(tmp_path / "probe", "csg", seed, right=55 + 2 * seed, options={"probe": 200} | SWAD, averaged=MEAN)
    rows = rows_of(tmp_path)
    assert [row.label for row in rows] == ["baseline", "baseline + SWAD", "csg + LP-FT + SWAD"]
    assert reference(rows, BASELINE, "") is rows[0]
    assert to_baseline(rows[0], rows, score()) is None
    assert round(to_baseline(rows[1], rows, score()).mean, 9) == 0.1
    helped = summarize(rows)[-1].text
    assert "baseline + SWAD +10.0 points" in helped, "an option alone is a rival, and is compared too"
    assert "csg + LP-FT + SWAD +" in helped
    assert {run.checkpoint for run in load_runs([tmp_path])} == {"ckpt.pt", "average.pt"}
    text = built_text(tmp_path, tmp_path / "report")
    averages = "baseline + SWAD, csg + LP-FT + SWAD"
    assert f"nothing was chosen on the target). Of {averages} an average of weights is measured in its place." in text
    steps = [line["step"] for line in table(tmp_path / "report", "provenance")]
    assert steps == ["20 (last)"] * 3 + ["20 (last; the average of steps 3 to 9 (swad))"] * 6


def test_the_checkpoint_to_measure_is_the_one_that_most_runs_have(tmp_path):
    """One average among ten runs, and all were to be measured as RUN/average.pt."""
    for seed in range(3):
        write_run(tmp_path, "baseline", seed, attention=False)
    write_run(tmp_path / "swad", "baseline", options=SWAD, averaged=MEAN, attention=False)
    assert "csg-analyze gradcam RUN/ckpt.pt" in built_text(tmp_path, tmp_path / "report")


def test_a_step_s_weights_under_the_name_of_the_average_are_refused(tmp_path):
    """As an earlier version measured ckpt.pt of a run with ``average``: seeds of both were one row."""
    write_run(tmp_path / "swad", "baseline", 0, options=SWAD, averaged=MEAN)
    folder = write_run(tmp_path / "swad", "baseline", 1, options=SWAD)
    message = f"{folder}: measured with an earlier version, which called the last step's weights the average; run every"
    assert message in refused(tmp_path, "--out", tmp_path / "report")


def test_the_course_of_a_run_that_averages_is_said_to_be_of_single_steps(tmp_path):
    for name, averaged in {"plain": {}, "swad": SWAD}.items():
        folder = write_run(tmp_path / name, "baseline", options=averaged, averaged=MEAN if averaged else {})
        for step in (0, 20):
            write_snapshot(folder, step, -0.4)
    text = built_text(tmp_path, tmp_path / "report")
    assert "A snapshot of baseline + SWAD has the weights of its step, not an average." in text


def test_how_runs_were_trained_is_said(tmp_path):
    """Two reports of one title, one of them with RandAugment: nothing on the page told them apart."""
    for seed, augment in enumerate(["none", "randaugment", "randaugment"]):
        run = write_run(tmp_path, "baseline", seed)
        saved = yaml.safe_load((run / "recipe.yaml").read_text())
        saved |= {"data": {"size": 96, "augment": augment}}
        (run / "recipe.yaml").write_text(yaml.safe_dump(saved))
    text = built_text(tmp_path, tmp_path / "report")
    assert "the recipes have it: data.size 96; data.augment none / randaugment; train.steps 20." in text


def test_a_field_of_the_method_and_one_of_an_option_may_have_one_name(tmp_path):
    """``beta`` of domain randomization and PASTA's: the runs were one row, and provenance had PASTA's alone."""
    for seed in range(2):
        for beta in (0.1, 0.4):
            own = {"method_config": {"beta": beta}, "options": {"augment": "pasta", "beta": 0.25}}
            write_run(tmp_path / str(beta), "domain-randomization", seed, right=50 + seed, **own)
    rows = rows_of(tmp_path)
    assert [row.label for row in rows] == [
        "domain-randomization + PASTA beta=0.1",
        "domain-randomization + PASTA beta=0.4",
    ]
    assert {run.config for run in load_runs([tmp_path / "0.1"])} == {
        '{"augment": "pasta", "beta": 0.1, "first": "styled", "options.beta": 0.25, "over_styles": "sum"}'
    }


def test_a_run_from_before_a_field_is_one_of_the_value_that_it_trained_with(tmp_path):
    """Five new seeds of domain randomization, set as the three old ones had been trained, were a row of their own."""
    for seed, fields in enumerate([{}, {"first": "styled", "over_styles": "sum"}, {"over_styles": "mean"}]):
        write_run(tmp_path, "domain-randomization", seed, method_config={"beta": 0.1} | fields)
    rows = rows_of(tmp_path)
    assert [(row.label, len(row.runs)) for row in rows] == [
        ('domain-randomization over_styles="mean"', 1),
        ('domain-randomization over_styles="sum"', 2),
    ]


def test_a_combination_never_stands_for_the_plain_baseline(tmp_path):
    for seed in range(3):
        write_run(tmp_path / "swad", "baseline", seed, right=60 + seed, options=SWAD, averaged=MEAN)
        write_run(tmp_path / "csg", "csg", seed, right=70 + seed)
    rows = rows_of(tmp_path)
    assert reference(rows, BASELINE, "") is None
    assert to_baseline(rows[-1], rows, score()) is None


def test_the_same_combination_twice_is_refused(tmp_path):
    for name in ("one", "two"):
        write_run(tmp_path / name, "baseline", options=SWAD, averaged=MEAN)
    assert "the same run as" in refused(tmp_path, "--out", tmp_path / "report")
