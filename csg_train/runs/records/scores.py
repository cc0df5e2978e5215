"""What a checkpoint is worth on one split, and what it predicts where nobody knows that."""

from typing import Literal

import numpy as np
from pydantic import Field

from csg_train.runs.records.parts import BaseRecord, Interval

__all__ = [
    "AccuracyRecord",
    "ScoreRecord",
    "SegmentationRecord",
    "UnlabelledRecord",
    "absent_classes",
    "only_prediction",
]


class AccuracyRecord(BaseRecord):
    """Accuracy of one checkpoint on one split."""

    kind: Literal["accuracy"] = "accuracy"
    classes: list[str]
    confusion: list[list[int]]
    """Rows are true classes, columns predictions."""
    flip: bool
    """Mean of the sigmoids over the picture and its mirror image."""
    per_class: list[float | None]
    """Share of right predictions by class; None for a class without pictures."""
    mean_per_class: float
    """Unweighted mean over the classes that have pictures."""
    overall: float
    interval: Interval | None
    """Of ``mean_per_class``; None where a class has one picture, or those of each are all right or all wrong."""
    predicted: list[str] = Field(default_factory=list)
    """For each true class the predicted classes of its pictures in file order, as numbers with spaces between; empty
    in earlier records. Two records of one `DataInfo.identity` have the same pictures in the same places."""

    @property
    def predictions(self) -> list[np.ndarray]:
        """Of each true class the predicted class of each picture, int64; nothing in earlier records.

        Raises:
            ValueError: They are not numbers.
        """
        return [np.array([int(number) for number in line.split()], dtype=np.int64) for line in self.predicted]

    @property
    def score(self) -> float:
        """The figure of merit, in [0, 1]."""
        return self.mean_per_class

    @property
    def score_name(self) -> str:
        """What `score` is."""
        return "mean per class"


class SegmentationRecord(BaseRecord):
    """Intersection over union of one checkpoint on one split; pixels of all pictures are counted together."""

    kind: Literal["segmentation"] = "segmentation"
    classes: list[str]
    confusion: list[list[int]]
    """Pixels: rows are true classes, columns predictions; ignored pixels are in no count."""
    per_class: list[float | None]
    """Intersection over union by class; None for a class that is neither true nor predicted."""
    mean_iou: float
    """Unweighted mean over the classes that have one."""
    overall: float
    """Share of right pixels."""
    interval: Interval | None
    """Of ``mean_iou``; None where one picture alone has labels."""

    @property
    def score(self) -> float:
        """The figure of merit, in [0, 1]."""
        return self.mean_iou

    @property
    def score_name(self) -> str:
        """What `score` is."""
        return "mean IoU"


ScoreRecord = AccuracyRecord | SegmentationRecord
"""What a checkpoint is worth on one split, for either task."""


def only_prediction(record: ScoreRecord) -> str | None:
    """The class that every picture (or pixel) of several classes was given: training has diverged or not begun."""
    true = sum(any(row) for row in record.confusion)
    given = [name for name, *column in zip(record.classes, *record.confusion, strict=True) if any(column)]
    return given[0] if len(given) == 1 < true else None


def absent_classes(record: ScoreRecord) -> list[str]:
    """The classes that no picture (or pixel) truly has."""
    return [name for name, row in zip(record.classes, record.confusion, strict=True) if not any(row)]


class UnlabelledRecord(BaseRecord):
    """What one checkpoint predicts on a split without labels, where nobody knows its accuracy."""

    kind: Literal["unlabelled"] = "unlabelled"
    predicted: dict[str, int]
    """Pictures by predicted class, every class listed; of a segmentation pixels."""

    @property
    def sentence(self) -> str:
        """That accuracy is unknown, and what is known instead."""
        total = sum(self.predicted.values())
        shares = ", ".join(f"{name} {100 * count / total:.1f} %" for name, count in self.predicted.items() if count)
        return f"accuracy unknown: {self.data.count} pictures of {self.data.name} without labels; predicted: {shares}"
