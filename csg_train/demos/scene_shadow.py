"""Shadows from two pictures of depth: what the lamp does not see lies in shadow (shadow mapping, Williams 1978).

Half-shadows come of several looks at the lamp's picture about each point (percentage-closer filtering, Reeves 1987).
VTK's own shadow pass takes 1 s a frame on the software renderer and leaves transparent parts out.

Shape suffixes: H height, W width, 3 and 4 coordinates.
"""

import numpy as np

__all__ = ["places", "shadow"]

_LOOKS = 12
_GOLDEN = np.pi * (3 - np.sqrt(5))


def places(depth_HW: np.ndarray, to_view_44: np.ndarray) -> np.ndarray:
    """Where each pixel's middle lies in the world, ``(H, W, 3)``.

    Args:
        depth_HW: Of the depth buffer, 0 (near) to 1 (far), the first row on top.
        to_view_44: From the world to normalised device coordinates, -1 to 1.
    """
    high, wide = depth_HW.shape
    y_H, x_W = 1 - (2 * np.arange(high) + 1) / high, (2 * np.arange(wide) + 1) / wide - 1
    seen_HW4 = np.empty((high, wide, 4))
    seen_HW4[..., 0], seen_HW4[..., 1] = x_W[None, :], y_H[:, None]
    seen_HW4[..., 2], seen_HW4[..., 3] = 2 * depth_HW - 1, 1.0
    world_HW4 = seen_HW4 @ np.linalg.inv(to_view_44).T
    return world_HW4[..., :3] / world_HW4[..., 3:]


def shadow(
    places_HW3: np.ndarray, depth_HW: np.ndarray, to_lamp_44: np.ndarray, *, bias: float, blur: float
) -> np.ndarray:
    """The part of the lamp, 0 to 1, that each point does not see, ``(H, W)``; 0 outside the lamp's picture.

    Args:
        places_HW3: Points of the world.
        depth_HW: The lamp's depth buffer, square, the first row on top.
        to_lamp_44: From the world to the lamp's normalised device coordinates, without perspective.
        bias: Depth, of the lamp's 0 to 1, by which a point may lie behind what the lamp sees.
        blur: Radius of the looks about a point, of the lamp's picture 0 to 1.
    """
    side = depth_HW.shape[0]
    seen = places_HW3.astype(np.float32) @ to_lamp_44[:3, :3].T.astype(np.float32) + to_lamp_44[:3, 3].astype(
        np.float32
    )
    x, y, depth = (seen[..., 0] + 1) / 2 * side, (1 - seen[..., 1]) / 2 * side, (seen[..., 2] + 1) / 2 - bias
    inside = (x >= 0) & (x < side) & (y >= 0) & (y < side) & (depth < 1)
    hidden = np.zeros(inside.sum(), dtype=np.float32)
    x, y, depth = x[inside], y[inside], depth[inside]
    for look in range(_LOOKS):
        radius, turn = blur * side * np.sqrt((look + 0.5) / _LOOKS), look * _GOLDEN
        column = np.clip(x + radius * np.cos(turn), 0, side - 1).astype(np.int32)
        row = np.clip(y + radius * np.sin(turn), 0, side - 1).astype(np.int32)
        hidden += depth_HW[row, column] < depth
    result_HW = np.zeros(places_HW3.shape[:2], dtype=np.float32)
    result_HW[inside] = hidden / _LOOKS
    return result_HW
