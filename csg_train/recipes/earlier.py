"""Recipes that a run of an earlier version saved; one that somebody writes has today's defaults."""

from pathlib import Path
from typing import Any

from csg_train.methods import earlier

__all__ = ["as_trained", "is_of_a_run"]


def as_trained(recipe: Any) -> Any:
    """A saved recipe, as plain data, with the values that its run had of fields added since."""
    match recipe:
        case {"method": {"name": str(name), **fields}}:
            return recipe | {"method": {"name": name} | earlier.as_trained(name, fields)}
    return recipe


def is_of_a_run(path: Path) -> bool:
    """Whether a recipe's file was written by a run: it lies beside the run's log."""
    return path.name == "recipe.yaml" and path.with_name("log.jsonl").exists()
