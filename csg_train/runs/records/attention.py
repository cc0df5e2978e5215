"""Records of GradCAM: the maps, and what they are worth."""

from typing import Literal

from csg_train.runs.records.parts import BaseRecord, Plain

__all__ = ["Attended", "AttentionRecord", "AttentionScores", "CurveScores", "OverlapScores"]


class Attended(Plain):
    """One picture of an attention record."""

    file: str
    label: str | None
    predicted: str
    """Of the largest logit of the picture itself, without its mirror image; of a segmentation see `Region`."""
    target: str
    """Class that the map explains."""
    flat: bool
    """True when the map is zero everywhere."""


class AttentionRecord(BaseRecord):
    """GradCAM maps of some pictures; the raw arrays lie in ``arrays`` beside the record."""

    kind: Literal["attention"] = "attention"
    layer: str
    explained: str
    """Which class the maps explain: predicted, label, or a class name."""
    arrays: str
    arrays_sha256: str | None = None
    """None in earlier records."""
    pictures: list[Attended]


class OverlapScores(Plain):
    """Means over the pictures that have a mask and a map that is not flat."""

    iou: float
    share: float
    area: float
    count: int
    without_mask: int
    """Pictures without transparency, or whose view shows no object or no background."""
    definition: str


class CurveScores(Plain):
    """Means over the pictures whose map is not flat."""

    deletion: float
    """Area under the curve; lower is better."""
    insertion: float
    """Area under the curve; higher is better."""
    deletion_curve: list[float]
    insertion_curve: list[float]
    steps: int
    deletion_baseline: str
    insertion_baseline: str
    count: int
    definition: str


class AttentionScores(BaseRecord):
    """What the GradCAM maps of one checkpoint on one split are worth."""

    kind: Literal["attention-scores"] = "attention-scores"
    layer: str
    explained: str
    """Which class the maps explain: predicted, label, or a class name."""
    flat: int
    """Pictures whose map is zero everywhere: nothing speaks for the class. They count in no mean."""
    overlap: OverlapScores | None
    """None where no picture has a mask."""
    curves: CurveScores | None
    """None where it was not asked for, or every map is flat."""
