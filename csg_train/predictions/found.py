"""Pictures to predict: files as they are named, and the pictures at any depth below folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from csg_train.data.readers.images import ImageSet
from csg_train.data.readers.listing import LeftOut, left_out_end, left_out_line, listing
from csg_train.errors import UserError
from csg_train.names import absent

__all__ = ["Found", "find_pictures"]


@dataclass(frozen=True)
class Found:
    """Pictures, in the order in which they were asked for; those of a folder sorted.

    Attributes:
        images: Their paths from the working directory, as a set whose labels say nothing.
        names: Of each its path below the folder that was asked for, or the file's own name.
        left_out: Files below the folders that are no pictures, in words; empty where there are none.
    """

    images: ImageSet
    names: tuple[str, ...]
    left_out: str


def find_pictures(paths: Sequence[Path], classes: Sequence[str]) -> Found:
    """List the pictures of files and folders; none is opened.

    Args:
        paths: A file counts whatever its name; of a folder the files that `data.readers.listing` takes for pictures.
        classes: Of the network.

    Raises:
        UserError: A path is not there, a folder cannot be read, or no picture is among them.
    """
    files: list[str] = []
    names: list[str] = []
    left_out: list[LeftOut] = []
    for path in paths:
        if path.is_dir():
            below = listing(path, path)
            files += [str(path / file) for file in below.files]
            names += below.files
            left_out += below.left_out
        elif path.exists():
            files.append(str(path))
            names.append(path.name)
        else:
            raise UserError(f"{path}: no such file or folder{absent(path)}; check the path")
    if not files:
        others = left_out_end(left_out)
        raise UserError(f"{', '.join(map(str, paths))}: no pictures{others}; give files or folders of pictures")
    images = ImageSet("pictures", Path(), tuple(files), (0,) * len(files), tuple(classes))
    return Found(images, tuple(names), left_out_line(left_out))
