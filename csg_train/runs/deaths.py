"""Runs that die: features all zero, one class for every picture, a loss at the chance level, for a tenth of the run."""

import math
from collections import deque
from collections.abc import Sequence

__all__ = ["Watch", "far_from_chance", "is_chance", "watched_steps"]

_LEAST = 10
_NEAR, _CLOSE = 0.15, 0.02


def watched_steps(steps: int) -> int:
    """For how many steps a sign must last: a tenth of the run, and 10 at least."""
    return max(_LEAST, math.ceil(steps / 10))


def far_from_chance(loss: float, classes: int) -> bool:
    """Whether a step's cross-entropy differs from ``ln(classes)`` by more than its batch explains."""
    return abs(loss - math.log(classes)) > _NEAR * math.log(classes)


def is_chance(mean: float, classes: int) -> bool:
    """Whether the mean of many steps' cross-entropies is that of guessing: ``ln(classes)``, to 2 %."""
    return abs(mean - math.log(classes)) <= _CLOSE * math.log(classes)


class Watch:
    """Reads the steps of a run as they are logged, and says once that it has died, and since when.

    Args:
        steps: Of the run.
        warmup: Steps of it in which nothing can be expected.
        classes: Their names.
    """

    def __init__(self, *, steps: int, warmup: int, classes: Sequence[str]) -> None:
        self.length, self.warmup, self.classes = watched_steps(steps), warmup, classes
        self.losses: deque[float] = deque(maxlen=self.length)
        self.sum = 0.0
        self.since: dict[str, int] = {}
        self.predicted = -1.0
        self.said = len(classes) < 2

    def see(self, step: int, *, loss: float, features: float, predicted: float) -> str | None:
        """Take a step; the sentence to print where one is due.

        Args:
            step: Its number.
            loss: Its cross-entropy.
            features: 1 where any feature of ``layer4`` was not zero, else 0.
            predicted: The class that every picture of the batch was given, or -1.
        """
        if self.said or step <= self.warmup:
            return None
        self._count("features", step, lasting=not features)
        self._count("predicted", step, lasting=predicted >= 0 and predicted == self.predicted)
        self.predicted = predicted
        guessed = self._guesses(loss)
        found = [name for name, first in self.since.items() if step - first + 1 >= self.length]
        if not found and not guessed:
            return None
        self.said = True
        sign = min(found) if found else "loss"
        what = {
            "features": "all features are zero",
            "predicted": f"{self.classes[int(predicted)]} is predicted for every picture",
            "loss": f"the loss is at the chance level, ln {len(self.classes)} = {math.log(len(self.classes)):.3g}",
        }[sign]
        first = self.since.get(sign, step - self.length + 1)
        return (
            f"since step {first} {what}: the run has died, or learns nothing; change train.lr_head, train.lr_backbone "
            "or the method's weight"
        )

    def _guesses(self, loss: float) -> bool:
        if far_from_chance(loss, len(self.classes)):
            self.losses.clear()
            self.sum = 0.0
            return False
        self.sum += loss - (self.losses[0] if len(self.losses) == self.length else 0.0)
        self.losses.append(loss)
        return len(self.losses) == self.length and is_chance(self.sum / self.length, len(self.classes))

    def _count(self, sign: str, step: int, *, lasting: bool) -> None:
        if lasting:
            self.since.setdefault(sign, step)
        else:
            self.since.pop(sign, None)
