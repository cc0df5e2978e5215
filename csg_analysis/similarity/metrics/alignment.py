"""Alignment: how near pictures of one class lie to one another.

Shape suffixes: N rows, D features.
"""

import numpy as np

from csg_analysis.similarity.metrics.metric import Metric
from csg_analysis.similarity.metrics.rows import by_class, unit
from csg_train.errors import UserError

__all__ = ["ALIGNMENT", "alignment"]


def alignment(features_ND: np.ndarray, labels_N: np.ndarray) -> float:
    """Mean squared distance of unit vectors over all pairs of pictures of one class (Wang & Isola, ICML 2020, alpha 2).

    Theirs is over views of one picture; ours is over two pictures of one class, each pair once, so a class counts by
    its pairs. The sum over the pairs of a class of n is ``n sum_i |u_i - mean|^2``, which makes it linear in N.

    Args:
        features_ND: Rows, of any length but zero.
        labels_N: Their class numbers.

    Returns:
        0 (each class at one point) to 4 (which one pair alone can reach).

    Raises:
        UserError: No class has two pictures; a row is zero, NaN or infinite.
    """
    total, pairs = 0.0, 0
    for own_ND in by_class(unit(features_ND), labels_N):
        total += len(own_ND) * float(np.square(own_ND - own_ND.mean(0)).sum())
        pairs += len(own_ND) * (len(own_ND) - 1) // 2
    if not pairs:
        raise UserError("alignment: no class has two pictures; measure a split with more")
    return min(total / pairs, 4.0)


ALIGNMENT = Metric(
    name="alignment",
    function=alignment,
    takes=("features", "labels"),
    definition="mean of |u - v|^2 over all pairs of pictures of one class, unit vectors",
    source="Wang & Isola, ICML 2020",
    low=0.0,
    high=4.0,
    higher_is_better=False,
    invariant_to=frozenset({"rotation", "scale", "row scale", "permutation"}),
)
