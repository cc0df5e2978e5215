"""Drawn surfaces tile, differ by seed and are the same twice; shadows of hand-made depths in closed form."""

import numpy as np
import pytest

from csg_train.demos.scene_plan import SETTINGS
from csg_train.demos.scene_sets import panels
from csg_train.demos.scene_shadow import places, shadow
from csg_train.demos.scene_surfaces import SURFACES, facade, noise, sky


@pytest.mark.parametrize("name", SURFACES)
def test_a_surface_is_its_seeds_alone(name: str) -> None:
    first, again, other = (SURFACES[name](np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.shape == (256, 256, 3)
    assert first.dtype == np.uint8
    assert (first == again).all()
    assert (first != other).any()
    assert first.std() > 0


def test_noise_is_periodic_of_mean_0_and_deviation_1() -> None:
    field_HW = noise(np.random.default_rng(0), 64, falloff=1.5)
    assert abs(field_HW.mean()) < 1e-9
    assert abs(field_HW.std() - 1) < 1e-9
    inside = np.abs(np.diff(field_HW, axis=0)).mean()
    assert np.abs(field_HW[0] - field_HW[-1]).mean() < 2 * inside, "no seam"


def test_sky_is_bright_above_and_green_or_brown_below() -> None:
    for overcast in (False, True):
        drawn = sky(np.random.default_rng(1), overcast=overcast).astype(int)
        assert drawn[:80].mean() > drawn[160:].mean() + 20
    assert facade(np.random.default_rng(1)).shape == (256, 256, 3)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_set_has_a_floor_and_nothing_above_it_where_things_stand(setting: str) -> None:
    for seed in range(5):
        floors = 0
        for panel in panels(setting, np.random.default_rng(seed)):
            corner, right, up = (np.array(value) for value in (panel.corner, panel.right, panel.up))
            heights = corner[1] + np.array([0, right[1], up[1], right[1] + up[1]])
            points = corner[[0, 2]] + np.array([(0, 0), right[[0, 2]], up[[0, 2]], right[[0, 2]] + up[[0, 2]]])
            low, high = points.min(axis=0), points.max(axis=0)
            if (low <= 0).all() and (high >= 0).all() and np.ptp(heights) == 0:
                floors += heights[0] == 0
                assert heights[0] <= 0.02 or heights[0] >= 1.8, "below the things, or a ceiling"
        assert floors == 1


def test_places_undo_a_projection() -> None:
    to_view_44 = np.array([[2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, -1.2, -2.2], [0, 0, -1.0, 0]])
    points = np.array([(0.25, 0.25, -3.0, 1.0)])
    seen = points @ to_view_44.T
    x, y, z = (seen[0, :3] / seen[0, 3]).tolist()
    side = 6  # the pixel whose middle is at (x, y)
    column, row = (x + 1) / 2 * side - 0.5, (1 - y) / 2 * side - 0.5
    assert abs(column - round(column)) < 1e-9
    assert abs(row - round(row)) < 1e-9
    depth_HW = np.full((side, side), (z + 1) / 2)
    assert np.allclose(places(depth_HW, to_view_44)[round(row), round(column)], points[0, :3])


def test_shadow_lies_under_what_the_lamp_sees_and_softens_over_its_blur() -> None:
    """The lamp looks down: a plate over x < 0 at depth 0.3, the ground at 0.8."""
    to_lamp_44 = np.array([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
    depth_HW = np.full((100, 100), 0.8)
    depth_HW[:, :50] = 0.3
    x_W = np.linspace(-0.99, 0.99, 100)
    ground = np.stack(np.broadcast_arrays(x_W[None, :], -0.6, 0.0), axis=-1)
    hard = shadow(ground, depth_HW, to_lamp_44, bias=0.01, blur=0.0)[0]
    assert (hard == (x_W < 0)).all()
    soft = shadow(ground, depth_HW, to_lamp_44, bias=0.01, blur=0.1)[0]
    assert (soft[x_W < -0.21] == 1).all()
    assert (soft[x_W > 0.21] == 0).all()
    assert 0.3 < soft[np.abs(x_W) < 0.02].mean() < 0.7
    plate = ground + np.array([0, 1.0, 0])
    assert (shadow(plate, depth_HW, to_lamp_44, bias=0.01, blur=0.0) == 0).all(), "not on itself"
    assert (shadow(ground * [5, 1, 1], depth_HW, to_lamp_44, bias=0.01, blur=0.0)[0][:30] == 0).all(), "outside"
