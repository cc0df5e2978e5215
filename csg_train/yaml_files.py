"""Reading YAML of others as plain data: no objects, no aliases, no numbers or files without bound."""

from pathlib import Path
from typing import Any

import yaml

from csg_train.errors import UserError

__all__ = ["parse_yaml", "read_yaml"]

_CHARACTERS = 1 << 16


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # a few lines of them stand for more values than memory holds
            raise ValueError("an alias (*name); write its value out")
        return super().compose_node(parent, index)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    value: int = loader.construct_yaml_int(node)
    if abs(value) >= 1 << 63:
        raise ValueError(f"line {node.start_mark.line + 1}: a number of more than 63 bits")
    return value


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def parse_yaml(text: str) -> Any:
    """The plain value of a YAML document.

    Raises:
        ValueError: Not YAML, more than 65,536 characters, an alias, or nested too deeply.
    """
    if len(text) > _CHARACTERS:
        raise ValueError(f"{len(text)} characters, more than {_CHARACTERS}")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except Exception as error:  # its constructors raise many types
        raise ValueError(str(error) or type(error).__name__) from error


def read_yaml(path: Path) -> Any:
    """The plain value of a YAML file.

    Raises:
        FileNotFoundError: No such file.
        UserError: Unreadable, or as `parse_yaml`.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable YAML file ({error}); mend it") from error
