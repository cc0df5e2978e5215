"""Which version of the toolkit wrote a file: one that is newer may say what this one does not know."""

from typing import Any

from csg_train import __version__
from csg_train.errors import printable

__all__ = ["written_by"]


def written_by(versions: Any) -> str:
    """To stand at the end of an error about a file's content: empty, or that another version wrote it.

    Args:
        versions: Of Python packages, as the file has them, whatever that is.
    """
    theirs = versions.get("csg-toolkit") if isinstance(versions, dict) else None
    if not isinstance(theirs, str) or theirs == __version__:
        return ""
    return f"; csg-toolkit {printable(theirs)} wrote it, and this is {__version__}: read it with that one"
