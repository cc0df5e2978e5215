"""Recipes that a run of an earlier version saved: a field that it did not know keeps the value that it trained with.

Saved recipes are resolved, so what they lack was added later. Most such fields default to what was done before; those
that do not are listed here. A recipe that somebody writes has today's defaults.
"""

from pathlib import Path
from typing import Any

__all__ = ["as_trained", "is_of_a_run"]

_METHOD_FIELDS = {
    **{name: {"update": "gradient"} for name in ("weight-l2", "ewc", "si")},
    "domain-randomization": {"first": "styled", "over_styles": "sum"},
}


def as_trained(recipe: Any) -> Any:
    """A saved recipe, as plain data, with the values that its run had of fields added since."""
    match recipe:
        case {"method": {"name": str(name), **fields}} if name in _METHOD_FIELDS:
            return recipe | {"method": {"name": name} | _METHOD_FIELDS[name] | fields}
    return recipe


def is_of_a_run(path: Path) -> bool:
    """Whether a recipe's file was written by a run: it lies beside the run's log."""
    return path.name == "recipe.yaml" and path.with_name("log.jsonl").exists()
