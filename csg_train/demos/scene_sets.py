"""The surroundings of a rendered scene as flat panels: floor, walls, table, fence, houses, sky. None has a class.

Lengths are metres, y points up; see `scene_plan` for where the camera is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from csg_train.demos.scene_surfaces import SURFACES, facade

__all__ = ["FAR", "Panel", "panels"]

FAR = 150.0
"""From the middle to the sky."""
Point = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """A parallelogram with a texture.

    Attributes:
        corner: One of its corners.
        right: From there to the next one, along the texture's rows.
        up: From there to the other, along its columns.
        texture: ``(H, W, 3)`` uint8.
        tile: Length in metres that the texture covers before it comes again.
        shades: Whether it throws a shadow.
    """

    corner: Point
    right: Point
    up: Point
    texture: np.ndarray
    tile: float
    shades: bool = False


def panels(setting: str, rng: Generator) -> Iterator[Panel]:
    """What surrounds the things of a scene, but the sky.

    Args:
        setting: Key of `csg_train.demos.scene_plan.SETTINGS`.
        rng: Drawn from.
    """
    yield from _SETS[setting](rng)


def _any(rng: Generator, *names: str) -> np.ndarray:
    return SURFACES[str(rng.choice(names))](rng)


def _ground(
    texture: np.ndarray, tile: float, *, x: tuple[float, float], z: tuple[float, float], y: float = 0.0
) -> Panel:
    return Panel(corner=(x[0], y, z[1]), right=(x[1] - x[0], 0, 0), up=(0, 0, z[0] - z[1]), texture=texture, tile=tile)


def _front(texture: np.ndarray, tile: float, *, x: tuple[float, float], y: tuple[float, float], z: float) -> Panel:
    """Faces the camera."""
    return Panel(corner=(x[0], y[0], z), right=(x[1] - x[0], 0, 0), up=(0, y[1] - y[0], 0), texture=texture, tile=tile)


def _side(texture: np.ndarray, tile: float, *, x: float, y: tuple[float, float], z: tuple[float, float]) -> Panel:
    return Panel(corner=(x, y[0], z[0]), right=(0, 0, z[1] - z[0]), up=(0, y[1] - y[0], 0), texture=texture, tile=tile)


def _box(
    texture: np.ndarray, tile: float, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float]
) -> Iterator[Panel]:
    """Five sides of it; it throws a shadow."""
    for panel in (
        _ground(texture, tile, x=x, z=z, y=y[1]),
        _front(texture, tile, x=x, y=y, z=z[1]),
        _front(texture, tile, x=x, y=y, z=z[0]),
        _side(texture, tile, x=x[0], y=y, z=z),
        _side(texture, tile, x=x[1], y=y, z=z),
    ):
        yield Panel(corner=panel.corner, right=panel.right, up=panel.up, texture=texture, tile=tile, shades=True)


def _painted(value: float, rng: Generator) -> np.ndarray:
    return np.full((4, 4, 3), np.clip(255 * value + rng.normal(0, 8, 3), 0, 255)).astype(np.uint8)


def _walls(rng: Generator, *, wide: float, back: float, near: float, floor: float, high: float) -> Iterator[Panel]:
    """Three walls with skirting boards, a ceiling, and on the back wall a window, a door or pictures."""
    wall, tile = _any(rng, "plaster", "plaster", "wallpaper", "wallpaper", "bricks", "tiles"), rng.uniform(0.8, 1.6)
    board = _painted(rng.uniform(0.3, 0.95), rng)
    top = floor + high
    yield _front(wall, tile, x=(-wide, wide), y=(floor, top), z=-back)
    yield _ground(_painted(0.93, rng), 1.0, x=(-wide, wide), z=(-back, near), y=top)
    yield _front(board, 1.0, x=(-wide, wide), y=(floor, floor + 0.1), z=-back + 0.012)
    for x in (-wide, wide):
        yield _side(wall, tile, x=x, y=(floor, top), z=(-back, near))
        yield _side(board, 1.0, x=x * 0.996, y=(floor, floor + 0.1), z=(-back, near))
    for x in np.arange(-wide + 0.9, wide - 0.8, 1.9):
        yield from _hung(rng, x + rng.uniform(-0.25, 0.25), floor, -back + 0.02)


def _hung(rng: Generator, x: float, floor: float, z: float) -> Iterator[Panel]:
    """A window, a door, a picture or nothing, in its frame."""
    kind = rng.choice(["window", "door", "picture", "picture", "nothing"])
    if kind == "nothing":
        return
    wide = {"window": rng.uniform(0.4, 0.7), "door": 0.42, "picture": rng.uniform(0.15, 0.4)}[kind]
    low = floor + {"window": 0.95, "door": 0.0, "picture": rng.uniform(1.1, 1.4)}[kind]
    high = {"window": rng.uniform(0.8, 1.2), "door": 2.0, "picture": rng.uniform(0.3, 0.8)}[kind]
    inside = {
        "window": np.linspace((150, 190, 235), (235, 240, 245), 32).astype(np.uint8)[:, None],
        "door": _any(rng, "wood", "plaster"),
        "picture": _any(rng, "stone", "grass", "cloth", "wallpaper", "tiles"),
    }[kind]
    frame = 0.06 if kind != "picture" else 0.03
    yield _front(
        _painted(rng.uniform(0.15, 0.95), rng),
        1.0,
        x=(x - wide - frame, x + wide + frame),
        y=(low - frame * (kind != "door"), low + high + frame),
        z=z,
    )
    yield _front(inside, max(2 * wide, high), x=(x - wide, x + wide), y=(low, low + high), z=z + 0.01)


def _table(rng: Generator) -> Iterator[Panel]:
    """Things stand on its top, y = 0; the room around it."""
    wide, deep = rng.uniform(0.75, 1.1), rng.uniform(0.5, 0.62)
    top = _any(rng, "wood", "wood", "wood", "cloth", "cloth", "stone", "plaster", "tiles")
    yield from _box(top, rng.uniform(0.5, 1.2), (-wide, wide), (-0.035, 0.0), (-deep, deep))
    for x in (-wide + 0.08, wide - 0.08):
        for z in (-deep + 0.08, deep - 0.08):
            yield from _box(top, 1.0, (x - 0.03, x + 0.03), (-0.74, -0.035), (z - 0.03, z + 0.03))
    back = deep + rng.choice([0.02, rng.uniform(0.3, 2.0)])
    room = wide + rng.uniform(0.4, 2.0)
    yield _ground(_any(rng, "wood", "tiles", "carpet", "stone"), 1.2, x=(-room, room), z=(-back, 3.0), y=-0.74)
    yield from _walls(rng, wide=room, back=back, near=3.0, floor=-0.74, high=2.6)


def _room(rng: Generator) -> Iterator[Panel]:
    wide, back = rng.uniform(2.3, 3.2), rng.uniform(2.0, 2.9)
    yield _ground(
        _any(rng, "wood", "wood", "tiles", "carpet", "stone"), rng.uniform(1.0, 2.0), x=(-wide, wide), z=(-back, 6.0)
    )
    if rng.random() < 0.5:
        x, z, half = rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.6), rng.uniform(0.6, 1.1)
        yield _ground(
            _any(rng, "cloth", "carpet", "wallpaper"),
            half,
            x=(x - half, x + half),
            z=(z - 0.7 * half, z + 0.7 * half),
            y=0.004,
        )
    yield from _walls(rng, wide=wide, back=back, near=6.0, floor=0.0, high=2.6)


def _garden(rng: Generator) -> Iterator[Panel]:
    """A lawn, or a terrace before it, with a fence, a wall, a house or nothing at its end."""
    yield _ground(_any(rng, "grass", "grass", "grass", "gravel"), rng.uniform(1.5, 3.0), x=(-FAR, FAR), z=(-FAR, FAR))
    if rng.random() < 0.5:
        edge = rng.uniform(-1.5, 1.0)
        yield _ground(_any(rng, "paving", "gravel", "wood"), 1.6, x=(-8.0, 8.0), z=(edge, 8.0), y=0.004)
    z = -rng.uniform(6.0, 10.0)
    kind = rng.choice(["fence", "wall", "house", "nothing"])
    if kind == "fence":
        yield from _box(
            _any(rng, "wood").transpose(1, 0, 2).copy(), 1.0, (-16, 16), (0, rng.uniform(0.9, 1.8)), (z - 0.1, z)
        )
    elif kind == "wall":
        yield from _box(_any(rng, "bricks", "plaster"), 1.2, (-16, 16), (0, rng.uniform(0.8, 2.2)), (z - 0.3, z))
    elif kind == "house":
        left = rng.uniform(-9.0, 0.0)
        yield from _box(facade(rng), 3.0, (left, left + 9.0), (0, 6.0), (z - 9.0, z))


def _street(rng: Generator) -> Iterator[Panel]:
    """A road along x between two pavements, with a row of houses, or green, behind."""
    yield _ground(_any(rng, "grass", "grass", "paving"), 2.0, x=(-FAR, FAR), z=(-FAR, FAR))
    back, front = -4.2, rng.uniform(2.5, 5.0)
    yield _ground(_any(rng, "asphalt"), 2.5, x=(-FAR, FAR), z=(back, front), y=0.004)
    walk, kerb = _any(rng, "paving", "paving", "gravel"), _painted(0.7, rng)
    for low, high in ((back - 2.2, back), (front, front + 2.5)):
        yield _ground(walk, 1.6, x=(-FAR, FAR), z=(low, high), y=0.008)
    for z in (back, front):
        yield _ground(kerb, 1.0, x=(-FAR, FAR), z=(z - 0.08, z + 0.08), y=0.012)
    dash, line = _painted(0.92, rng), (back + front) / 2
    for x in np.arange(-60.0, 60.0, 4.0):
        yield _ground(dash, 1.0, x=(x, x + 2.0), z=(line - 0.06, line + 0.06), y=0.012)
    x = -60.0
    while rng.random() < 0.97 and x < 60.0:
        wide = 3.0 * int(rng.integers(2, 6))
        if rng.random() < 0.75:
            z = back - rng.uniform(5.5, 9.0)
            yield from _box(facade(rng), 3.0, (x, x + wide), (0, 3.0 * int(rng.integers(2, 6))), (z - 10.0, z))
        x += wide + rng.choice([0.0, rng.uniform(1.0, 5.0)])


_SETS: dict[str, Callable[[Generator], Iterator[Panel]]] = {
    "table": _table,
    "room": _room,
    "garden": _garden,
    "street": _street,
}
