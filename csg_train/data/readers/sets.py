"""Sets of either kind: several as one, parts of one, and pictures of the user without labels."""

import dataclasses
import hashlib
import re
from collections import Counter
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


def hold_out(images: AnySet, fraction: float, group: str | None = None) -> tuple[AnySet, AnySet]:
    """Split a set in two: what is left, and the share of every class that is held out; of pictures with masks, of all.

    The files of a class with the smallest hashes of their names are held out, so neither the order of the list nor a
    seed matters, and a picture more or less moves few others. Renders of one object may fall on both sides, unless
    ``group`` keeps them together: then groups are counted, by the hashes of their texts. One that several classes share
    is held out for all of them, so a class may lose more than its share.

    Args:
        images: The whole set.
        fraction: Share of each class's files, of 0 to 1; at least one file goes to either side.
        group: A regular expression; the files in whose paths below the root its first group, or all of it where it has
            none, finds the same text stay on one side.

    Raises:
        UserError: A class has fewer than two files or groups, no group of it can go to either side, or ``group`` finds
            nothing in a path.
    """
    labels, names = (images.labels, images.classes) if isinstance(images, ImageSet) else ((0,) * len(images), ("",))
    texts = _groups(images, group)
    classes_of: dict[str, set[int]] = {}
    for label, text in zip(labels, texts, strict=True):
        classes_of.setdefault(text, set()).add(label)
    counts = Counter(label for own in classes_of.values() for label in own)
    wanted = {label: min(max(round(fraction * count), 1), count - 1) for label, count in counts.items()}
    held, taken = set[str](), Counter[int]()
    for text in sorted(classes_of, key=lambda text: hashlib.sha256(text.encode()).digest()):
        own = classes_of[text]
        spare = all(taken[one] < counts[one] - 1 for one in own)
        if spare and any(taken[one] < wanted[one] for one in own):
            held.add(text)
            taken.update(own)
    what = "picture(s)" if group is None else "group(s) by data.validation.group"
    for label, name in enumerate(names):
        if not taken[label]:
            has = f"{f'class {name} has ' if name else ''}{counts[label]} {what}"
            shared = ", all shared with classes that need them," if counts[label] > 1 else ","
            raise UserError(
                f"{images.root}: {has}{shared} and holding some out takes two; add pictures or choose another "
                "data.validation"
            )
    sides = [text in held for text in texts]
    return _side(images, sides, False, images.name), _side(images, sides, True, f"{images.name} held out")


def _groups(images: AnySet, group: str | None) -> Sequence[str]:
    if group is None:
        return images.files
    pattern = re.compile(group)
    found = []
    for file in images.files:
        match = pattern.search(file)
        text = match and match[1 if pattern.groups else 0]
        if text is None:
            raise UserError(f"data.validation.group: {group!r} finds nothing in {file}; it is searched in every path")
        found.append(text)
    return found


def _side(images: AnySet, sides: Sequence[bool], side: bool, name: str) -> AnySet:
    chosen = images.part([index for index, other in enumerate(sides) if other == side])
    whole = {"expected": None} if isinstance(images, ImageSet) else {}  # the official counts are those of the whole set
    return dataclasses.replace(chosen, name=name, **whole)  # type: ignore[arg-type]


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
