"""The recipes that come with the package: the YAML files of this folder."""

from pathlib import Path
from typing import Any

from csg_train.yaml_files import read_yaml

__all__ = ["DEFAULT_RECIPE", "RECIPES", "packaged_recipe", "packaged_recipes"]

RECIPES = Path(__file__).parent
DEFAULT_RECIPE = "renders-photos"


def packaged_recipes() -> list[str]:
    """Their names, in order."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def packaged_recipe(name: str) -> dict[str, Any]:
    """One of them as data, over what it ``extends``, whose sections it replaces."""
    value: dict[str, Any] = read_yaml(RECIPES / f"{name}.yaml")
    base = packaged_recipe(value.pop("extends")) if "extends" in value else {}
    return base | value
