"""What runs are called in tables and figures: the method, what is added to it, and what sets it apart from others."""

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

from csg_train.methods.earlier import as_trained
from csg_train.runs.records import RunInfo

__all__ = ["added", "average_title", "name_of", "row_labels", "settings_of"]

_AVERAGES = {"ema": "EMA", "swad": "SWAD", "wise-ft": "WiSE-FT", "soup": "soup"}
_AUGMENTATIONS = {"pasta": "PASTA", "pasta+randaugment": "PASTA, RandAugment", "augmix": "AugMix"}

_Key = TypeVar("_Key", bound=Hashable)


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


def average_title(averaged: Mapping[str, Any]) -> str:
    """What an average is of, for the title of a table."""
    rule = averaged["rule"]
    if "of" not in averaged:
        return f"the average of steps {averaged['first_step']} to {averaged['last_step']} ({rule})"
    alpha = f", alpha {averaged['alpha']:g}" if rule == "wise-ft" else ""
    return f"the average of {len(averaged['of'])} checkpoints ({rule}{alpha})"


def settings_of(info: RunInfo) -> dict[str, object]:
    """What sets two runs of a method apart: its fields, and what it is combined with."""
    return _fields(info) | _options(info)


def _fields(info: RunInfo) -> dict[str, object]:
    """Of its method, with those that an earlier version did not know at the value that it trained with."""
    return as_trained(info.method, info.method_config)


def _options(info: RunInfo) -> dict[str, object]:
    """As in the record; one that is called like a field of the method (``beta``, of PASTA) is ``options.NAME``."""
    own = _fields(info)
    return {f"options.{name}" if name in own else name: value for name, value in info.options.items()}


def row_labels(infos: Mapping[_Key, RunInfo]) -> dict[_Key, str]:
    """The name of each, with the fields that set the runs of a method and those of a name apart.

    Runs that differ in no setting of the method, as in the seed, have the same label.
    """
    labels = {}
    for key, info in infos.items():
        method = [_without_asg(other) for other in infos.values() if other.method == info.method]
        named = [other for other in infos.values() if name_of(other) == name_of(info)]
        parts = {
            **_varying(_without_asg(info), method),
            **_varying(_fields(info), [_fields(other) for other in named]),
            **_varying(_options(info), [_options(other) for other in named]),
        }
        shown = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in parts.items()]
        labels[key] = " ".join([name_of(info), *shown])
    return labels


def _without_asg(info: RunInfo) -> dict[str, object]:
    return {name: value for name, value in _fields(info).items() if name != "asg_weight"}


def _varying(own: Mapping[str, object], others: Sequence[Mapping[str, object]]) -> dict[str, object]:
    return {name: own[name] for name in sorted(own) if any(other.get(name) != own[name] for other in others)}
