"""Spread of classes: how far the pictures of a class lie from its middle.

Shape suffixes: N rows, D features, C classes.
"""

import numpy as np

from csg_analysis.similarity.metrics.metric import Metric
from csg_analysis.similarity.metrics.rows import by_class, unit

__all__ = ["SPREAD", "class_spread", "mean_spread"]


def class_spread(features_ND: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """Mean squared distance of a class's unit vectors to its mean direction, for each class that occurs.

    The mean direction is the mean of the unit vectors, brought back to the sphere; a class whose mean is zero has
    none, and any direction gives 2.

    Args:
        features_ND: Rows, of any length but zero.
        labels_N: Their class numbers.

    Returns:
        ``(C,)`` float64, 0 (one point) to 2, in the order of the class numbers.

    Raises:
        UserError: A row is zero, NaN or infinite.
    """
    return np.array([_spread(own_ND) for own_ND in by_class(unit(features_ND), labels_N)])


def _spread(unit_ND: np.ndarray) -> float:
    mean_D = unit_ND.mean(0)
    length = float(np.linalg.norm(mean_D))
    if length < 1e-12:
        return 2.0
    return min(float(np.square(unit_ND - mean_D / length).sum(1).mean()), 2.0)


def mean_spread(features_ND: np.ndarray, labels_N: np.ndarray) -> float:
    """The unweighted mean of `class_spread` over the classes."""
    return float(class_spread(features_ND, labels_N).mean())


SPREAD = Metric(
    name="spread",
    function=mean_spread,
    takes=("features", "labels"),
    definition="mean of |u - m|^2 over the pictures of a class, m its mean direction, unit vectors; mean over classes",
    source="within-class part of directional statistics: 2 - 2 R for the mean resultant length R (Mardia & Jupp, 2000)",
    low=0.0,
    high=2.0,
    higher_is_better=None,
    invariant_to=frozenset({"rotation", "scale", "row scale", "permutation", "duplication"}),
)
