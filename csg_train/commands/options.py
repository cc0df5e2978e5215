"""The options that commands share, of both packages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from csg_train.console import console

if TYPE_CHECKING:
    import torch

__all__ = ["Commands", "device_option", "json_option"]


def _set_quiet(_context: click.Context, _parameter: click.Parameter, quiet: bool) -> None:
    console.quiet, console.stderr = quiet, False


def _set_json(_context: click.Context, _parameter: click.Parameter, as_json: bool) -> bool:
    console.stderr = as_json
    return as_json


def _device(context: click.Context, _parameter: click.Parameter, name: str) -> torch.device | None:
    if context.resilient_parsing:  # the Tab key asks what may follow; torch takes seconds to import
        return None
    from csg_train.devices import usable_device

    return usable_device(name)


class Commands(click.Group):
    """A group whose every command takes ``--quiet``."""

    group_class = type

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, with ``--quiet`` last among its options."""
        if not isinstance(cmd, click.Group):
            settings: dict[str, Any] = {"expose_value": False, "is_eager": True, "callback": _set_quiet}
            cmd.params.append(click.Option(["--quiet"], is_flag=True, help="Print errors only.", **settings))
        super().add_command(cmd, name)


json_option = click.option(
    "--json", "as_json", is_flag=True, callback=_set_json, help="Print JSON with every digit instead of a table."
)
device_option = click.option(
    "--device", default="auto", show_default=True, callback=_device, help="cpu, cuda, cuda:1 ..."
)
