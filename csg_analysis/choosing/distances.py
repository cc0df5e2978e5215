"""How far the features of real pictures lie from those of synthetic ones. All of unit vectors, in float64.

Unit length, because two checkpoints differ in the scale of their features, and a distance would order them by that.

Shape suffixes: N and M rows, D features, B rows of a block.
"""

import numpy as np

from csg_analysis.similarity.metrics.rows import unit
from csg_train.errors import UserError

__all__ = ["frechet_distance", "squared_mmd"]

_BLOCK = 512


def frechet_distance(first_ND: np.ndarray, second_MD: np.ndarray) -> float:
    """``|m - m'|^2 + tr(S + S' - 2 (S S')^(1/2))`` with means m and covariances S (Dowson & Landau, 1982).

    The squared 2-Wasserstein distance of two Gaussians, as FID takes it (Heusel et al., NeurIPS 2017); that it follows
    the accuracy on unlabelled sets is from Deng & Zheng (CVPR 2021). Covariances divide by N, so that the bound holds.
    With S = R'R the last trace is the sum of the singular values of R R'^T: no root of a matrix is taken.

    Args:
        first_ND: Rows, of any length but zero.
        second_MD: Likewise.

    Returns:
        0 (equal moments) to 4. Few rows in many dimensions raise it, alike for networks of equal width.

    Raises:
        UserError: A row is zero, NaN or infinite.
    """
    rows = [unit(first_ND), unit(second_MD)]
    means = [own_ND.mean(0) for own_ND in rows]
    roots = [_root((own_ND - mean_D) / len(own_ND) ** 0.5) for own_ND, mean_D in zip(rows, means, strict=True)]
    apart = float(np.square(means[0] - means[1]).sum())
    shared = float(np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum())
    return max(apart + sum(float(np.square(root).sum()) for root in roots) - 2 * shared, 0.0)


def _root(rows_ND: np.ndarray) -> np.ndarray:
    """R with ``R'R`` that of the rows, and no more rows than columns."""
    return np.asarray(np.linalg.qr(rows_ND, mode="r"))


def squared_mmd(first_ND: np.ndarray, second_MD: np.ndarray) -> float:
    """Squared maximum mean discrepancy, the unbiased estimate (Gretton et al., JMLR 2012, Eq 3).

    ``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)``, no row paired with itself, with ``k = exp(-|u - v|^2 / w)`` and
    w the mean squared distance of all pairs of both sets together (Long et al., ICML 2015, take that width).

    Args:
        first_ND: Rows, of any length but zero.
        second_MD: Likewise.

    Returns:
        -2 to 2; its mean over draws of both sets from one distribution is 0, so it can be below.

    Raises:
        UserError: A set has fewer than two rows, all lie at one point, or a row is zero, NaN or infinite.
    """
    x_ND, y_MD = unit(first_ND), unit(second_MD)
    n, m = len(x_ND), len(y_MD)
    width = 2 * ((n + m) ** 2 - float(np.square(x_ND.sum(0) + y_MD.sum(0)).sum())) / ((n + m) * (n + m - 1))
    if width < 1e-12:
        raise UserError("all features are equal: they collapsed to one point")
    own = (_kernel_sum(x_ND, x_ND, width) - n) / (n * (n - 1)) + (_kernel_sum(y_MD, y_MD, width) - m) / (m * (m - 1))
    return own - 2 * _kernel_sum(x_ND, y_MD, width) / (n * m)


def _kernel_sum(x_ND: np.ndarray, y_MD: np.ndarray, width: float) -> float:
    blocks = (x_ND[start : start + _BLOCK] @ y_MD.T for start in range(0, len(x_ND), _BLOCK))
    return sum(float(np.exp(np.minimum(2 * cosine_BM - 2, 0) / width).sum()) for cosine_BM in blocks)
