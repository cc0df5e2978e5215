"""Features of several models on one circle, with a density over the angle (the idea of the paper's Figure 2).

Shape suffixes: N rows, D features, G angles of a grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ive

from csg_analysis.similarity.metrics.rows import unit
from csg_train.errors import UserError

__all__ = ["CONCENTRATION", "Circle", "on_circle", "von_mises_density"]

CONCENTRATION = 40.0
"""Of the kernel: a standard deviation of about 1 / sqrt(40) rad = 9 degrees."""


@dataclass(frozen=True)
class Circle:
    """Models on one circle.

    Attributes:
        angles: For each model ``(N,)`` radians in (-pi, pi].
        share: Of the variance of all unit vectors, how much lies in the plane, 0 to 1.
    """

    angles: tuple[np.ndarray, ...]
    share: float


def on_circle(features: Sequence[np.ndarray]) -> Circle:
    """Project the features of several models on one circle.

    The unit vectors of all models together give a mean and two principal components; each unit vector, less that mean,
    is projected on the two and then to length 1. A component's sign is that which makes its largest entry positive.

    Args:
        features: For each model ``(N, D)``, of one D, in a space that the models share (one backbone, one start).

    Raises:
        UserError: Different D, D < 2, a zero or non-finite row, or fewer than two directions.
    """
    widths = sorted({rows_ND.shape[1] for rows_ND in features})
    if len(widths) != 1 or widths[0] < 2:
        raise UserError(f"features of {', '.join(map(str, widths))} numbers; one circle needs one backbone and layer")
    mean_D, second_DD, count = np.zeros(widths[0]), np.zeros((widths[0], widths[0])), 0
    for rows_ND in features:
        unit_ND = unit(rows_ND)
        mean_D += unit_ND.sum(0)
        second_DD += unit_ND.T @ unit_ND
        count += len(unit_ND)
    mean_D /= count
    values_D, vectors_DD = np.linalg.eigh(second_DD / count - np.outer(mean_D, mean_D))
    if values_D[-1] < 1e-14:
        raise UserError("all features have one direction: they collapsed to one point, and no circle shows them")
    plane_D2 = vectors_DD[:, [-1, -2]]
    plane_D2 = plane_D2 * np.sign(plane_D2[np.abs(plane_D2).argmax(0), [0, 1]])
    flat = [(unit(rows_ND) - mean_D) @ plane_D2 for rows_ND in features]
    return Circle(
        tuple(np.arctan2(x_N2[:, 1], x_N2[:, 0]) for x_N2 in flat), float(values_D[-2:].sum() / values_D.sum())
    )


def von_mises_density(angles_N: np.ndarray, grid_G: np.ndarray) -> np.ndarray:
    """Kernel density on the circle: the mean of ``exp(k cos(x - angle)) / (2 pi I_0(k))``, k being `CONCENTRATION`.

    Args:
        angles_N: Radians.
        grid_G: Radians, where the density is wanted.

    Returns:
        ``(G,)`` >= 0, a density per radian: its integral over the circle is 1.
    """
    kernel_GN = np.exp(CONCENTRATION * (np.cos(grid_G[:, None] - angles_N) - 1))
    density_G: np.ndarray = kernel_GN.mean(1) / (2 * np.pi * ive(0, CONCENTRATION))
    return density_G
