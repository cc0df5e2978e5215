"""What stands where: no thing within another, models dealt out fairly, and what a picture is refused for."""

import math
import random
from pathlib import Path

import numpy as np
import pytest

from csg_train.demos.scene_jobs import portions, well_composed
from csg_train.demos.scene_plan import SETTINGS, Thing, corners, draw_plan, overlap
from csg_train.demos.scene_stage import Model, voted

CAR, MUG, TREE = (1.9, 1.5, 4.2), (0.09, 0.1, 0.12), (4.0, 7.0, 4.0)


def thing(x: float, z: float, yaw: float = 0.0) -> Thing:
    return Thing(model="m", x=x, z=z, yaw=yaw)


def test_corners_are_turned_about_the_middle() -> None:
    assert np.allclose(corners(thing(1, 2), (2, 9, 4)), [(0, 0), (2, 0), (2, 4), (0, 4)])
    quarter = corners(thing(1, 2, 90), (2, 9, 4))
    assert np.allclose(np.ptp(quarter, axis=0), (4, 2))
    assert np.allclose(quarter.mean(axis=0), (1, 2))


@pytest.mark.parametrize(
    ("x", "yaw", "gap", "expected"),
    [(1.9, 0, 0, True), (2.1, 0, 0, False), (2.1, 0, 0.2, True), (2.3, 45, 0, True), (2.5, 45, 0, False)],
)
def test_overlap_of_two_squares_of_side_two(x: float, yaw: float, gap: float, expected: bool) -> None:
    """Turned by 45 degrees the second reaches sqrt(2) to the side: they touch at 1 + sqrt(2) = 2.414."""
    one, other = corners(thing(0, 0), (2, 1, 2)), corners(thing(x, 0, yaw), (2, 1, 2))
    assert overlap(one, other, gap) is overlap(other, one, gap) is expected


@pytest.mark.parametrize("setting", SETTINGS)
def test_things_stand_apart_and_the_camera_in_none_of_them(setting: str) -> None:
    for seed in range(30):
        sizes = {"vehicle": [(f"v{n}", CAR) for n in range(3)], "plant": [(f"p{n}", TREE) for n in range(2)]}
        if setting == "table":
            sizes = {"household": [(f"h{n}", MUG) for n in range(6)]}
        size_of = dict(own for pairs in sizes.values() for own in pairs)
        plan = draw_plan(setting, sizes, random.Random(seed))
        assert plan == draw_plan(setting, sizes, random.Random(seed))
        boxes = [corners(one, size_of[one.model]) for one in plan.things]
        for place, box in enumerate(boxes):
            assert not any(overlap(box, other, SETTINGS[setting].gap * 0.99) for other in boxes[:place])
        assert len({one.model for one in plan.things}) == len(plan.things) >= 1
        assert plan.camera.place[1] > 0
        assert math.dist(plan.camera.place, plan.camera.target) >= SETTINGS[setting].distance * 0.99


def test_every_model_has_its_turn_and_every_scene_its_number() -> None:
    models = {
        setting: [Model(name=f"{label}{n}", path=Path("x"), label=label, size=1.0) for label in "ab" for n in range(11)]
        for setting in SETTINGS
    }
    jobs = portions("synthetic", 97, models, folder=Path("f"), side=8, classes=("background", "a", "b"), size=10)
    numbers = [number for job in jobs for number in range(job.first, job.first + job.scenes)]
    assert numbers == list(range(97))
    for setting, ranges in SETTINGS.items():
        own = [job for job in jobs if job.setting == setting]
        assert abs(sum(job.scenes for job in own) - 97 * ranges.share) < 1
        assert max(job.scenes for job in own) <= 10
        assert {model.name for job in own for model in job.models} == {model.name for model in models[setting]}
    assert len({(job.label, job.name) for job in jobs}) == len(jobs)


def test_voted_takes_what_most_of_four_show_and_the_thing_where_as_many_show_each() -> None:
    drawn = np.array([[1, 1, 0, 0, 0, 2], [2, 1, 0, 3, 0, 2], [0, 5, 7, 7, 1, 2], [5, 0, 7, 7, 3, 4]])
    assert voted(drawn, 2).tolist() == [[1, 0, 2], [5, 7, 4]]


def test_well_composed_wants_three_things_and_none_alone_before_the_camera() -> None:
    things_HW = np.zeros((20, 20), dtype=np.uint8)
    assert not well_composed(things_HW)
    things_HW[:4, :4], things_HW[8:12, 8:12] = 1, 2
    assert not well_composed(things_HW), "two"
    things_HW[16:, 16:] = 3
    assert well_composed(things_HW)
    things_HW[4:16] = 4
    things_HW[2:4, 4:] = 4
    assert not well_composed(things_HW), "one covers more than three fifths"
