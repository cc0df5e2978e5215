"""What a shell offers at the Tab key: names of recipes, and of methods after ``--set method.name=``."""

import click
from click.shell_completion import CompletionItem

from csg_train.methods import METHODS
from csg_train.recipe import RECIPES

__all__ = ["complete_override", "complete_recipe"]


def complete_recipe(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The packaged recipes that start so; files where none does."""
    names = sorted(path.stem for path in RECIPES.glob("*.yaml") if path.stem.startswith(incomplete))
    return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="file")]


def complete_override(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """``method.name=`` with every method that it may name."""
    choices = {f"method.name={method.info.name}": method.info.title for method in METHODS.values()}
    return [CompletionItem(text, help=title) for text, title in choices.items() if text.startswith(incomplete)]
