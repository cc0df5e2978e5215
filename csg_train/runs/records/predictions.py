"""Records of predicted masks."""

from typing import Literal

from csg_train.runs.records.parts import BaseRecord, Plain

__all__ = ["PREDICTIONS_SIDE", "PredictedPicture", "PredictionsRecord"]


PREDICTIONS_SIDE = 512


class PredictedPicture(Plain):
    """One picture of a predictions record."""

    file: str
    differs: float | None
    """Of its pixels with a true class, at full size, the share that is predicted wrong; None where no pixel has one."""


class PredictionsRecord(BaseRecord):
    """Predicted masks of some pictures of a segmentation, chosen without a look; ``data`` are these pictures.

    Picture i of ``arrays`` is ``picture_i`` ``(H, W, 3)`` uint8, ``true_i`` and ``predicted_i`` ``(H, W)`` uint8 of
    class numbers, its longer side at most `PREDICTIONS_SIDE` pixels: the picture averaged, masks by nearest pixel.
    """

    kind: Literal["predictions"] = "predictions"
    classes: list[str]
    colours: list[tuple[int, int, int]]
    """Of each class, to draw with."""
    unknown: int
    """Number of a pixel without a true class."""
    arrays: str
    """Name of the file beside the record."""
    arrays_sha256: str
    pictures: list[PredictedPicture]
