"""Records of measures that need no real label."""

from typing import Literal

from csg_train.runs.records.parts import BaseRecord, DataInfo, Plain

__all__ = ["HELD_OUT", "ChoosingRecord", "LabelFree"]


HELD_OUT = "held-out accuracy"
"""The measure that every other one of a `ChoosingRecord` is compared with."""


class LabelFree(Plain):
    """A number that needs no real label, and what is known of it."""

    value: float | None
    """None where it is undefined."""
    undefined: str = ""
    """Why, where it is."""
    higher_is_better: bool
    """The end at which the better network is expected; whether it is found there is what a report asks."""
    low: float | None
    high: float | None
    """Bounds of the value, None without one."""
    definition: str
    """Formula and source."""


class ChoosingRecord(BaseRecord):
    """Measures of one checkpoint by which runs can be chosen without a real label; ``data`` are the real pictures."""

    kind: Literal["choosing"] = "choosing"
    held_out: DataInfo
    """The synthetic pictures with labels."""
    layer: str
    pool: str
    """How its maps became the features."""
    dim: int
    flip: bool
    """Probabilities, and the sigmoids that predict, are means over the picture and its mirror image."""
    measures: dict[str, LabelFree]
    """By name."""
    together: list[str]
    """SHA-256 of the checkpoints among which agreement was measured, this one too."""
