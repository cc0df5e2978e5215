"""What records share: where a checkpoint comes from, which pictures a number was measured on."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from csg_train.splits import Rule

__all__ = ["BaseRecord", "DataInfo", "Interval", "OutsideInfo", "Plain", "RunInfo"]


class Plain(BaseModel):
    """Read as it was written: no other fields, and none changed; NaN and infinity, which JSON lacks, are no numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Interval(Plain):
    """A confidence interval and how it was made."""

    low: float
    high: float
    level: float
    kind: str

    @property
    def percent(self) -> str:
        """Of shares: its ends in percent."""
        return f"{100 * self.low:.1f} - {100 * self.high:.1f}"


class RunInfo(Plain):
    """Where a checkpoint comes from."""

    recipe: str
    method: str
    method_config: dict[str, object]
    seed: int
    backbone: str
    weights: str
    """SHA-256 of the starting weights."""
    source: str
    source_identity: str
    """Of the source pictures, as `DataInfo.identity`."""
    step: int
    selection: Rule = "last"
    """Rule that chose the step: ``last`` (nothing was chosen on any domain), ``source-val`` (the most accurate on
    held-out synthetic pictures) or ``oracle`` (the most accurate on the target itself)."""
    checkpoint_sha256: str
    versions: dict[str, str]
    options: dict[str, object] = {}
    """What the method was combined with (`csg_train.recipes.options.options_of`); empty for the method alone."""
    averaged: dict[str, object] = {}
    """Of averaged weights, the rule and the steps or checkpoints that are in them (`Checkpoint.averaged`)."""


class OutsideInfo(Plain):
    """A model that the toolkit did not train, or features of one: what is not here is not known."""

    model: str
    """``timm/NAME`` or a torchvision name; of a file of features its name, with the matrix of several."""
    sha256: str
    """Of the weights' or the features' file."""
    versions: dict[str, str]


class DataInfo(Plain):
    """Which pictures a number was measured on, and how they were shown; ``unknown`` where a file does not say it."""

    split: str
    name: str
    identity: str
    """SHA-256 over class names, paths, labels and file sizes, not over pixels."""
    count: int
    size: int | None
    """Side of the square input; of a segmentation the cap on the longer side, None for none."""
    fit: str
    """``crop`` or ``pad``; of a segmentation ``whole``."""
    precision: Literal["float32"] | None = None
    """Of the network's arithmetic; None of matrices from outside, and in earlier records, which on a GPU have
    convolutions in TF32."""


class BaseRecord(Plain):
    """What every record says first."""

    format: Literal["csg-record/1"] = "csg-record/1"
    run: RunInfo | OutsideInfo
    data: DataInfo
