"""Effective rank: how many directions the features really use.

Shape suffixes: N rows, D features.
"""

import math

import numpy as np
from scipy.stats import entropy

from csg_analysis.similarity.metrics.metric import Metric
from csg_analysis.similarity.metrics.rows import centred, unit

__all__ = ["EFFECTIVE_RANK", "effective_rank"]


def effective_rank(features_ND: np.ndarray) -> float:
    """``exp(-sum p ln p)`` with p the singular values over their sum (Roy & Vetterli, EUSIPCO 2007).

    Of the unit vectors, CENTRED: non-negative features share a large mean, which would count as one direction and
    hide the others.

    Args:
        features_ND: Rows, of any length but zero.

    Returns:
        1 (all on one line) to the lesser of N - 1 and D (all directions alike).

    Raises:
        UserError: All directions are equal; a row is zero, NaN or infinite.
    """
    singular = np.linalg.svd(centred(unit(features_ND)), compute_uv=False)
    return max(math.exp(entropy(singular)), 1.0)


EFFECTIVE_RANK = Metric(
    name="effective rank",
    function=effective_rank,
    takes=("features",),
    definition="exp of the entropy of the normalised singular values of the unit vectors, centred",
    source="Roy & Vetterli, EUSIPCO 2007",
    low=1.0,
    high=math.inf,
    higher_is_better=None,
    invariant_to=frozenset({"rotation", "scale", "row scale", "permutation", "duplication"}),
)
