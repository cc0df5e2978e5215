"""What a row is: a method of the paper, a rival of it, or a combination."""

from csg_train.runs.labels import added
from csg_train.runs.records import RunInfo

__all__ = ["COMBINATION", "KINDS", "PAPER", "RIVAL", "kind_of"]

PAPER, RIVAL, COMBINATION = KINDS = ("The paper's methods", "Rivals", "Combinations")
"""In the order of every table and chart."""
_OF_THE_PAPER = (
    *("oracle", "baseline", "weight-l2", "ewc", "si", "feature-l2", "asg", "csg"),
    *("ibn-net", "domain-randomization"),  # of its segmentation
)
_PLAIN = ("baseline", "oracle")
"""Methods without a term of their own: with one option such a row is that option."""


def kind_of(info: RunInfo) -> str:
    """One of `KINDS`; a method of the paper is one only where nothing is added to it."""
    count, own = len(added(info)), info.method in _OF_THE_PAPER
    if not count:
        return PAPER if own else RIVAL
    return RIVAL if count == 1 and info.method in _PLAIN else COMBINATION
