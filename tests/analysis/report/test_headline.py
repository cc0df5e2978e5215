"""The chart beside the summary: means, intervals and single runs by hand, and what its title says of them."""

import pytest

from csg_analysis.report.headline import headline
from tests.analysis.report.cases import rows_of, write_run

HALF = 4.302652729911275 / 3**0.5
"""Of the t-interval of three runs with a deviation of 1."""


def drawn(axes):
    """By place on the page the ends of the bar, its width, the mean and the dots; without dashed lines."""
    found = {}
    for line in axes.get_lines():
        x, y = list(line.get_xdata()), list(line.get_ydata())
        if not line.is_dashed():
            own = found.setdefault(float(y[0]), {})
            own |= {"ends": x, "width": line.get_linewidth()} if len(x) == 2 else {"mean": x[0]}
    for dots in axes.collections:
        own = dots.get_offsets()
        found[round(float(own[0, 1]) - 0.26, 6)]["dots"] = own[:, 0].tolist()
    return [found[place] for place in sorted(found)]


def dashed(axes):
    return [(line.get_xdata()[0], list(line.get_ydata())) for line in axes.get_lines() if line.is_dashed()]


def test_three_runs_have_the_interval_of_their_mean_and_one_its_own(tmp_path):
    """Scores 50, 51, 52; E_0 -0.36, -0.359, -0.358. Of the single run 60 +- 5 and -0.4 +- 0.01."""
    for seed in range(3):
        write_run(tmp_path, "oracle", seed, right=50 + seed, attention=False)
    write_run(tmp_path, "csg", right=60, attention=False)
    chart = headline(rows_of(tmp_path))
    scores, energies = chart.draw().axes
    three, one = drawn(scores)
    assert three["ends"] == pytest.approx([51 - HALF, 51 + HALF])
    assert (three["mean"], three["dots"]) == (pytest.approx(51), pytest.approx([50, 51, 52]))
    assert one == {"ends": pytest.approx([55, 65]), "width": 1, "mean": pytest.approx(60)}
    three, one = drawn(energies)
    assert three["ends"] == pytest.approx([-0.359 - 0.001 * HALF, -0.359 + 0.001 * HALF])
    assert one == {"ends": pytest.approx([-0.41, -0.39]), "width": 1, "mean": pytest.approx(-0.4)}
    for part in (
        "the marker the mean",
        "a thick bar its 95% t-interval",
        "of a single run",
        "dashed: E₀ of the frozen",
    ):
        assert part in chart.title, part


def test_two_runs_have_no_bar_and_the_one_of_them_with_an_energy_its_own(tmp_path):
    write_run(tmp_path, "csg", 0, right=60, attention=False)
    (write_run(tmp_path, "csg", 1, right=62, attention=False) / "energy-target.json").unlink()
    chart = headline(rows_of(tmp_path))
    scores, energies = chart.draw().axes
    assert drawn(scores) == [{"mean": pytest.approx(61), "dots": pytest.approx([60, 62])}]
    assert drawn(energies) == [{"ends": pytest.approx([-0.41, -0.39]), "width": 1, "mean": pytest.approx(-0.4)}]
    assert "t-interval" not in chart.title
    assert "dashed" not in chart.title


def test_each_group_has_the_dashed_line_of_its_own_frozen_network(tmp_path):
    for backbone, energy in (("resnet18", -0.3), ("resnet50", -0.5)):
        write_run(tmp_path / backbone, "oracle", energy=energy, backbone=backbone, attention=False)
        write_run(tmp_path / backbone, "csg", backbone=backbone, attention=False)
    scores, energies = headline(rows_of(tmp_path, allow_mixed=True)).draw().axes
    assert dashed(energies) == [(-0.3, [-0.5, 1.5]), (-0.5, [1.5, 3.5])]
    assert dashed(scores) == []


def test_nothing_measured_has_no_chart(tmp_path):
    folder = write_run(tmp_path, "csg")
    for name in ("energy", "accuracy"):
        (folder / f"{name}-target.json").unlink()
    assert headline(rows_of(tmp_path)) is None


def test_a_long_name_leaves_room_for_both_panels(tmp_path):
    """It took two thirds of the chart, and the titles of the panels lay on each other."""
    for seed in range(3):
        write_run(tmp_path, "baseline", seed, right=50 + seed, attention=False)
        for fields in ({"first": "styled", "over_styles": "sum"}, {"first": "plain", "over_styles": "mean"}):
            own = tmp_path / fields["first"]
            write_run(own, "domain-randomization", seed, right=55, attention=False, method_config=fields)
    figure = headline(rows_of(tmp_path)).draw()
    figure.draw_without_rendering()
    titles = [axes.xaxis.label.get_window_extent() for axes in figure.axes]
    assert titles[0].x1 < titles[1].x0
