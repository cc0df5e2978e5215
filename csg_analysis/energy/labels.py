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
    given = np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    if given.shape != (count,):
        raise UserError(f"labels of shape {given.shape} for {count} feature rows; give one label for each row")
    if given.dtype.kind not in "iubUS":
        import pandas as pd  # a third of a second

        if (missing := pd.isna(given)).any():
            raise UserError(f"feature row {int(missing.argmax())} has no label; leave out the rows that have none")
    return given
