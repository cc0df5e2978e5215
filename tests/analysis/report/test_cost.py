"""Cost beside the score: step times divided by the baseline's of the same machine, and never of another."""

import json

import numpy as np
import pytest

from csg_analysis.report.build import build_report
from csg_analysis.report.cost_part import cost_part
from csg_analysis.report.diff import compare_reports
from csg_analysis.report.load import load_runs
from csg_analysis.report.verify import verify_report
from csg_train.errors import UserError
from csg_train.runs.cost import Cost, write_cost
from tests.analysis.report.cases import rows_of, table, visible_text, write_run

pytestmark = pytest.mark.usefixtures("sketched")


def timed_run(root, method, seed, ms, *, device="CPU A", threads=1, peak=100, **changes):
    folder = write_run(root, method, seed, right=50 + seed, attention=False, **changes)
    cost = Cost(
        method=method,
        seed=seed,
        device=device,
        threads=threads,
        processes=1,
        steps=95,
        step_ms=ms,
        definition="median",
        peak_bytes=None if peak is None else peak * 2**20,
        memory="resident",
    )
    write_cost(folder, cost)
    return folder


def test_medians_divided_by_the_baseline_s_of_the_same_machine(drawn, tmp_path):
    """CPU A: 200 and 500, 2.5 x; the card: 10 and 16, 1.6 x; seed 3 of CSG on two threads has no baseline there."""
    for seed, (base, ours) in enumerate([(190, 500), (200, 900), (300, 450)]):
        timed_run(tmp_path / "runs", "baseline", seed, base)
        timed_run(tmp_path / "runs", "csg", seed, ours, peak=150)
    timed_run(tmp_path / "runs", "csg", 3, 100, threads=2, peak=None)
    timed_run(tmp_path / "runs", "baseline", 4, 10, device="Card")
    timed_run(tmp_path / "runs", "csg", 4, 16, device="Card")
    timed_run(tmp_path / "runs", "asg", 4, 13, device="Card")
    out = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    found = {(row["row"], row["machine"]): row for row in table(out, "cost")}
    assert list(found)[:2] == [("baseline", "CPU A, 1 thread"), ("csg", "CPU A, 1 thread")]
    assert found["csg", "CPU A, 1 thread"]["step_ms"] == 500
    factors = {key: row["step_to_baseline"] for key, row in found.items()}
    assert factors.pop(("csg", "CPU A, 2 threads")) is None
    assert factors == {
        ("baseline", "CPU A, 1 thread"): 1,
        ("csg", "CPU A, 1 thread"): 2.5,
        ("baseline", "Card, 1 thread"): 1,
        ("csg", "Card, 1 thread"): 1.6,
        ("asg", "Card, 1 thread"): 1.3,
    }
    assert found["csg", "CPU A, 1 thread"]["peak_bytes"] == 150 * 2**20
    assert found["csg", "CPU A, 2 threads"]["peak_bytes"] is None
    page = (out / "index.html").read_text()
    assert "runs of different machines are not compared" in visible_text(page)
    methods = visible_text(page[page.index('id="table-methods"') :].split("</table>")[0])
    assert " 2.50 " in methods, "of the machine of most runs"
    assert " 1.30 " not in methods
    assert (out / "figures/cost.png").stat().st_size > 1000
    assert verify_report(out, [tmp_path / "runs"]).faults == []
    timed_run(tmp_path / "runs", "csg", 0, 800)  # of one machine: that of the others comes later in the table
    again = build_report([tmp_path / "runs"], tmp_path / "again", allow_mixed=False).parent
    changed = {(one.row, one.field, one.after) for one in compare_reports(out, again).numbers if one.table == "cost"}
    assert ("CPU A, 1 thread csg", "step_ms", 800) in changed
    assert {row for row, *_ in changed} == {"CPU A, 1 thread csg"}


def test_runs_without_a_cost_have_no_word_of_it(tmp_path):
    for method in ("baseline", "csg"):
        write_run(tmp_path / "runs", method, attention=False)
    out = build_report([tmp_path / "runs"], tmp_path / "out", allow_mixed=False).parent
    assert not (out / "tables/cost.json").exists()
    assert "Step" not in (out / "tables/methods.tex").read_text()
    timed_run(tmp_path / "runs", "csg", 0, 20)
    build_report([tmp_path / "runs"], out, allow_mixed=False)
    assert [row["step_to_baseline"] for row in table(out, "cost")] == [None], "no baseline was timed"
    assert not (out / "figures/cost.png").exists()


def test_a_cost_of_another_run_or_a_damaged_one_is_refused(tmp_path):
    folder = timed_run(tmp_path, "csg", 0, 20)
    path = folder / "cost.json"
    for text in (json.dumps(json.loads(path.read_text()) | {"seed": 1}), "{", json.dumps({"step_ms": 1})):
        path.write_text(text)
        with pytest.raises(UserError, match=r"cost\.json: .*remove it"):
            load_runs([tmp_path])


def test_the_cells_and_the_chart_of_a_machine_by_hand(tmp_path):
    """Scores 50, 51, 52: 51 +- 4.302653 / sqrt 3."""
    for seed, (ours, peak) in enumerate([(500, 150), (900, 250), (450, 160)]):
        timed_run(tmp_path, "baseline", seed, 200)
        timed_run(tmp_path, "csg", seed, ours, peak=peak)
    part = cost_part(rows_of(tmp_path))
    (own,) = part.tables
    assert [cell.text for cell in own.rows[1][2:6]] == ["3", "500", "2.50", "160"]
    assert own.rows[1][3].note == "450 to 900"
    assert own.data[1]["steps"] == 3 * 95
    assert own.data[1]["peak_bytes"] == 160 * 2**20
    assert own.data[1]["mean_per_class_percent"] == pytest.approx(51)
    (axes,) = part.charts[0].draw().axes
    half = 4.302652729911275 / 3**0.5
    base, csg, one = sorted(axes.get_lines(), key=lambda line: line.get_ydata()[0], reverse=True)
    assert list(one.get_xdata()) == [1, 1]
    assert list(one.get_ydata()) == [0, 1], "from edge to edge"
    assert {float(line.get_xdata()[0]) for line in (base, csg)} == {1.0, 2.5}
    for line in (base, csg):
        assert sorted(line.get_ydata()) == pytest.approx([51 - half, 51 + half])
    points = sorted(tuple(map(float, point.get_offsets()[0])) for point in axes.collections)
    assert np.allclose(points, [(1, 51), (2.5, 51)])


def test_the_shortest_and_the_longest_run_are_said(tmp_path):
    for seed, steps in enumerate((60, 95, 40)):
        path = timed_run(tmp_path, "baseline", seed, 200) / "cost.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"steps": steps}))
    (own,) = cost_part(rows_of(tmp_path)).tables
    assert "(40 to 95 steps a run)" in own.notes[0]
