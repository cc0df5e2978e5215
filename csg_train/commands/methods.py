"""``csg-train methods``: what there is to train."""

from dataclasses import asdict

import click

from csg_train.commands.options import json_option
from csg_train.console import console, print_json
from csg_train.methods.declared import declaration
from csg_train.methods.info import MethodInfo
from csg_train.methods.options import OPTIONS
from csg_train.methods.table import PLACES

__all__ = ["methods"]


@click.command()
@json_option
def methods(as_json: bool) -> None:
    """List every method and option: what it is, its equation, its source, how it deviates, what it costs.

    Options are what any method may be combined with, by the fields of a recipe or csg-train average.
    """
    from pydantic import TypeAdapter

    declared = [declaration(name) for name in PLACES]
    fields = [TypeAdapter(method.Config).json_schema().get("properties", {}) for method in declared]
    if as_json:
        pairs = zip(declared, fields, strict=True)
        rows = [asdict(method.info) | {"fields": own} for method, own in pairs]
        print_json([*rows, *(asdict(option) for option in OPTIONS)])
        return
    for method, own in zip(declared, fields, strict=True):
        _say(method.info)
        words = [f"{name}={field.get('default', 'required')}" for name, field in own.items()]
        console.print(f"  fields: {', '.join(words) or 'none'}\n")
    console.print("What any method may be combined with:\n")
    for option in OPTIONS:
        _say(option)
        console.print(f"  {option.field}\n")


def _say(info: MethodInfo) -> None:
    console.print(info.name, style="bold", end="")
    console.print(f"  {info.title}\n  {info.summary}")
    lines = [info.equation, info.source, f"deviation: {info.deviation}", f"cost: {info.cost}"]
    console.print("\n".join(f"  {line}" for line in lines))
