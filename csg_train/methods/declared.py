"""What a method's module declares, without running the rest of it: torch takes seconds to import, a list must not.

A module declares itself in its first lines, whose only needs are ``typing``, ``pydantic``, `config` and `MethodInfo`: a
dataclass with its fields, and the class attributes ``info`` and ``Config``. Those statements alone are compiled and
run. A module whose declaration needs more is imported.
"""

import ast
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from csg_train.methods.info import MethodInfo
from csg_train.methods.table import METHODS, PLACES

__all__ = ["Declaration", "declaration"]

_NEEDED = ("typing", "pydantic", "pydantic.dataclasses", "csg_train.methods.config", MethodInfo.__module__)


@dataclass(frozen=True)
class Declaration:
    """A method's words, and the dataclass of its fields; equal to those of the class itself."""

    info: MethodInfo
    Config: type[Any]


@cache
def declaration(name: str) -> Declaration:
    """What the method ``name`` of the table declares."""
    stem, _, kind = PLACES[name].partition(":")
    path = Path(__file__).with_name(f"{stem}.py")
    body = [part for node in ast.parse(path.read_text(encoding="utf-8")).body for part in _declaring(node, kind)]
    module = ModuleType(f"csg_train.methods.{stem} (declared)")
    sys.modules[module.__name__] = module  # where pydantic looks up the annotations
    try:
        exec(compile(ast.Module(body, []), str(path), "exec"), module.__dict__)  # noqa: S102, our own source
    except NameError:
        return Declaration(METHODS[name].info, METHODS[name].Config)
    return Declaration(module.__dict__["info"], module.__dict__["Config"])


def _declaring(node: ast.stmt, kind: str) -> list[ast.stmt]:
    """The statement itself, of the class ``kind`` what it says of itself, or nothing."""
    if isinstance(node, ast.ImportFrom):
        return [node] if node.module in _NEEDED else []
    if not isinstance(node, ast.ClassDef):
        return []
    if node.name != kind:
        return [node] if node.decorator_list else []
    return [
        part
        for part in node.body
        if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) in ("info", "Config")
    ]
