"""`Measure`: a number by which runs can be ordered without a real label, and which end of it is held to be better."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from csg_train.errors import UserError
from csg_train.runs.records import LabelFree

__all__ = ["Input", "Measure"]

Input = Literal[
    "real_features",
    "held_features",
    "real_probabilities",
    "held_probabilities",
    "held_right",
    "held_labels",
    "real_predicted",
    "of_seeds",
    "of_runs",
]
"""Of N real pictures without labels, and of M synthetic ones held out of training: features ``(N, D)`` and
probabilities ``(N, C)``; of the synthetic ones whether each is predicted right, ``(M,)`` bool, and its class; of the
real ones the predicted class, ``(N,)``, and that of other runs, ``(R, N)``: those that differ in the seed alone, or
all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One line of the table of measures.

    Attributes:
        name: In records and tables.
        function: The measure; its arguments are those of ``takes``, in that order.
        takes: What it is computed from.
        definition: One sentence with the formula.
        source: Paper.
        low: Lower bound, None without one.
        high: Upper bound, None without one.
        higher_is_better: The end at which its source, or the paper of CSG, expects the better network.
    """

    name: str
    function: Callable[..., float]
    takes: tuple[Input, ...]
    definition: str
    source: str
    low: float | None
    high: float | None
    higher_is_better: bool

    def of(self, inputs: Mapping[str, np.ndarray]) -> float:
        """The value, from inputs by name; those that it does not take are left alone.

        Raises:
            UserError: It has none: all features lie at one point, for instance.
        """
        return float(self.function(*(inputs[name] for name in self.takes)))

    def recorded(self, inputs: Mapping[str, np.ndarray]) -> LabelFree:
        """Value and definition for a record; where there is no value, the reason in its place."""
        own: dict[str, Any] = {name: getattr(self, name) for name in ("low", "high", "higher_is_better")}
        own["definition"] = f"{self.definition} ({self.source})"
        try:
            return LabelFree(value=self.of(inputs), **own)
        except UserError as error:
            return LabelFree(value=None, undefined=error.message, **own)
