"""Runs that died, as their logs and scores tell."""

import math
from collections.abc import Iterator, Sequence

from csg_analysis.report.load import Run
from csg_train.runs.deaths import far_from_chance, is_chance, watched_steps
from csg_train.runs.records import only_prediction

__all__ = ["death", "death_notices"]


def death(run: Run) -> str | None:
    """How a run died; None for one that lives.

    By its records, every measured split was given one class; or by its log, the cross-entropy lay at the chance level
    at least for the last tenth of the run, and ten logged steps.
    """
    given = {only_prediction(record) for record in run.scores.values()}
    if len(given) == 1 and (name := given.pop()) is not None:
        return f"{name} is predicted for every picture"
    first = _chance_from(run)
    return None if first is None else f"the loss is at the chance level, about from step {first}"


def _chance_from(run: Run) -> int | None:
    """The step from which on, to its end, a run's loss was that of guessing."""
    count = max((len(record.classes) for record in run.scores.values()), default=0)
    curve = run.curves.get("ce")
    if count < 2 or curve is None:
        return None
    near = len(curve.values)
    while near and not far_from_chance(curve.values[near - 1], count):
        near -= 1
    values = curve.values[near:]
    last = math.ceil(watched_steps(len(curve.values) * curve.width) / curve.width)
    if len(values) < last or not is_chance(math.fsum(values[-last:]) / last, count):
        return None
    return int(curve.steps[near - 1]) + 1 if near else 1


def death_notices(runs: Sequence[Run]) -> Iterator[str]:
    """A line for each run that died."""
    for run in runs:
        if (how := death(run)) is not None:
            yield f"{run.name} DIED: {how}. Its numbers say nothing about its method; train it again at lower rates."
