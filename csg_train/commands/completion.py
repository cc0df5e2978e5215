"""What a shell offers at the Tab key: names of recipes, and of methods after ``--set method.name=``."""

import click
from click.shell_completion import CompletionItem

from csg_train.methods.table import PLACES
from csg_train.recipes.packaged import packaged_recipes

__all__ = ["complete_override", "complete_recipe"]


def complete_recipe(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The packaged recipes that start so; files where none does."""
    names = [name for name in packaged_recipes() if name.startswith(incomplete)]
    return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="file")]


def complete_override(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """``method.name=`` with every method that it may name."""
    from csg_train.methods.declared import declaration

    choices = {f"method.name={name}": declaration(name).info.title for name in PLACES}
    return [CompletionItem(text, help=title) for text, title in choices.items() if text.startswith(incomplete)]
