"""What stands where in a rendered scene, which camera sees it and which light falls on it: numbers from a generator.

Lengths are metres, y points up, the ground is y = 0 and the camera looks towards -z, give or take its azimuth. Four
settings have a size and things of their own, so that a mug never stands beside a lorry: a table, a room, a garden and a
street. Things stand on the ground, never within another.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["SETTINGS", "Camera", "Light", "Plan", "Setting", "Size", "Thing", "corners", "draw_plan", "overlap"]

Span = tuple[float, float]
Size = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Ranges that `draw_plan` draws from, evenly.

    Attributes:
        share: Of all scenes.
        number: Things in a scene, at most.
        across: Where their middles are, of x.
        along: Likewise of z.
        gap: Between two things, at least.
        distance: Of the camera from the middle of what it looks at, at least.
        height: Of the camera above the ground.
        azimuth: Of the camera, at most, either way in degrees.
        angle: That the camera sees, in degrees.
        tall: Height from which on a thing stands behind the others.
        aside: Classes that stand elsewhere, off the road, and where those are, of z.
        outdoors: Whether the sun shines: sharper shadows and stronger light.
    """

    share: float
    number: tuple[int, int]
    across: Span
    along: Span
    gap: float
    distance: float
    height: Span
    azimuth: float
    angle: Span
    tall: float = math.inf
    outdoors: bool = False
    aside: tuple[tuple[str, ...], Span] = ((), (0.0, 0.0))


SETTINGS = {
    "table": Setting(
        share=0.4,
        number=(5, 10),
        across=(-0.5, 0.5),
        along=(-0.28, 0.3),
        gap=0.01,
        distance=0.45,
        height=(0.18, 0.8),
        azimuth=40.0,
        angle=(35.0, 55.0),
        tall=0.34,
    ),
    "room": Setting(
        share=0.2,
        number=(5, 9),
        across=(-1.5, 1.5),
        along=(-1.5, 0.8),
        gap=0.08,
        distance=1.2,
        height=(0.5, 1.7),
        azimuth=28.0,
        angle=(42.0, 60.0),
        tall=1.3,
    ),
    "garden": Setting(
        share=0.2,
        number=(6, 10),
        across=(-2.4, 2.4),
        along=(-3.0, 1.2),
        gap=0.15,
        distance=1.6,
        height=(0.6, 2.0),
        azimuth=35.0,
        angle=(40.0, 60.0),
        tall=2.3,
        outdoors=True,
    ),
    "street": Setting(
        share=0.2,
        number=(6, 10),
        across=(-6.0, 6.0),
        along=(-3.4, 2.4),
        gap=0.4,
        distance=3.5,
        height=(1.2, 3.0),
        azimuth=40.0,
        angle=(40.0, 60.0),
        tall=4.5,
        outdoors=True,
        aside=(("plant", "household", "flower"), (-5.8, -4.6)),
    ),
}
_TRIES = 40
_THIN = 1e-4  # metres: a flat model, too, has sides


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """A model and where it stands: the middle of its footprint, and its turn about the upward axis in degrees."""

    model: str
    x: float
    z: float
    yaw: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """Where it is, which point it looks at, its roll and the angle that it sees (both in degrees)."""

    place: tuple[float, float, float]
    target: tuple[float, float, float]
    roll: float
    angle: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Light:
    """One far lamp, the sun or a window, and light from everywhere.

    Attributes:
        azimuth: Of the lamp, in degrees; 0 comes from +z, where the camera is.
        elevation: In degrees above the horizon.
        key: Intensity of the lamp.
        fill: Intensity of the light from everywhere.
        softness: Half the angle that the lamp fills, in degrees: the half-shadow's breadth.
        warmth: From -1 (bluish lamp) to 1 (reddish).
    """

    azimuth: float
    elevation: float
    key: float
    fill: float
    softness: float
    warmth: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One scene; ``surroundings`` seeds all that has no class: floor, walls, houses, sky."""

    setting: str
    things: tuple[Thing, ...]
    camera: Camera
    light: Light
    surroundings: int


def corners(thing: Thing, size: Size) -> np.ndarray:
    """The footprint's corners as (4, 2), in order, columns x and z; ``size`` is width (x), height and depth (z)."""
    half = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * np.maximum((size[0] / 2, size[2] / 2), _THIN)
    turn = math.radians(thing.yaw)
    x, z = half[:, 0], half[:, 1]
    return np.stack(
        [thing.x + x * math.cos(turn) + z * math.sin(turn), thing.z - x * math.sin(turn) + z * math.cos(turn)], axis=1
    )


def overlap(one_42: np.ndarray, other_42: np.ndarray, gap: float) -> bool:
    """Whether two rectangles are nearer than ``gap``: no side of either parts them by as much."""
    for box_42 in (one_42, other_42):
        for side_2 in (box_42[1] - box_42[0], box_42[2] - box_42[1]):
            axis_2 = side_2 / np.linalg.norm(side_2)
            one_4, another_4 = one_42 @ axis_2, other_42 @ axis_2
            if one_4.min() > another_4.max() + gap or another_4.min() > one_4.max() + gap:
                return False
    return True


def draw_plan(setting: str, sizes: Mapping[str, Sequence[tuple[str, Size]]], rng: random.Random) -> Plan:
    """Draw a scene of things, each class as likely as another.

    Args:
        setting: Key of `SETTINGS`.
        sizes: The models of each class that may stand here, with width, height and depth.
        rng: Drawn from.
    """
    ranges = SETTINGS[setting]
    things: list[Thing] = []
    boxes: list[np.ndarray] = []
    tops: list[float] = []
    left = {label: list(own) for label, own in sizes.items()}
    for _ in range(rng.randint(*ranges.number)):
        label = rng.choice([label for label, own in left.items() if own])
        model, size = left[label].pop(rng.randrange(len(left[label])))
        for _ in range(_TRIES):
            thing = _placed(model, label, size, ranges, rng)
            box_42 = corners(thing, size)
            if not any(overlap(box_42, other_42, ranges.gap) for other_42 in boxes):
                things.append(thing)
                boxes.append(box_42)
                tops.append(size[1])
                break
        if not any(left.values()):
            break
    camera = _camera(ranges, things, tops, boxes, rng)
    return Plan(
        setting=setting,
        things=tuple(things),
        camera=camera,
        light=_light(rng, outdoors=ranges.outdoors),
        surroundings=rng.getrandbits(32),
    )


def _placed(model: str, label: str, size: Size, ranges: Setting, rng: random.Random) -> Thing:
    """Anywhere and any way, but what is tall stands at the back, and what has wheels and is long along the street."""
    labels, aside = ranges.aside
    x, z = rng.uniform(*ranges.across), rng.uniform(*(aside if label in labels else ranges.along))
    yaw = rng.uniform(0.0, 360.0)
    if size[1] > ranges.tall:
        z = (aside if labels else ranges.along)[0] - rng.uniform(0.0, 0.3 * ranges.tall)
    if labels and label == "vehicle" and max(size[0], size[2]) > 2.5:
        yaw = rng.choice((90.0, 270.0)) + rng.gauss(0.0, 6.0) + 90.0 * (size[0] > size[2])
    return Thing(model=model, x=round(x, 4), z=round(z, 4), yaw=round(yaw % 360.0, 2))


def _camera(
    ranges: Setting, things: Sequence[Thing], tops: Sequence[float], boxes: Sequence[np.ndarray], rng: random.Random
) -> Camera:
    """Looks at one of the things from the front, so near that it fills a good part of the picture; stands in none."""
    at = rng.randrange(len(things))
    size = math.hypot(np.ptp(boxes[at], axis=0).max(), tops[at])
    angle = round(rng.uniform(*ranges.angle), 1)
    target = (things[at].x * 0.9, tops[at] * rng.uniform(0.25, 0.6), things[at].z)
    nearest = max(ranges.distance, size * rng.uniform(0.9, 1.9) / (2 * math.tan(math.radians(angle / 2))))
    for attempt in range(_TRIES):
        azimuth = math.radians(rng.uniform(-ranges.azimuth, ranges.azimuth))
        distance = nearest * (1 + attempt / _TRIES)
        height = rng.uniform(ranges.height[0], max(ranges.height[0], min(ranges.height[1], 0.7 * distance)))
        place = (target[0] + distance * math.sin(azimuth), height, target[2] + distance * math.cos(azimuth))
        stand_42 = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 1e-3 + np.array([place[0], place[2]])
        if not any(overlap(stand_42, box_42, 0.5 * ranges.distance) for box_42 in boxes):
            break
    return Camera(place=place, target=target, roll=round(rng.gauss(0.0, 1.5), 2), angle=angle)


def _light(rng: random.Random, *, outdoors: bool) -> Light:
    overcast = rng.random() < 0.3
    if outdoors:
        key, fill, softness = (0.25, 0.85, 12.0) if overcast else (rng.uniform(0.7, 1.0), rng.uniform(0.35, 0.55), 0.8)
    else:
        key, fill, softness = rng.uniform(0.35, 0.75), rng.uniform(0.45, 0.7), rng.uniform(3.0, 9.0)
    return Light(
        azimuth=round(rng.uniform(-150.0, 150.0), 1),
        elevation=round(rng.uniform(28.0, 70.0) if outdoors else rng.uniform(40.0, 78.0), 1),
        key=round(key * rng.uniform(0.9, 1.1), 2),
        fill=round(fill * rng.uniform(0.9, 1.1), 2),
        softness=round(softness, 2),
        warmth=round(rng.uniform(-1.0, 1.0), 2),
    )
