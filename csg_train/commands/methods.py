"""``csg-train methods``: what there is to train."""

from dataclasses import asdict

import click

from csg_train.commands.options import json_option
from csg_train.console import console, print_json
from csg_train.methods.declared import declaration
from csg_train.methods.table import PLACES

__all__ = ["methods"]


@click.command()
@json_option
def methods(as_json: bool) -> None:
    """List every method: what it is, its equation, its source."""
    from pydantic import TypeAdapter

    declared = [declaration(name) for name in PLACES]
    fields = [TypeAdapter(method.Config).json_schema().get("properties", {}) for method in declared]
    if as_json:
        pairs = zip(declared, fields, strict=True)
        print_json([asdict(method.info) | {"fields": own} for method, own in pairs])
        return
    for method, own in zip(declared, fields, strict=True):
        info = method.info
        console.print(info.name, style="bold", end="", highlight=False)
        console.print(f"  {info.title}\n  {info.summary}", highlight=False)
        console.print(f"  {info.equation}\n  {info.source}", highlight=False, markup=False)
        words = [f"{name}={field.get('default', 'required')}" for name, field in own.items()]
        console.print(f"  fields: {', '.join(words) or 'none'}\n", highlight=False, markup=False)
