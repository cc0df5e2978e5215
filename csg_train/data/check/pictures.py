"""What a data set holds: counts, exact duplicates, files that do not decode, licence and identity."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from csg_train.data.readers.images import ImageSet, decode, require_visible
from csg_train.data.readers.listing import LeftOut, left_out_line
from csg_train.data.readers.sets import AnySet
from csg_train.errors import UserError

__all__ = [
    "BadFile",
    "Check",
    "Duplicate",
    "Seen",
    "Shared",
    "check_pictures",
    "creator_lines",
    "duplicate_lines",
    "duplicates_of",
    "files_of",
    "identity_line",
    "known_identity",
    "pixel_hash",
    "see_through",
    "shared_lines",
    "shortened",
    "transparent_lines",
]

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that does not decode, and the reason."""

    file: str
    message: str


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Files with equal pixels; ``labels_differ`` when they lie in different classes, so at least one label is wrong."""

    files: tuple[str, ...]
    labels_differ: bool


@dataclass(frozen=True, slots=True)
class Shared:
    """A picture whose pixels another split has too."""

    file: str
    split: str
    other: str


@dataclass(frozen=True, slots=True)
class Check:
    """Result of `check_pictures`.

    Attributes:
        name: Name of the image set.
        pictures: Files, bad ones included.
        counts: Files of each class likewise; empty without labels.
        duplicates: Groups of files with equal pixels, in file order.
        shared: Files with the pixels of one in a split that was looked at before.
        bad: Files that do not decode.
        licence: Licence of the pictures.
        identity: Identity of the set, or None where a file is missing.
        left_out: Files and folders beside the pictures that do not count, and why.
        expected: Official count of each class, where the data set has one.
        transparent: Files in which something is seen through.
        creators: Who made the pictures, where a demo names them.
    """

    name: str
    pictures: int
    counts: dict[str, int]
    duplicates: tuple[Duplicate, ...]
    bad: tuple[BadFile, ...]
    licence: str
    identity: str | None
    expected: dict[str, int] | None = None
    left_out: tuple[LeftOut, ...] = ()
    shared: tuple[Shared, ...] = ()
    transparent: int = 0
    creators: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """The findings for people, one line each; long lists end in a count of what is left out."""
        unlabelled = "" if self.counts else ", without labels: accuracy on them stays unknown"
        yield f"{self.pictures} pictures{unlabelled}; licence: {self.licence}"
        yield from creator_lines(self.creators)
        yield identity_line(self.identity)
        if self.left_out:
            yield f"left out: {left_out_line(self.left_out)}"
        if self.expected is not None:
            other = [
                f"{name} has {self.counts[name]}, not {count}"
                for name, count in self.expected.items()
                if self.counts[name] != count
            ]
            yield f"official counts: {'; '.join(other) or 'all agree'}"
        yield from transparent_lines(self.transparent, "white, or data.background in training")
        yield from duplicate_lines(self.duplicates, "CLASSES")
        yield from shared_lines(self.shared)
        yield from shortened([f"bad file: {bad.message}" for bad in self.bad], "bad files") or ["no bad files"]


def creator_lines(creators: Sequence[str]) -> list[str]:
    """The first names, and how many there are."""
    more = f" and {len(creators) - _SHOWN} more (CREDITS.csv beside the data)" * (len(creators) > _SHOWN)
    return [f"by {'; '.join(creators[:_SHOWN])}{more}"] * (len(creators) > 0)


def identity_line(identity: str | None) -> str:
    """The start of an identity, and what it rests on."""
    if identity is None:
        return "identity unknown, for a file is missing"
    return f"identity {identity[:16]}, of names, labels and file sizes; other pixels in as many bytes do not change it"


def see_through(image: Image.Image, path: Path) -> bool:
    """Whether a decoded picture is transparent somewhere; one that is everywhere is refused (`require_visible`)."""
    require_visible(image, path)
    return image.mode == "RGBA" and bool((np.asarray(image)[..., 3] < 255).any())


def transparent_lines(count: int, under: str) -> list[str]:
    """What becomes of transparency."""
    return [f"pictures with transparency: {count}; under it is {under}"] * (count > 0)


def known_identity(images: AnySet) -> str | None:
    """The identity of a set, or None where a file is missing."""
    try:
        return images.identity
    except UserError:
        return None


def shortened(lines: list[str], what: str) -> list[str]:
    """The first lines, and how many more of ``what`` there are."""
    left = len(lines) - _SHOWN
    return lines if left <= 0 else [*lines[:_SHOWN], f"and {left} more {what}"]


def duplicate_lines(duplicates: Sequence[Duplicate], labels: str) -> list[str]:
    """The groups of equal pixels, first those whose ``labels`` differ."""
    lines = [
        f"equal pixels{f' but DIFFERENT {labels}' if group.labels_differ else ''}: {', '.join(group.files)}"
        for group in sorted(duplicates, key=lambda group: not group.labels_differ)
    ]
    return shortened(lines, "groups of duplicates") or ["no exact duplicates"]


def shared_lines(shared: Sequence[Shared]) -> list[str]:
    """Which pictures another split has too: what is trained on is neither held out nor real."""
    lines = [f"equal pixels IN {one.split.upper()} TOO: {one.file} and {one.other}" for one in shared]
    return shortened(lines, "pictures that another split has")


class Seen:
    """The pixels of the splits that were looked at."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, str]] = {}

    def shared(self, split: str, groups: Mapping[str, Sequence[str]]) -> tuple[Shared, ...]:
        """Files of a split, by the hash of their pixels, that an earlier one has too; then it is one of those."""
        found = [
            Shared(file, *self._first[pixels])
            for pixels, files in groups.items()
            for file in files
            if pixels in self._first
        ]
        for pixels, files in groups.items():
            self._first.setdefault(pixels, (split, files[0]))
        return tuple(found)


def pixel_hash(image: Image.Image) -> str:
    """SHA-256 of size and visible pixels: file format, mode and the colour of fully transparent pixels do not count."""
    pixels_HW4 = np.array(image.convert("RGBA"))
    pixels_HW4[pixels_HW4[..., 3] == 0] = 0
    return hashlib.sha256(f"{image.width}x{image.height}:".encode() + pixels_HW4.tobytes()).hexdigest()


def check_pictures(images: ImageSet, split: str = "", seen: Seen | None = None) -> Check:
    """Decode every file of a set and report what is there; nothing is changed and no bad file stops it.

    Args:
        images: The set.
        split: What it is of the recipe.
        seen: The recipe's splits before it.
    """
    groups: dict[str, list[int]] = {}
    bad: list[BadFile] = []
    transparent = 0
    for index, file in enumerate(images.files):
        try:
            image = decode(images.path(index))
            groups.setdefault(pixel_hash(image), []).append(index)
            transparent += see_through(image, images.path(index))
        except UserError as error:
            bad.append(BadFile(file, error.format_message()))
    expected = None if images.expected is None else dict(zip(images.classes, images.expected, strict=True))
    return Check(
        name=images.name,
        pictures=len(images),
        counts=images.counts(),
        duplicates=duplicates_of(images, groups, images.labels.__getitem__),
        bad=tuple(bad),
        licence=images.licence,
        identity=known_identity(images),
        expected=expected,
        left_out=images.left_out,
        shared=(seen or Seen()).shared(split, files_of(images, groups)),
        transparent=transparent,
    )


def duplicates_of(
    images: AnySet, groups: Mapping[str, Sequence[int]], label_of: Callable[[int], object]
) -> tuple[Duplicate, ...]:
    """The groups of several, of positions with equal pixels."""
    return tuple(
        Duplicate(tuple(images.files[i] for i in group), len({label_of(i) for i in group}) > 1)
        for group in groups.values()
        if len(group) > 1
    )


def files_of(images: AnySet, groups: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
    """Names in the place of positions."""
    return {pixels: [images.files[index] for index in group] for pixels, group in groups.items()}
