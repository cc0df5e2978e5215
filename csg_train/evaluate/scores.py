"""Figures from confusion counts alone, of pictures and of pixels: rows are true classes, columns predictions."""

import numpy as np

__all__ = [
    "LEVEL",
    "iou",
    "iou_per_class",
    "mean_iou",
    "mean_of_present",
    "mean_per_class",
    "per_class_accuracy",
    "right_true_predicted",
]

LEVEL = 0.95
"""Of the bootstrap's intervals."""


def per_class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of right predictions of each true class; NaN for a class without pictures. ``(..., C)``."""
    return _shares(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))


def _shares(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """NaN where there is no whole."""
    shares = np.full(wholes.shape, np.nan)
    np.divide(parts, wholes, out=shares, where=wholes > 0)
    return shares


def mean_per_class(confusion: np.ndarray) -> float:
    """VisDA's metric: the unweighted mean of the per-class accuracies, classes without pictures left out."""
    return float(np.nanmean(per_class_accuracy(confusion)))


def right_true_predicted(confusion: np.ndarray) -> np.ndarray:
    """From a confusion ``(C, C)`` to ``(3, C)``: how often each class is right, true and predicted."""
    return np.stack([np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0)])


def iou(counts: np.ndarray) -> np.ndarray:
    """From counts ``(..., 3, C)`` to ``(..., C)``; NaN where a class is neither true nor predicted."""
    right, true, predicted = np.moveaxis(counts, -2, 0)
    return _shares(right, true + predicted - right)


def mean_of_present(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN; NaN where nothing else is there."""
    present = ~np.isnan(values)
    return _shares(np.where(present, values, 0).sum(axis=-1), present.sum(axis=-1))


def iou_per_class(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, ``(C,)`` in 0..1.

    A class that is neither true nor predicted anywhere is NaN. One that is predicted but never true is 0: every one of
    its pixels is a false positive. This is the rule of Cityscapes' own script and of torchmetrics' JaccardIndex.
    """
    return iou(right_true_predicted(confusion))


def mean_iou(confusion: np.ndarray) -> float:
    """The unweighted mean of `iou_per_class` over the classes that are not NaN; NaN if all are.

    Counts of all pictures are added up before dividing (Cityscapes); a mean of each picture's own value is another
    number.
    """
    return float(mean_of_present(iou_per_class(confusion)))
