"""`Metric`: a number made of features, and what is always true of it. The facts are tested, not only written."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Change", "Input", "Metric"]

Input = Literal["features", "others", "labels"]
"""``(N, D)`` rows; ``(N, E)`` rows of another model for the same pictures; ``(N,)`` class numbers."""

Change = Literal["rotation", "scale", "row scale", "translation", "permutation", "duplication"]
"""Of the features: an orthogonal map, one factor, a factor for each row, one vector added to all rows. Of all inputs
alike: another order of the rows, every row twice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One line of the table of metrics.

    Attributes:
        name: In records and tables.
        function: The metric; its arguments are those of ``takes``, in that order.
        takes: What it is computed from.
        definition: One sentence with the formula.
        source: Paper.
        low: Lower bound.
        high: Upper bound.
        higher_is_better: None where neither end is better in itself.
        invariant_to: Changes that leave it as it is, beyond rounding; every other `Change` can move it.
    """

    name: str
    function: Callable[..., float]
    takes: tuple[Input, ...]
    definition: str
    source: str
    low: float
    high: float
    higher_is_better: bool | None
    invariant_to: frozenset[Change]

    def of(self, **inputs: np.ndarray) -> float:
        """The value, from inputs by name; those that it does not take are left alone."""
        return self.function(*(inputs[name] for name in self.takes))
