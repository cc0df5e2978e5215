"""The words for a recipe's three splits, for what a split is scored with, and for the rules that choose a step."""

from typing import Literal, get_args

__all__ = ["RULES", "SCORES", "SELECTED_ON", "SPLITS", "Rule"]

SPLITS = ("source", "validation", "target")

SCORES = ("accuracy", "segmentation", "unlabelled")
"""Kinds of the record of what a checkpoint is worth on a split, which has one of them."""

Rule = Literal["last", "source-val", "oracle"]
"""Who chose the step that a number was measured at: nobody (``last``), or the highest accuracy on held-out synthetic
pictures (``source-val``) or on the target itself (``oracle``, never fit for a comparison with other rules)."""

RULES: tuple[Rule, ...] = get_args(Rule)
"""In the order of what they saw: of weights that several rules chose, the last of theirs is the one to name."""

SELECTED_ON = {"source-val": "validation", "oracle": "target"}
"""The split that a rule measures while it trains; ``last`` measures none."""
