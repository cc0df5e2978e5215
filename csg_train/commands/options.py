"""The options that commands share, of both packages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from csg_train.console import console
from csg_train.errors import UserError, memory_fault
from csg_train.program import needs_reader, of_several, start

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = ["Commands", "device_option", "json_option", "records_option"]


def _set_quiet(context: click.Context, _parameter: click.Parameter, quiet: bool) -> None:
    """Of torchrun's processes the first prints; all would do the whole of a command that does not share its work."""
    if of_several() and context.info_name not in ("run", "sweep") and not context.resilient_parsing:
        raise UserError(f"{context.info_name}: runs in one process; start it without torchrun (or unset WORLD_SIZE)")
    console.quiet = quiet or (of_several() and os.environ.get("RANK", "0") != "0")


def _set_table(_context: click.Context, _parameter: click.Parameter, as_json: bool) -> bool:
    console.stderr = as_json
    needs_reader()
    return as_json


def _set_records(_context: click.Context, _parameter: click.Parameter, as_json: bool) -> bool:
    console.stderr = as_json
    if as_json:
        needs_reader()
    return as_json


def _device(context: click.Context, _parameter: click.Parameter, name: str) -> torch.device | None:
    if context.resilient_parsing:  # the Tab key asks what may follow; torch takes seconds to import
        return None
    from csg_train.devices import usable_device

    return usable_device(name)


class _Path(click.Path):
    """As click's, but its command says itself what cannot be read; an empty one does not name the current folder."""

    def __init__(self, plain: click.Path) -> None:
        vars(self).update(vars(plain) | {"readable": False})

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail("empty; name a file or folder, or give . for the working directory", param, ctx)
        return super().convert(value, param, ctx)


class Commands(click.Group):
    """A group whose every command takes ``--quiet``; called without arguments, it is the program."""

    def main(self, args: Sequence[str] | None = None, *others: Any, **options: Any) -> Any:
        """Read the command line and run what it says."""
        if args is None:
            start()
        return super().main(args, *others, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what the system refuses where nobody expected it, a file or memory, is a line too."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.filename is None:
                raise
            raise UserError(f"{error.filename}: {error.strerror}; fix or replace it, or its folder") from error
        except (RuntimeError, MemoryError) as error:
            if str(error).startswith("Symlink loop"):  # of Path.resolve, before Python 3.13
                raise UserError(f"{error}: a link to itself; remove it or give another path") from error
            if (fault := memory_fault(error)) is None:
                raise
            raise fault from error
        finally:
            console.quiet = console.stderr = False  # what one command was asked for lasts no longer than it

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, with ``--quiet`` last among its options."""
        for given in cmd.params:
            if isinstance(given.type, click.Path):
                given.type = _Path(given.type)
        if not isinstance(cmd, click.Group):
            settings: dict[str, Any] = {"expose_value": False, "is_eager": True, "callback": _set_quiet}
            cmd.params.append(click.Option(["--quiet"], is_flag=True, help="Print errors only.", **settings))
        super().add_command(cmd, name)


_HELP = "Print JSON with every digit instead of a table."
json_option = click.option("--json", "as_json", is_flag=True, callback=_set_table, help=_HELP)
"""For commands whose table is what they are for."""
records_option = click.option("--json", "as_json", is_flag=True, callback=_set_records, help=_HELP)
"""For commands that go on when nobody listens, unless JSON is asked for."""
device_option = click.option(
    "--device", default="auto", show_default=True, callback=_device, help="auto (GPU if any), cpu, cuda, cuda:1"
)
