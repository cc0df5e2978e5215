"""Checks and normalisation that the metrics share. All work in float64.

Shape suffixes: N rows, D features.
"""

from typing import Any

import numpy as np

from csg_train.errors import UserError

__all__ = ["by_class", "centred", "unit"]


def unit(features_ND: np.ndarray) -> np.ndarray:
    """The rows at length 1, float64; a row that is zero, NaN or infinite is a named error."""
    from csg_analysis.energy.unit_rows import UnitRows  # torch: not for the report, which reads the table of metrics
    from csg_train.devices import full_float32, ordinary_tensors

    with full_float32(), ordinary_tensors():
        rows = UnitRows(features_ND)
        return rows.take(slice(0, rows.n)).cpu().numpy()


def centred(features_ND: np.ndarray) -> np.ndarray:
    """The rows less their mean, float64, with the sum of squares 1.

    Raises:
        UserError: Another type or shape, a NaN or infinite value, or rows that are all equal.
    """
    from csg_analysis.energy.unit_rows import as_tensor  # as above

    given = as_tensor(features_ND)
    if given.ndim != 2 or not given.numel():
        raise UserError(f"features of shape {tuple(given.shape)}; give (rows, features), one of each at least")
    rows_ND = given.double().cpu().numpy()
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
    """The rows of each class that occurs, in the order of the class numbers; a row without a label is an error."""
    from csg_analysis.energy.labels import labels_of  # as above

    labels_N = labels_of(labels_N, len(rows_ND))
    return [rows_ND[labels_N == label] for label in np.unique(labels_N)]
