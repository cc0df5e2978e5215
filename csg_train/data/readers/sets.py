"""Sets of either kind: several as one, parts of one, and pictures of the user without labels."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from csg_train.data.readers.images import ImageSet
from csg_train.data.readers.listing import LeftOut, listing
from csg_train.data.readers.masks import MaskedSet
from csg_train.errors import UserError, printable
from csg_train.names import absent
from csg_train.seeds import random_for

__all__ = ["AnySet", "hold_out", "merge", "pick", "sample", "unlabelled"]

_Set = TypeVar("_Set", ImageSet, MaskedSet)
AnySet = ImageSet | MaskedSet
"""Pictures with a class each, or with a mask each."""


def merge(parts: Sequence[ImageSet]) -> ImageSet:
    """Several domains of the same classes as one set, files relative to their common parent folder."""
    root = parts[0].root.parent
    files = tuple(part.path(i).relative_to(root).as_posix() for part in parts for i in range(len(part)))
    return dataclasses.replace(
        parts[0],
        name="+".join(part.name for part in parts),
        root=root,
        files=files,
        labels=tuple(label for part in parts for label in part.labels),
        licence="; ".join(dict.fromkeys(part.licence for part in parts)),
        left_out=tuple(
            LeftOut((part.root / one.file).relative_to(root).as_posix(), one.reason)
            for part in parts
            for one in part.left_out
        ),
    )


def hold_out(images: ImageSet, fraction: float) -> tuple[ImageSet, ImageSet]:
    """Split a set in two: what is left, and the share of every class that is held out.

    The files of a class with the smallest hashes of their names are held out, so neither the order of the list nor a
    seed matters, and a picture more or less moves few others. Renders of one object may fall on both sides.

    Args:
        images: The whole set.
        fraction: Share of each class's files, of 0 to 1; at least one file goes to either side.

    Raises:
        UserError: A class has fewer than two files.
    """
    held: set[tuple[int, str]] = set()
    files: list[set[str]] = [set() for _ in images.classes]
    for file, label in zip(images.files, images.labels, strict=True):
        files[label].add(file)
    for label, (name, own) in enumerate(zip(images.classes, files, strict=True)):
        if len(own) < 2:
            raise UserError(
                f"{images.root}: class {name} has {len(own)} picture(s), and holding some out takes two; add pictures "
                "or choose another data.validation"
            )
        ordered = sorted(own, key=lambda file: hashlib.sha256(file.encode()).digest())
        held |= {(label, file) for file in ordered[: min(max(round(fraction * len(own)), 1), len(own) - 1)]}
    sides = [(label, file) in held for label, file in zip(images.labels, images.files, strict=True)]
    return _part(images, sides, False, images.name), _part(images, sides, True, f"{images.name} held out")


def _part(images: ImageSet, sides: Sequence[bool], side: bool, name: str) -> ImageSet:
    chosen = images.part([index for index, other in enumerate(sides) if other == side])
    return dataclasses.replace(chosen, name=name, expected=None)  # the official counts are those of the whole set


def pick(images: AnySet, per_class: int) -> AnySet:
    """``per_class`` pictures of each class, drawn with a fixed seed: no look at any prediction.

    A class with fewer gives all it has. Of pictures with masks, which show several classes, or without labels, as many
    in all.
    """
    if isinstance(images, MaskedSet):
        return sample(images, per_class * len(images.classes))
    if not images.labelled:
        return sample(images, per_class * len(images.classes))
    chosen: list[int] = []
    for label, name in enumerate(images.classes):
        own = [index for index, other in enumerate(images.labels) if other == label]
        chosen += sorted(random_for(0, "gallery", name).sample(own, min(per_class, len(own))))
    return dataclasses.replace(images.part(chosen), expected=None)


def sample(images: _Set, number: int) -> _Set:
    """``number`` pictures, or all if there are fewer, drawn with a fixed seed, in file order."""
    chosen = sorted(random_for(0, "gallery").sample(range(len(images)), min(number, len(images))))
    return images.part(chosen)


def unlabelled(path: Path, classes: Sequence[str], *, name: str | None = None) -> ImageSet:
    """One picture, or every picture below a folder, without labels: ``labelled`` is False, and 0 stands for each.

    Raises:
        UserError: No such file or folder, one that cannot be read, or one without pictures.
    """
    left_out: tuple[LeftOut, ...] = ()
    if path.is_dir():
        found = listing(path, path)
        root, files, left_out = path, found.files, found.left_out
    elif path.is_file():
        root, files = path.parent, (path.name,)
    else:
        raise UserError(f"{path}: no such file or folder{absent(path)}; check the path")
    return ImageSet(
        name=name or printable(path.resolve().name),
        root=root,
        files=files,
        labels=(0,) * len(files),
        classes=tuple(classes),
        left_out=left_out,
        labelled=False,
    )
