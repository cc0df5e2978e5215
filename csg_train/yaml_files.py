"""Reading YAML of others as plain data: no objects, no aliases, no numbers or files without bound."""

import re
from pathlib import Path
from typing import Any

import yaml

from csg_train.errors import UserError
from csg_train.files import foreign_content

__all__ = ["parse_yaml", "parse_yaml_value", "read_yaml"]

_CHARACTERS = 1 << 16
_LEVELS = 50


class _Loader(yaml.SafeLoader):
    _level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):  # a few lines of them stand for more values than memory holds
            raise ValueError("an alias (*name); write its value out")
        if self._level == _LEVELS:  # each takes time in proportion to those above it
            raise ValueError(f"values nested more than {_LEVELS} deep")
        self._level += 1
        node = super().compose_node(parent, index)
        self._level -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":  # what it brings may be written twice, and unseen
                raise ValueError(f"line {line}: a merge key (<<); write its values out")
            if (first := lines.get((key.tag, key.value))) is not None:  # YAML itself would keep the last
                raise ValueError(f"{key.value}: written twice, in lines {first} and {line}; keep one")
            lines[key.tag, key.value] = line
        return node


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    value: int = loader.construct_yaml_int(node)
    if abs(value) >= 1 << 63:
        raise ValueError(f"line {node.start_mark.line + 1}: a number of more than 63 bits")
    _require_decimal(node, value)
    return value


def _real(loader: _Loader, node: yaml.ScalarNode) -> float:
    value: float = loader.construct_yaml_float(node)
    _require_decimal(node, value)
    return value


def _require_decimal(node: yaml.ScalarNode, value: float) -> None:
    """Refuse octal and sexagesimal numbers, which nobody means."""
    if _ODD.match(node.value):
        found = f"line {node.start_mark.line + 1}: {node.value} is {value} in YAML"
        raise ValueError(f"{found}; write the number that is meant, or put text in quotes")


_ODD = re.compile(r"[-+]?0[0-7_]+$|.*:")
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _real)


def parse_yaml(text: str) -> Any:
    """The plain value of a YAML document.

    Raises:
        ValueError: Not YAML, more than 65,536 characters, an alias, a key twice, or nested more than 50 deep.
    """
    if len(text) > _CHARACTERS:
        raise ValueError(f"{len(text)} characters, more than {_CHARACTERS}")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except Exception as error:  # its constructors raise many types
        raise ValueError(str(error) or type(error).__name__) from error


def parse_yaml_value(text: str) -> Any:
    """`parse_yaml` of one value on a command line, where a comment is a mistake: the rest of a name after `` #``.

    Raises:
        ValueError: As `parse_yaml`, or a comment.
    """
    value = parse_yaml(text)
    if isinstance(value, str | int | float | None) and " #" in text and text.strip()[-1] not in "'\"":
        raise ValueError(f"what follows ' #' is a comment; put the value in quotes: '\"{text.strip()}\"'")
    return value


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
    except PermissionError as error:
        raise UserError(f"{path}: {error.strerror}; make it readable") from error
    except (OSError, ValueError) as error:
        found = foreign_content(path) or error
        raise UserError(f"{path}: not a readable YAML file ({found}); fix it") from error
