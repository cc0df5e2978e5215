"""The recipes that come with the package: the YAML files of this folder."""

from pathlib import Path

__all__ = ["DEFAULT_RECIPE", "RECIPES", "packaged_recipes"]

RECIPES = Path(__file__).parent
DEFAULT_RECIPE = "renders-photos"


def packaged_recipes() -> list[str]:
    """Their names, in order."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))
