"""Features on a circle: the projection, the density, and a figure that is the same each time."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import vonmises
from sklearn.decomposition import PCA

from csg_analysis.drawing.svg import plain, to_png, to_svg
from csg_analysis.sphere.circle import CONCENTRATION, on_circle, von_mises_density
from csg_analysis.sphere.figure import Panel, draw
from csg_train.errors import UserError
from csg_train.runs.checkpoint import load_checkpoint, save_checkpoint
from csg_train.runs.records import read_record
from tests.analysis.conftest import analyze, refused


def models(count=2, n=40, d=6):
    generator = np.random.default_rng(0)
    return [generator.standard_normal((n, d)) * np.array([3, 2, 1, 0.5, 0.5, 0.5])[:d] + 1 for _ in range(count)]


def test_density_is_scipys_mean_of_kernels_and_integrates_to_one():
    angles = np.random.default_rng(1).uniform(-np.pi, np.pi, 17)
    grid = np.linspace(-np.pi, np.pi, 50)
    expected = vonmises.pdf(grid[:, None], CONCENTRATION, loc=angles).mean(1)
    np.testing.assert_allclose(von_mises_density(angles, grid), expected, rtol=1e-10)
    area = quad(lambda x: von_mises_density(angles, np.array([x]))[0], -np.pi, np.pi, limit=400)[0]
    assert area == pytest.approx(1, rel=1e-8)


def test_density_turns_with_the_angles_and_has_no_seam():
    grid = np.linspace(-np.pi, np.pi, 73)
    angles = np.array([3.1, -3.1, 0.2])
    np.testing.assert_allclose(von_mises_density(angles + 1, grid + 1), von_mises_density(angles, grid), rtol=1e-10)
    ends = von_mises_density(angles, grid)[[0, -1]]
    assert ends[0] == pytest.approx(ends[1], rel=1e-10)
    even = np.linspace(-np.pi, np.pi, 100, endpoint=False)
    np.testing.assert_allclose(von_mises_density(even, grid), 1 / (2 * np.pi), rtol=1e-6)


def test_angles_are_those_of_sklearns_pca_of_all_models_together():
    features = models(3)
    rows = np.concatenate(features)
    pca = PCA(6).fit(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    circle = on_circle(features)
    assert circle.share == pytest.approx(pca.explained_variance_ratio_[:2].sum(), rel=1e-12)
    for angles, own in zip(circle.angles, features, strict=True):
        x, y = pca.transform(own / np.linalg.norm(own, axis=1, keepdims=True))[:, :2].T
        own_signs = [np.sign(row[np.abs(row).argmax()]) for row in pca.components_[:2]]
        np.testing.assert_allclose(angles, np.arctan2(y * own_signs[1], x * own_signs[0]), atol=1e-10)


def test_points_on_a_plane_circle_keep_their_angles():
    """Four points of the first model and their mirror images: the mean is 0, the plane is the coordinates' own."""
    true = np.array([0.3, math.pi - 0.3, 0.3 - math.pi, -0.3])
    rows = np.stack([np.cos(true), np.sin(true), np.zeros(4)], axis=1)
    circle = on_circle([rows, 7 * rows])
    assert circle.share == pytest.approx(1)
    for angles in circle.angles:
        np.testing.assert_allclose(np.abs(angles), np.abs(true), atol=1e-12)


def test_the_order_of_pictures_and_their_length_do_not_matter():
    features = models()
    circle = on_circle(features)
    order = np.random.default_rng(2).permutation(40)
    changed = on_circle([features[0][order] * 3, features[1]])
    np.testing.assert_allclose(changed.angles[0], circle.angles[0][order], atol=1e-9)


def test_what_no_circle_shows_is_refused():
    with pytest.raises(UserError, match="5, 6 numbers"):
        on_circle([np.ones((3, 5)), np.ones((3, 6))])
    with pytest.raises(UserError, match="collapsed"):
        on_circle([np.ones((3, 5)), 2 * np.ones((3, 5))])


def panels(count):
    """And the circle of their features."""
    own = [Panel(title=f"m{i}", labels=np.arange(40) % 3, energy=-0.25, colour="#3a86d4") for i in range(count)]
    return own, on_circle(models(count))


def test_figure_has_one_scale_and_names_projection_kernel_and_convention():
    figure = draw(*panels(5), ["a", "b", "c"], "40 pictures")
    limits = {(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}
    assert len(figure.axes) == 5
    assert len(limits) == 1
    sizes = {tuple(np.round(axes.get_position().size, 9)) for axes in figure.axes}
    assert len(sizes) == 1
    assert figure.axes[0].get_title() == "m0\nE₀ = −0.250 (mhe)"  # noqa: RUF001
    note = " ".join(" ".join(text.get_text() for text in figure.texts).split())
    for part in ("40 pictures", "PCA to 2-D", "von Mises", "concentration 40", "one scale", "mhe convention"):
        assert part in note
    for circle, axes in zip(on_circle(models(5)).angles, figure.axes, strict=True):
        drawn = np.concatenate([line.get_xydata() for line in axes.lines if line.get_marker() == "o"])
        assert len(drawn) == 40
        np.testing.assert_allclose(np.sort(np.arctan2(drawn[:, 1], drawn[:, 0])), np.sort(circle), atol=1e-9)


def test_long_names_of_classes_stay_in_the_figure():
    """As ImageNet's: beside them short ones were pushed out of the picture."""
    shark = "great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias"
    with plain():
        figure = draw(*panels(1), [f"{shark} {number}" for number in range(7)], "40 pictures")
        figure.draw_without_rendering()
    box, names = figure.legends[0].get_window_extent(), [text.get_text() for text in figure.legends[0].get_texts()]
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert 0 <= box.y0 < box.y1 <= figure.axes[0].get_window_extent().y0
    assert names[0] == "great white sh…charias 0"
    assert len(set(names)) == 7


def test_the_highest_density_is_drawn_to_scale():
    """Heights above the circle are proportional to the density, with one factor for all panels."""
    figure = draw(*panels(2), ["a", "b", "c"], "")
    grid = np.linspace(-np.pi, np.pi, 721)
    factors = []
    for angles, axes in zip(on_circle(models(2)).angles, figure.axes, strict=True):
        height = np.linalg.norm(axes.lines[0].get_xydata(), axis=1) - 1
        factors.append(height / von_mises_density(angles, grid))
    np.testing.assert_allclose(factors, np.full_like(factors, factors[0][0]), rtol=1e-6)


def test_bytes_are_the_same_each_time():
    assert to_png(lambda: draw(*panels(2), ["a", "b", "c"], "x")) == to_png(
        lambda: draw(*panels(2), ["a", "b", "c"], "x")
    )
    first, second = (to_svg(lambda: draw(*panels(2), ["a", "b", "c"], "x"), "sphere", "y") for _ in range(2))
    assert first == second


def test_command(trained, tmp_path):
    for name in ("a.png", "b.png", "c.svg"):
        result = analyze("sphere", *trained, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    text = (tmp_path / "c.svg").read_text()
    energies = [json.loads(analyze("energy", path, "--split", "target", "--json").stdout)[0]["mhe"] for path in trained]
    for seed, energy in enumerate(energies):
        assert f"baseline s{seed}" in text
        assert f"{abs(energy['0']):.3f} (mhe)" in text
    refused(analyze("sphere", trained[0], "--out", tmp_path / "a.jpg"), "a.jpg", ".png")
    refused(analyze("sphere", trained[0], "--layer", "layer9", "--out", tmp_path / "d.png"), "layer9")
    assert not (tmp_path / "d.png").exists()


def test_each_record_says_how_its_own_checkpoint_was_shown_the_pictures(trained, tmp_path):
    """All said what was so of the last."""
    paths = [tmp_path / name / "ckpt.pt" for name in ("a", "b")]
    for path, own, size in zip(paths, trained, (32, 40), strict=False):
        path.parent.mkdir()
        old = load_checkpoint(own)
        recipe = old.recipe | {"data": old.recipe["data"] | {"size": size}}
        save_checkpoint(path, dataclasses.replace(old, recipe=recipe))
    result = analyze("sphere", *paths, "--out", tmp_path / "s.png")
    assert result.exit_code == 0, result.output
    assert [read_record(path.with_name("sphere-target.json")).data.size for path in paths] == [32, 40]
