"""Where a camera stands and how light falls: numbers drawn from a generator, and the camera fitted to an object.

Shape suffixes: P points, 3 coordinates.
"""

import math
import random
from dataclasses import dataclass

import numpy as np

__all__ = ["ANGLE", "POSES", "Poses", "View", "axes", "draw_view", "fitted", "light_place"]

ANGLE = 25.0
"""Of the camera, in degrees."""
_FILL = 0.96  # of the picture's side, at most, is covered


@dataclass(frozen=True, kw_only=True, slots=True)
class Poses:
    """Ranges in degrees that `draw_view` draws from, evenly; the azimuth is always any.

    Attributes:
        elevation: Of the camera above the horizon; 90 looks down from the top.
        roll: Of the camera about its own axis.
        light: Intensity of the key light (no angle); the light at the camera is 0.4 to 0.8.
    """

    elevation: tuple[float, float] = (-10.0, 60.0)
    roll: tuple[float, float] = (-15.0, 15.0)
    light: tuple[float, float] = (0.5, 1.0)


POSES = Poses()


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One pose and its light.

    Attributes:
        azimuth: Of the camera about the upward axis, in degrees; 0 looks from +z.
        elevation: In degrees above the horizon.
        roll: In degrees about the camera's own axis.
        light_azimuth: Of the key light seen from the camera, in degrees; 0 comes from the camera.
        light_elevation: Of the key light above the camera's horizon, in degrees.
        key: Intensity of the key light.
        fill: Intensity of the light at the camera.
        warmth: From -1 (bluish light) to 1 (reddish).
    """

    azimuth: float
    elevation: float
    roll: float
    light_azimuth: float
    light_elevation: float
    key: float
    fill: float
    warmth: float


def draw_view(rng: random.Random, poses: Poses = POSES) -> View:
    """A view with varied pose and light."""
    return View(
        azimuth=round(rng.uniform(0.0, 360.0), 1),
        elevation=round(rng.uniform(*poses.elevation), 1),
        roll=round(rng.uniform(*poses.roll), 1),
        light_azimuth=round(rng.uniform(-80.0, 80.0), 1),
        light_elevation=round(rng.uniform(0.0, 80.0), 1),
        key=round(rng.uniform(*poses.light), 2),
        fill=round(rng.uniform(0.4, 0.8), 2),
        warmth=round(rng.uniform(-1.0, 1.0), 2),
    )


def axes(azimuth: float, elevation: float, roll: float) -> np.ndarray:
    """The camera's axes as rows of a rotation (3, 3): to its right, upward, and backward from the object to it."""
    a, e, r = (math.radians(angle) for angle in (azimuth, elevation, roll))
    right_3 = np.array([math.cos(a), 0.0, -math.sin(a)])
    back_3 = np.array([math.cos(e) * math.sin(a), math.sin(e), math.cos(e) * math.cos(a)])
    up_3 = np.cross(back_3, right_3)
    return np.stack(
        [math.cos(r) * right_3 + math.sin(r) * up_3, math.cos(r) * up_3 - math.sin(r) * right_3, back_3],
    )


def fitted(points_P3: np.ndarray, axes_33: np.ndarray) -> tuple[np.ndarray, float]:
    """The camera's place as (point it looks at, distance), as near as may be with every point inside the picture."""
    seen_P3 = points_P3 @ axes_33.T
    low_3, high_3 = seen_P3.min(axis=0), seen_P3.max(axis=0)
    centre_3 = (low_3 + high_3) / 2
    aside_P = np.abs(seen_P3[:, :2] - centre_3[:2]).max(axis=1)
    depth_P = seen_P3[:, 2] - centre_3[2]
    distance = (depth_P + aside_P / (_FILL * math.tan(math.radians(ANGLE / 2)))).max()
    return centre_3 @ axes_33, float(max(distance, depth_P.max() + 0.1 * np.ptp(seen_P3, axis=0).max()))


def light_place(view: View) -> tuple[float, float, float]:
    """Where the key light stands on the unit sphere, in the camera's axes."""
    a, e = math.radians(view.light_azimuth), math.radians(view.light_elevation)
    return math.cos(e) * math.sin(a), math.sin(e), math.cos(e) * math.cos(a)
