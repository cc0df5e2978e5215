"""Names of files and classes, as people and file systems write them: which are refused, and why one is not found."""

import html
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from csg_train.errors import UserError

__all__ = ["absent", "in_markdown", "other_form", "require_plain", "unfit"]

_FOREIGN = "is not UTF-8"
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def require_plain(names: Iterable[str], origin: object) -> None:
    """Refuse names that are not UTF-8 or hold a line break or another control character.

    They stand in identities, records and tables, where such a name could not be told from others.

    Args:
        names: Of files or classes.
        origin: The folder or list that has them.

    Raises:
        UserError: For the first such name.
    """
    for name in names:
        if fault := unfit(name):
            mend = "rename it (convmv -f latin1 -t utf8 does a whole folder)" if fault == _FOREIGN else "rename it"
            raise UserError(f"{origin}: the name {name!a} {fault}; {mend}")


def unfit(name: str) -> str | None:
    """Why no record can hold a name: not UTF-8, or a control character; None of another."""
    if (found := _UNFIT.search(name)) is None:
        return None
    return _FOREIGN if "\ud800" <= found[0] <= "\udfff" else f"holds the control character {found[0]!a}"


def other_form(name: str, others: Iterable[str]) -> str | None:
    """The one of ``others`` that differs from ``name`` in its Unicode normal form alone: they look the same."""
    composed = unicodedata.normalize("NFC", name)
    return next((other for other in others if other != name and unicodedata.normalize("NFC", other) == composed), None)


def in_markdown(value: object) -> str:
    """Text that Markdown shows as it is, also in a table cell."""
    text = html.escape(str(value), quote=False)
    for letter in "\\`*_[]|#":
        text = text.replace(letter, f"\\{letter}")
    return " ".join(text.split())


def absent(path: Path) -> str:
    """What explains that a path is not there, to stand behind its name: empty, or a remark in brackets."""
    if path.is_file():
        return " (there is a file of that name)"
    if path.is_symlink():
        return f" (it links to {str(path.readlink())!r}, where nothing is)"
    missing = next(part for part in (*reversed(path.parents), path, path) if part == path or not os.path.lexists(part))
    try:
        beside = [path.name for path in missing.parent.iterdir()]
    except OSError:
        beside = []
    if (other := other_form(missing.name, beside)) is not None:
        return f" (there is {other!a}, the same letters in another Unicode form than {missing.name!a})"
    if "\\" in str(path):
        return " (it holds backslashes; folders are separated by /)"
    if str(path).startswith("~"):
        return " (no shell has replaced its ~; write the home folder out)"
    return "" if path.is_absolute() else f" (it starts at the working directory, {_working_directory()})"


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # removed meanwhile
        return "which is gone"
