"""Checks and normalisation that the metrics share. All work in float64.

Shape suffixes: N rows, D features.
"""

from typing import Any

import numpy as np

from csg_train.errors import UserError

__all__ = ["by_class", "centred", "unit"]


def _array(values: Any) -> np.ndarray:
    """A NumPy array of it; of a tensor, wherever it lies, its values."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def unit(features_ND: np.ndarray) -> np.ndarray:
    """The rows at length 1, float64; a row that is zero, NaN or infinite is a named error."""
    from csg_analysis.energy.unit_rows import UnitRows  # torch: not for the report, which reads the table of metrics

    rows = UnitRows(features_ND)
    return rows.take(slice(0, rows.n)).cpu().numpy()


def centred(features_ND: np.ndarray) -> np.ndarray:
    """The rows less their mean, float64, with the sum of squares 1.

    Raises:
        UserError: A NaN or infinite value, or rows that are all equal.
    """
    rows_ND = _array(features_ND).astype(np.float64)
    if not np.isfinite(rows_ND).all():
        raise UserError(f"feature row {int(np.argmin(np.isfinite(rows_ND).all(1)))} has a NaN or infinite value")
    largest = max(np.abs(rows_ND).max(), np.finfo(np.float64).tiny)
    moved_ND: np.ndarray = rows_ND / largest
    moved_ND -= moved_ND.mean(0)
    length = float(np.linalg.norm(moved_ND))
    if length < 1e-12:
        raise UserError(f"all {len(rows_ND)} feature rows are equal: the features collapsed to one point")
    moved_ND /= length
    return moved_ND


def by_class(rows_ND: np.ndarray, labels_N: Any) -> list[np.ndarray]:
    """The rows of each class that occurs, in the order of the class numbers."""
    labels_N = _array(labels_N)
    if labels_N.shape != (len(rows_ND),):
        raise UserError(f"labels of shape {labels_N.shape} for {len(rows_ND)} feature rows; give one for each row")
    return [rows_ND[labels_N == label] for label in np.unique(labels_N)]
