"""Labels of feature rows: one for each, and none missing."""

from typing import Any

import numpy as np

from csg_train.errors import UserError

__all__ = ["labels_of"]


def labels_of(labels: Any, count: int) -> np.ndarray:
    """The labels as an array ``(N,)``; numbers or texts, of a tensor wherever it lies.

    Args:
        labels: An array, a sequence or a tensor.
        count: N, the feature rows.

    Raises:
        UserError: Another shape, or a row without a label (NaN, None): which class it belongs to is nobody's guess.
    """
    try:
        given = np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    except (ValueError, TypeError) as error:  # ragged, or of a type that numpy has not
        raise UserError(f"labels are no array ({error}); give one number or text for each feature row") from error
    if given.shape != (count,):
        raise UserError(f"labels of shape {given.shape} for {count} feature rows; give one label for each row")
    if given.dtype.kind not in "iubUS":
        import pandas as pd  # a third of a second

        if (missing := pd.isna(given)).any():
            raise UserError(f"feature row {int(missing.argmax())} has no label; leave out the rows that have none")
        try:
            np.sort(given)
        except TypeError as error:
            raise UserError(f"labels are of several kinds ({error}); give all as numbers or all as texts") from error
    return given
