"""What a row is: a method of the paper, a rival of it, or a combination; and what it is called."""

from csg_train.methods.table import PLACES
from csg_train.runs.records import RunInfo

__all__ = ["COMBINATION", "KINDS", "PAPER", "RIVAL", "added", "kind_of", "name_of"]

PAPER, RIVAL, COMBINATION = KINDS = ("The paper's methods", "Rivals", "Combinations")
"""In the order of every table and chart."""
_LATER = ("miro", "gcisg")
"""Methods of this toolkit that the paper does not have."""
_PLAIN = ("baseline", "oracle")
"""Methods without a term of their own: with one option such a row is that option."""
_AVERAGES = {"ema": "EMA", "swad": "SWAD", "wise-ft": "WiSE-FT", "soup": "soup"}
_AUGMENTATIONS = {"pasta": "PASTA", "pasta+randaugment": "PASTA, RandAugment", "augmix": "AugMix"}


def added(info: RunInfo) -> list[str]:
    """What a run adds to its method, by the field's names; the probe that WiSE-FT starts from is part of it."""
    options, average = info.options, info.options.get("average")
    frozen = options.get("frozen")
    return [
        *(["ASG"] if info.method_config.get("asg_weight") else []),
        *(["LP-FT"] if options.get("probe") and average != "wise-ft" else []),
        *([f"frozen {', '.join(map(str, frozen))}"] if isinstance(frozen, list) else []),
        *([_AVERAGES.get(str(average), str(average))] if average else []),
        *([_AUGMENTATIONS.get(str(name), str(name))] if (name := options.get("augment")) else []),
    ]


def name_of(info: RunInfo) -> str:
    """``csg``, ``csg + ASG``, ``baseline + SWAD``."""
    return " + ".join([info.method, *added(info)])


def kind_of(info: RunInfo) -> str:
    """One of `KINDS`; a method of the paper is one only where nothing is added to it."""
    count, own = len(added(info)), info.method in PLACES and info.method not in _LATER
    if not count:
        return PAPER if own else RIVAL
    return RIVAL if count == 1 and info.method in _PLAIN else COMBINATION
