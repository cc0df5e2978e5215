"""Which files below a folder are pictures of a set: one rule for every layout. What it leaves out is listed beside.

A name that begins with a dot and the folders and files of operating systems are left out, with all that is below; so
are other types than `IMAGE_SUFFIXES`, what is no regular file, and links to a folder that they lie in. All other links
are followed. A folder that cannot be read is an error, and so is later a picture that cannot be.
"""

import errno
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from csg_train.errors import UserError, printable
from csg_train.names import absent

__all__ = [
    "IMAGE_SUFFIXES",
    "LeftOut",
    "Listing",
    "class_folders",
    "left_out_end",
    "left_out_line",
    "listing",
    "reason_by_name",
]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_SYSTEM = re.compile(
    r"__macosx|network trash folder|temporary items|icon\r"  # macOS
    r"|system volume information|\$recycle\.bin|recycler|recycled|found\.\d{3}|thumbs\.db|ehthumbs.*\.db|desktop\.ini"
    r"|@eadir|@tmp|@recycle|@recently-snapshot|#recycle|#snapshot|~snapshot"  # storage on the network
    r"|lost\+found",
    re.IGNORECASE,
)
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that does not count, relative to the set's root and printable, and the reason."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Pictures below a folder, and what is left out: sorted, POSIX, relative to the set's root."""

    files: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


def listing(root: Path, folder: Path) -> Listing:
    """Apply the rule to everything at any depth below ``folder``.

    Raises:
        UserError: A folder is missing or cannot be read.
    """
    start = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    real = root.resolve()
    above = frozenset(map(str, (real, *real.parents)))
    found = list(_walk(folder, start, above))
    files = sorted(file for file, reason in found if reason is None)
    left_out = sorted((file, reason) for file, reason in found if reason is not None)
    return Listing(tuple(files), tuple(LeftOut(printable(file), reason) for file, reason in left_out))


def class_folders(root: Path) -> Listing:
    """The folders of a set with one for each class, and what lies beside them."""
    folders, left_out = [], []
    for entry in _entries(root):
        reason = reason_by_name(entry.name) or (None if _is_folder(entry) else "not in the folder of a class")
        if reason is None:
            folders.append(entry.name)
        else:
            left_out.append(LeftOut(printable(entry.name), reason))
    return Listing(tuple(sorted(folders)), tuple(left_out))


def left_out_line(left_out: Sequence[LeftOut]) -> str:
    """Counts by reason, each with its first names: ``2 hidden (a/.x, b/.y); 1 of type .gif (a/1.gif)``."""
    groups = defaultdict(list)
    for one in left_out:
        groups[one.reason].append(one.file)
    return "; ".join(
        f"{len(files)} {reason} ({', '.join(files[:_SHOWN])}{', ...' if len(files) > _SHOWN else ''})"
        for reason, files in sorted(groups.items())
    )


def left_out_end(left_out: Sequence[LeftOut]) -> str:
    """The same as the end of an error, where something was left out."""
    return f" (left out: {left_out_line(left_out)})" if left_out else ""


def _walk(folder: Path, start: str, above: frozenset[str]) -> Iterator[tuple[str, str | None]]:
    """Every file below a folder with the reason to leave it out, None for a picture; folders left out are one entry."""
    above |= {os.path.realpath(folder)}
    for entry in _entries(folder):
        file, suffix = start + entry.name, Path(entry.name).suffix.lower()
        if reason := reason_by_name(entry.name):
            yield file, reason
        elif _is_folder(entry):
            if os.path.realpath(entry.path) in above:
                yield file, "linked to a folder that it lies in"
            else:
                yield from _walk(folder / entry.name, f"{file}/", above)
        elif suffix not in IMAGE_SUFFIXES:
            yield file, f"of type {suffix}" if suffix else "without a type"
        elif not (folder / entry.name).exists() or entry.is_file():  # a link to nothing is a picture that is missing
            yield file, None
        else:
            yield file, "not a regular file"


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{folder}: no such folder{absent(folder)}; check the path") from error
    except OSError as error:
        raise UserError(
            f"{folder}: cannot read the folder ({error.strerror}); make it readable or remove it"
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one; a link to itself is one to nothing."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def reason_by_name(name: str) -> str | None:
    """Why a file or folder of that name is left out, None where it is not."""
    if name.startswith("."):
        return "hidden"
    return "of an operating system" if _SYSTEM.fullmatch(name) else None
