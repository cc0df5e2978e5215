"""Uniformity: how evenly features fill the sphere.

Shape suffixes: N rows, D features, B rows of a block.
"""

import math

import numpy as np

from csg_analysis.similarity.metrics.metric import Metric
from csg_analysis.similarity.metrics.rows import unit

__all__ = ["UNIFORMITY", "uniformity"]

_BLOCK = 512


def uniformity(features_ND: np.ndarray) -> float:
    """``ln mean exp(-2 |u - v|^2)`` over all pairs of distinct pictures (Wang & Isola, ICML 2020, t = 2).

    A picture is never paired with itself; two pictures at one point count as a pair of distance 0.

    Args:
        features_ND: Rows, of any length but zero.

    Returns:
        -8 (one antipodal pair) to 0 (all at one point); lower is more uniform.

    Raises:
        UserError: Fewer than two rows; a row is zero, NaN or infinite.
    """
    unit_ND = unit(features_ND)
    count, total = len(unit_ND), 0.0
    for start in range(0, count, _BLOCK):
        block_BD = unit_ND[start : start + _BLOCK]
        squared_BN = np.clip(2 - 2 * block_BD @ unit_ND[start:].T, 0, 4)
        terms_BN = np.exp(-2 * squared_BN)
        total += float(np.triu(terms_BN, k=1).sum())  # columns start at the block's own rows
    return min(math.log(total / (count * (count - 1) / 2)), 0.0)


UNIFORMITY = Metric(
    name="uniformity",
    function=uniformity,
    takes=("features",),
    definition="ln of the mean of exp(-2 |u - v|^2) over all pairs of distinct pictures, unit vectors",
    source="Wang & Isola, ICML 2020",
    low=-8.0,
    high=0.0,
    higher_is_better=False,
    invariant_to=frozenset({"rotation", "scale", "row scale", "permutation"}),
)
