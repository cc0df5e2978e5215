"""Records: JSON files in which every number carries its definition. Reports are built from them alone."""

import json
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from csg_train.errors import UserError
from csg_train.files import write_json
from csg_train.runs.versions import written_by
from csg_train.splits import Rule

__all__ = [
    "HELD_OUT",
    "PREDICTIONS_SIDE",
    "SPHERE_ANGLES",
    "AccuracyRecord",
    "AttentionRecord",
    "AttentionScores",
    "ChoosingRecord",
    "CurveScores",
    "DataInfo",
    "Dtype",
    "EnergyRecord",
    "Interval",
    "LabelFree",
    "OutsideInfo",
    "OverlapScores",
    "PredictedPicture",
    "PredictionsRecord",
    "Record",
    "RunInfo",
    "ScoreRecord",
    "SegmentationRecord",
    "SimilarityRecord",
    "SphereRecord",
    "UnlabelledRecord",
    "only_prediction",
    "read_record",
    "write_record",
]


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Interval(_Plain):
    """A confidence interval and how it was made."""

    low: float
    high: float
    level: float
    kind: str


class RunInfo(_Plain):
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


class OutsideInfo(_Plain):
    """A model that the toolkit did not train, or features of one: what is not here is not known."""

    model: str
    """``timm/NAME`` or a torchvision name; of a file of features its name, with the matrix of several."""
    sha256: str
    """Of the weights' or the features' file."""
    versions: dict[str, str]


class DataInfo(_Plain):
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


class _Record(_Plain):
    format: Literal["csg-record/1"] = "csg-record/1"
    run: RunInfo | OutsideInfo
    data: DataInfo


class PoolStability(_Plain):
    """How well A-pool is defined on the maps of some pictures: ``|mean v|^2 / mean |v|^2`` of each map's positions v.

    1 where all positions are equal, 0 where they cancel, as they only can in maps of both signs.
    """

    mean: float
    smallest: float
    below: int
    """Pictures below `UNSTABLE`, whose pooled vectors are mostly chance."""


UNSTABLE = 0.01

Dtype = Literal["float32", "float16", "float64", "bfloat16"]


class EnergyRecord(_Record):
    """Hyperspherical energy of one checkpoint's features on one split; means over pairs of distinct images."""

    kind: Literal["energy"] = "energy"
    layer: str
    pool: str
    dim: int
    pairs: int
    """Unordered pairs, coincident ones included."""
    coincident: int
    coincident_rule: str
    paper: dict[str, float | None]
    """Eq 1 of the paper, mean over pairs, by s: log(1/d) for s=0, d^-s else. None where it is infinite, which only
    coincident pairs under the rule ``infinite`` make it."""
    mhe: dict[str, float | None]
    """As the paper's Table 1 was computed: s=0 doubled, else equal to ``paper``."""
    interval: dict[str, Interval]
    """By s, for the ``mhe`` value; none for an infinite value or fewer than three pictures."""
    uniform: dict[str, float | None]
    """``mhe`` energy of the uniform distribution on the same sphere, by s; None where it is infinite."""
    dtype: Dtype = "float32"
    """Precision that the features were kept in; ``float16`` rounds each number to 11 bits, ``bfloat16`` to 8."""
    stability: PoolStability | None = None
    """Of the attention pool; none of another, and none in earlier records."""


class AccuracyRecord(_Record):
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
    interval: Interval
    """Of ``mean_per_class``."""
    predicted: list[str] = []
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


class SegmentationRecord(_Record):
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
    interval: Interval
    """Of ``mean_iou``."""

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


class UnlabelledRecord(_Record):
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


class Attended(_Plain):
    """One picture of an attention record."""

    file: str
    label: str | None
    predicted: str
    target: str
    """Class that the map explains."""
    flat: bool
    """True when the map is zero everywhere."""


class AttentionRecord(_Record):
    """GradCAM maps of some pictures; the raw arrays lie in ``arrays`` beside the record."""

    kind: Literal["attention"] = "attention"
    layer: str
    explained: str
    """Which class the maps explain: predicted, label, or a class name."""
    arrays: str
    pictures: list[Attended]


class PredictedPicture(_Plain):
    """One picture of a predictions record."""

    file: str
    differs: float | None
    """Of its pixels with a true class, at full size, the share that is predicted wrong; None where no pixel has one."""


class PredictionsRecord(_Record):
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


PREDICTIONS_SIDE = 512


class OverlapScores(_Plain):
    """Means over the pictures that have a mask and a map that is not flat."""

    iou: float
    share: float
    area: float
    count: int
    without_mask: int
    """Pictures without transparency, or whose view shows no object or no background."""
    definition: str


class CurveScores(_Plain):
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


class AttentionScores(_Record):
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


class SimilarityRecord(_Record):
    """One checkpoint beside the weights that its training started from, on the same pictures."""

    kind: Literal["similarity"] = "similarity"
    start: str
    """SHA-256 of the starting weights that it was compared with, or ``none`` (random, drawn again)."""
    pool: str
    cka: dict[str, float]
    """Linear CKA with the starting weights, by stage."""
    layer: str
    """Stage of all measures below."""
    dim: int
    measures: dict[str, float]
    """Of the checkpoint, by metric."""
    start_measures: dict[str, float]
    """Of the starting weights, by metric."""
    spread_by_class: dict[str, float]
    """Of the checkpoint, for each class that has pictures."""
    definitions: dict[str, str]
    """Formula and source of every metric."""
    stability: dict[str, PoolStability] = Field(default_factory=dict)
    """Of the attention pool, by stage, for the checkpoint; empty of another, and in earlier records."""


SPHERE_ANGLES = 360
"""Angles of a recorded density."""


class SphereRecord(_Record):
    """Features of one checkpoint on one split, on a circle that several checkpoints share."""

    kind: Literal["sphere"] = "sphere"
    layer: str
    pool: str
    energy: float
    """E_0 in all dimensions, ``mhe`` convention."""
    together: list[str]
    """SHA-256 of the checkpoints whose features gave the plane, in the order of the panels."""
    share: float
    """Of the variance of all their unit vectors, how much lies in the plane, 0 to 1."""
    concentration: float
    """Of the von Mises kernel."""
    density: list[float] = Field(min_length=SPHERE_ANGLES, max_length=SPHERE_ANGLES)
    """Per radian, at equal steps from -pi; its integral over the circle is 1."""
    definition: str
    """Projection and kernel in words."""


HELD_OUT = "held-out accuracy"
"""The measure that every other one of a `ChoosingRecord` is compared with."""


class LabelFree(_Plain):
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


class ChoosingRecord(_Record):
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


Record = (
    EnergyRecord
    | AccuracyRecord
    | SegmentationRecord
    | AttentionRecord
    | PredictionsRecord
    | AttentionScores
    | SimilarityRecord
    | SphereRecord
    | UnlabelledRecord
    | ChoosingRecord
)
_ADAPTER: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


def trained(record: Record, path: Path) -> RunInfo:
    """The run that a record is of; ``path`` names it in the error.

    Raises:
        UserError: It is of a model that the toolkit did not train.
    """
    if isinstance(record.run, OutsideInfo):
        raise UserError(
            f"{path}: of {record.run.model}, a model from outside, and a report shows runs; give the folders of runs"
        )
    return record.run


def write_record(path: Path, record: _Record) -> None:
    """Write a record atomically as JSON with sorted keys."""
    write_json(path, record.model_dump(mode="json"))


def read_record(path: Path) -> Record:
    """Read a record of any kind.

    Raises:
        UserError: The file is unreadable or not a record of this format.
    """
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); restore it or measure again") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = f"{'.'.join(map(str, first['loc']))}: ".removeprefix(": ")
        raise UserError(
            f"{path}: not a csg-record/1 ({where}{first['msg']}); measure again with csg-analyze{_written_by(path)}"
        ) from error


def _written_by(path: Path) -> str:
    try:
        return written_by(json.loads(path.read_bytes())["run"]["versions"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""
