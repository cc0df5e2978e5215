"""Drawn surfaces of a scene's surroundings: floors, walls, cloth, lawns, houses and skies, each another with its seed.

All tile without a seam but the sky. No photograph is in them: the backgrounds of the target stay unseen.

Shape suffixes: H height, W width, 3 red, green, blue.
"""

import colorsys
from collections.abc import Callable

import numpy as np
from numpy.random import Generator

__all__ = ["SURFACES", "facade", "noise", "sky"]

_SIDE = 256
Colour = tuple[float, float, float]


def noise(rng: Generator, side: int = _SIDE, *, falloff: float = 1.0, stretch: float = 1.0) -> np.ndarray:
    """Periodic noise (side, side) of mean 0 and deviation 1, whose amplitude falls with frequency to ``falloff``.

    ``stretch`` draws it out along the rows, as grain in wood.
    """
    frequency = np.fft.fftfreq(side) * side
    radius = np.hypot(frequency[:, None], frequency[None, : side // 2 + 1] * stretch)
    radius[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((side, side))) / radius**falloff
    field: np.ndarray = np.fft.irfft2(spectrum, s=(side, side))
    field /= field.std()
    return field


def _colour(
    rng: Generator, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]
) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value)))


def _finished(pixels_HW3: np.ndarray) -> np.ndarray:
    levels_HW3: np.ndarray = np.rint(np.clip(pixels_HW3, 0.0, 1.0) * 255).astype(np.uint8)
    return levels_HW3


def _shaded(colour_3: np.ndarray, shade_HW: np.ndarray) -> np.ndarray:
    return colour_3 * (1.0 + shade_HW)[..., None]


def _grained(rng: Generator, strength: float, falloff: float, colour_3: np.ndarray) -> np.ndarray:
    return _finished(_shaded(colour_3, strength * noise(rng, falloff=falloff)))


def plaster(rng: Generator) -> np.ndarray:
    """A painted wall."""
    return _grained(rng, 0.02, 1.0, _colour(rng, (0, 1), (0.02, 0.4), (0.6, 0.95)))


def wallpaper(rng: Generator) -> np.ndarray:
    """Stripes or dots of a second shade."""
    paint_3 = _colour(rng, (0, 1), (0.05, 0.45), (0.55, 0.95))
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    period = _SIDE // int(rng.choice([4, 8, 16]))
    if rng.random() < 0.5:
        pattern_HW = columns % period < period * rng.uniform(0.2, 0.6)
    else:
        shifted = (columns + (rows // period % 2) * (period // 2)) % period - period / 2
        pattern_HW = np.hypot(shifted, rows % period - period / 2) < period * rng.uniform(0.15, 0.35)
    return _finished(_shaded(paint_3, rng.uniform(-0.25, 0.15) * pattern_HW + 0.015 * noise(rng)))


def wood(rng: Generator) -> np.ndarray:
    """Planks of one timber."""
    rows = int(rng.choice([2, 4, 5, 8]))
    timber_3 = _colour(rng, (0.04, 0.11), (0.25, 0.65), (0.35, 0.85))
    grain_HW = 0.09 * noise(rng, falloff=0.9, stretch=14.0)
    plank = np.arange(_SIDE) * rows // _SIDE
    shift = rng.integers(_SIDE, size=rows)[plank]
    columns = (np.arange(_SIDE)[None, :] + shift[:, None]) % _SIDE
    grain_HW = np.take_along_axis(grain_HW, columns, axis=1) + rng.normal(0, 0.06, rows)[plank][:, None]
    seam_HW = (np.arange(_SIDE) * rows % _SIDE < rows)[:, None] | (columns < 1)
    return _finished(_shaded(timber_3, grain_HW - 0.35 * seam_HW))


def tiles(rng: Generator) -> np.ndarray:
    """Square tiles, of one colour or chequered, with joints."""
    number = int(rng.choice([2, 4]))
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    side = _SIDE // number
    pair = [_colour(rng, (0, 1), (0.0, 0.35), (0.3, 0.95)) for _ in range(2)]
    second = pair[0] * rng.uniform(0.9, 1.0) if rng.random() < 0.6 else pair[1]
    chequered_HW = (rows // side + columns // side) % 2
    lot_HW = rng.normal(0, 0.03, (number, number))[rows // side, columns // side]
    pixels = np.where(chequered_HW[..., None] == 1, second, pair[0]) * (1 + lot_HW + 0.03 * noise(rng))[..., None]
    joint_HW = (rows % side < 3) | (columns % side < 3)
    return _finished(np.where(joint_HW[..., None], rng.uniform(0.4, 0.85), pixels))


def bricks(rng: Generator) -> np.ndarray:
    """Rows of bricks, each shifted by half of one."""
    high, wide = 16, 32
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    course = rows // high
    moved = (columns + course % 2 * (wide // 2)) % _SIDE
    lot_HW = rng.normal(0, 0.1, (_SIDE // high, _SIDE // wide))[course, moved // wide]
    brick_3 = _colour(rng, (0.0, 0.08), (0.3, 0.65), (0.4, 0.75))
    joint_HW = (rows % high < 2) | (moved % wide < 2)
    return _finished(np.where(joint_HW[..., None], rng.uniform(0.5, 0.8), _shaded(brick_3, lot_HW + 0.06 * noise(rng))))


def cloth(rng: Generator) -> np.ndarray:
    """Woven, of one colour or with checks."""
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    thread_HW = 0.05 * (np.sin(rows * np.pi / 2) + np.sin(columns * np.pi / 2))
    paint_3 = _colour(rng, (0, 1), (0.1, 0.8), (0.35, 0.95))
    if rng.random() < 0.5:
        period = _SIDE // int(rng.choice([4, 8]))
        thread_HW = thread_HW - 0.18 * ((rows % period < period / 2) * 1.0 + (columns % period < period / 2))
    return _finished(_shaded(paint_3, thread_HW + 0.02 * noise(rng)))


def carpet(rng: Generator) -> np.ndarray:
    """Short pile."""
    return _grained(rng, 0.09, 0.3, _colour(rng, (0, 1), (0.05, 0.6), (0.25, 0.75)))


def stone(rng: Generator) -> np.ndarray:
    """Marble or a worktop: soft veins."""
    stone_3 = _colour(rng, (0, 1), (0.0, 0.2), (0.25, 0.95))
    veins_HW = np.exp(-np.abs(noise(rng, falloff=1.6)) * 6)
    return _finished(_shaded(stone_3, 0.05 * noise(rng) + rng.uniform(-0.3, 0.15) * veins_HW))


def grass(rng: Generator) -> np.ndarray:
    """A lawn."""
    blades_HW = 0.2 * noise(rng, falloff=0.35) + 0.1 * noise(rng, falloff=1.2)
    dry_HW1 = np.clip(0.3 * noise(rng, falloff=1.3), 0, 0.7)[..., None]
    green_3, straw_3 = _colour(rng, (0.2, 0.32), (0.4, 0.7), (0.3, 0.55)), np.array([0.55, 0.5, 0.3])
    return _finished(((1 - dry_HW1) * green_3 + dry_HW1 * straw_3) * (1 + blades_HW)[..., None])


def asphalt(rng: Generator) -> np.ndarray:
    """A road."""
    return _grained(rng, 0.09, 0.4, _colour(rng, (0.55, 0.7), (0.0, 0.08), (0.25, 0.45)))


def paving(rng: Generator) -> np.ndarray:
    """Slabs of a pavement."""
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    side = _SIDE // 4
    lot_HW = rng.normal(0, 0.05, (4, 4))[rows // side, columns // side]
    slab_3 = _colour(rng, (0.05, 0.15), (0.0, 0.15), (0.5, 0.75))
    joint_HW = (rows % side < 3) | (columns % side < 3)
    return _finished(_shaded(slab_3, lot_HW + 0.07 * noise(rng, falloff=0.5) - 0.3 * joint_HW))


def gravel(rng: Generator) -> np.ndarray:
    """Earth or gravel."""
    return _grained(rng, 0.16, 0.5, _colour(rng, (0.05, 0.12), (0.15, 0.45), (0.35, 0.65)))


def facade(rng: Generator) -> np.ndarray:
    """A storey of a house, 3 m by 3 m: a wall with a window."""
    wall = bricks(rng) if rng.random() < 0.4 else plaster(rng)
    wall = wall.copy()
    left, right = (int(_SIDE * rng.uniform(*span)) for span in ((0.2, 0.32), (0.68, 0.8)))
    top, bottom = (int(_SIDE * rng.uniform(*span)) for span in ((0.18, 0.28), (0.62, 0.78)))
    wall[top - 8 : bottom + 8, left - 8 : right + 8] = int(rng.uniform(120, 250))
    glass_HW = np.linspace(rng.uniform(0.3, 0.8), rng.uniform(0.1, 0.4), bottom - top)[:, None]
    wall[top:bottom, left:right] = _finished(glass_HW[..., None] * np.array([0.8, 0.9, 1.0]))
    wall[top:bottom, (left + right) // 2 - 3 : (left + right) // 2 + 3] = 230
    wall[(top + bottom) // 2 - 3 : (top + bottom) // 2 + 3, left:right] = 230
    return wall


def sky(rng: Generator, *, overcast: bool) -> np.ndarray:
    """All around, ``(256, 512, 3)``: its lowest row is straight below, its middle the horizon with hills and woods."""
    high, wide = 256, 512
    up_H = np.linspace(1.0, -1.0, high)[:, None, None]
    zenith_3, horizon_3 = _colour(rng, (0.55, 0.62), (0.4, 0.75), (0.55, 0.9)), np.array([0.85, 0.9, 0.95])
    if overcast:
        zenith_3, horizon_3 = np.full(3, rng.uniform(0.6, 0.85)), np.full(3, rng.uniform(0.75, 0.9))
    blend = np.clip(up_H, 0, 1) ** 0.6
    pixels = np.broadcast_to(horizon_3 * (1 - blend) + zenith_3 * blend, (high, wide, 3)).copy()
    field_HW = np.repeat(noise(rng, high, falloff=1.7, stretch=0.5), 2, axis=1)
    cloud_HW1 = np.clip(field_HW - rng.uniform(-0.3, 1.0), 0, 1)[..., None] * np.clip(up_H * 6, 0, 1)
    pixels += 0.8 * cloud_HW1 * (np.array([0.94, 0.94, 0.95]) - pixels)
    for layer in range(2):
        ridge_W = high // 2 - rng.uniform(2, 13) + 3.5 * np.repeat(noise(rng, high, falloff=1.4)[layer], 2)
        below_HW = np.arange(high)[:, None] > ridge_W[None, :]
        wood_3 = _colour(rng, (0.25, 0.5), (0.15, 0.45), (0.3, 0.5)) * (1 - 0.3 * layer)
        leaves_HW = np.concatenate([noise(rng, high, falloff=0.6) for _ in range(2)], axis=1)
        pixels = np.where(below_HW[..., None], _shaded(wood_3, 0.12 * leaves_HW), pixels)
    return _finished(pixels)


SURFACES: dict[str, Callable[[Generator], np.ndarray]] = {
    surface.__name__: surface
    for surface in (plaster, wallpaper, wood, tiles, bricks, cloth, carpet, stone, grass, asphalt, paving, gravel)
}
"""Name to a function that draws ``(256, 256, 3)`` uint8."""
