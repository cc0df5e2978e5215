"""Linear CKA: how alike two models arrange the same pictures.

Shape suffixes: N rows, D and E features.
"""

import numpy as np

from csg_analysis.similarity.metrics.metric import Metric
from csg_analysis.similarity.metrics.rows import centred
from csg_train.errors import UserError

__all__ = ["CKA", "linear_cka"]


def linear_cka(features_ND: np.ndarray, others_NE: np.ndarray) -> float:
    """``|Y'X|^2 / (|X'X| |Y'Y|)`` in Frobenius norms, X and Y centred (Kornblith et al., ICML 2019, Eq 3 and 4).

    This is the biased form over all pictures at once; with fewer pictures than features it is high by itself.

    Args:
        features_ND: Rows of one model.
        others_NE: Rows of another for the same pictures.

    Returns:
        0 (no linear relation) to 1 (equal up to rotation and one factor).

    Raises:
        UserError: Different numbers of rows, equal rows throughout, NaN or infinite values.
    """
    if len(features_ND) != len(others_NE):
        raise UserError(f"CKA of {len(features_ND)} and {len(others_NE)} rows; give rows of the same pictures")
    x_ND, y_NE = centred(features_ND), centred(others_NE)
    own = float(np.linalg.norm(_gram(x_ND)) * np.linalg.norm(_gram(y_NE)))
    return min(float(np.linalg.norm(y_NE.T @ x_ND)) ** 2 / own, 1.0)


def _gram(rows_ND: np.ndarray) -> np.ndarray:
    """The smaller of X'X and XX', whose norms are equal."""
    short_ND = rows_ND if rows_ND.shape[1] <= len(rows_ND) else rows_ND.T
    gram: np.ndarray = short_ND.T @ short_ND
    return gram


CKA = Metric(
    name="cka",
    function=linear_cka,
    takes=("features", "others"),
    definition="linear CKA with the features that the network before training, or of --model the first one, has of the "
    "same pictures: |Y'X|^2 / (|X'X| |Y'Y|), centred",
    source="Kornblith et al., ICML 2019",
    low=0.0,
    high=1.0,
    higher_is_better=None,
    invariant_to=frozenset({"rotation", "scale", "translation", "permutation", "duplication"}),
)
