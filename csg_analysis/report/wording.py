"""What the report calls things: the figure of merit of each task, and the rules that choose a step."""

from collections.abc import Iterable
from dataclasses import dataclass

from csg_analysis.report.load import Run
from csg_train.runs.records import DataInfo

__all__ = [
    "CHOSEN_STEP",
    "SELECTIONS",
    "Wording",
    "capital",
    "explained_class",
    "input_size",
    "wording_by_field",
    "wording_of",
]

SELECTIONS = {
    "last": "the last training step; nothing was chosen on the target",
    "source-val": "the step that did best on held-out synthetic pictures; nothing was chosen on the target",
    "oracle": "the step that did best on the target itself, CHOSEN ON THE TARGET: no fair test of a method",
}
"""What each selection rule means."""

CHOSEN_STEP = {
    "last": "the last step",
    "source-val": "the step chosen by source-val",
    "oracle": "the step CHOSEN ON THE TARGET by oracle",
}
"""The step of each rule, in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How a task's numbers are named.

    Attributes:
        score: The figure of merit in a sentence.
        short: The same where the long name does not fit.
        unit: What stands below its heading.
        field: Its name in CSV and JSON.
        by_class: The number of a single class.
        class_field: Its name in CSV and JSON.
        overall: What stands below the heading of the overall share.
        counted: What a confusion matrix counts.
    """

    score: str
    short: str
    unit: str
    field: str
    by_class: str
    class_field: str
    overall: str
    counted: str

    @property
    def short_field(self) -> str:
        """``short`` as part of a name in CSV and JSON, where it is in percent."""
        return f"{self.short.lower().replace(' ', '_')}_percent"


_TASKS = {
    "classification": Wording(
        score="mean-per-class accuracy",
        short="accuracy",
        unit="% mean per class",
        field="mean_per_class_percent",
        by_class="accuracy",
        class_field="accuracy_percent",
        overall="% accuracy",
        counted="pictures",
    ),
    "segmentation": Wording(
        score="mean IoU",
        short="mean IoU",
        unit="%",
        field="mean_iou_percent",
        by_class="IoU",
        class_field="iou_percent",
        overall="% of pixels right",
        counted="pixels",
    ),
}
_BOTH = Wording(
    score="score (mean-per-class accuracy or mean IoU)",
    short="score",
    unit="% mean per class or mean IoU",
    field="score_percent",
    by_class="accuracy or IoU",
    class_field="score_percent",
    overall="% of pictures or pixels",
    counted="pictures or pixels",
)


def wording_by_field() -> dict[str, Wording]:
    """All there are, by the name of the figure of merit in CSV and JSON."""
    return {words.field: words for words in (*_TASKS.values(), _BOTH)}


def wording_of(runs: Iterable[Run]) -> Wording:
    """The words for these runs; those that fit both tasks in a mixed report."""
    tasks = {run.task for run in runs}
    return _TASKS[tasks.pop()] if len(tasks) == 1 else _BOTH


def capital(text: str) -> str:
    """With a capital at its beginning, the rest unchanged."""
    return text[:1].upper() + text[1:]


def explained_class(explained: str) -> str:
    """Which class GradCAM maps explain."""
    named = {"predicted": "the class that each method predicts", "label": "the true class"}
    return named.get(explained, f"the class “{explained}”")


def input_size(data: DataInfo) -> str:
    """How large pictures were shown, and in which shape."""
    if data.fit != "whole":
        return f"{data.size} px, {data.fit}"
    return "whole pictures" if data.size is None else f"whole pictures, the longer side at most {data.size} px"
