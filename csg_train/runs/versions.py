"""Which versions wrote a file: a toolkit that is newer may say what this one does not know."""

import functools
import importlib.metadata
from typing import Any

from csg_train import __version__
from csg_train.errors import printable

__all__ = ["installed", "written_by"]

_version = functools.cache(importlib.metadata.version)  # read from a file, and every checkpoint asks


def installed() -> dict[str, str]:
    """Versions of the packages on which a run's or a measurement's numbers depend."""
    packages = ("csg-toolkit", "numpy", "pillow", "timm", "torch", "torchvision")
    return {name: _version(name) for name in packages}


def written_by(versions: Any) -> str:
    """To stand at the end of an error about a file's content: empty, or that another version wrote it.

    Args:
        versions: Of Python packages, as the file has them, whatever that is.
    """
    theirs = versions.get("csg-toolkit") if isinstance(versions, dict) else None
    if not isinstance(theirs, str) or theirs == __version__:
        return ""
    return f"; csg-toolkit {printable(theirs)} wrote it, and this is {__version__}: read it with that one"
