"""What a set with masks holds: pixels of each class, sizes that differ, duplicates, bad files, licence and identity."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from csg_train.data.check.pictures import (
    BadFile,
    Duplicate,
    Seen,
    Shared,
    creator_lines,
    duplicate_lines,
    duplicates_of,
    files_of,
    identity_line,
    known_identity,
    pixel_hash,
    see_through,
    shared_lines,
    shortened,
    transparent_lines,
)
from csg_train.data.readers.images import decode, opened
from csg_train.data.readers.listing import LeftOut, left_out_line
from csg_train.data.readers.masks import IGNORE, MaskedSet, Mismatch
from csg_train.errors import UserError

__all__ = ["MaskCheck", "check_masks"]


@dataclass(frozen=True, slots=True)
class MaskCheck:
    """Result of `check_masks`.

    Attributes:
        name: Name of the set.
        pictures: Pairs in it, bad ones included.
        pixels: Pixels of each class in the masks that decode.
        counts: Pictures in whose mask each class occurs.
        ignored: Share of ignored pixels, 0 to 1; NaN where no mask decodes.
        mismatches: Pairs of different size.
        duplicates: Groups of pictures with equal pixels; ``labels_differ`` when their masks do.
        shared: Pictures with the pixels of one in a split that was looked at before.
        bad: Pictures and masks that do not decode.
        licence: Licence of the pictures.
        identity: Identity of the set, or None where a file is missing.
        left_out: Files and folders beside the pictures that do not count, and why.
        transparent: Pictures in which something is seen through.
        creators: Who made the pictures, where a demo names them.
        palettes: An id that the palettes of two masks show in two colours, and where; empty where there is none.
    """

    name: str
    pictures: int
    pixels: dict[str, int]
    counts: dict[str, int]
    ignored: float
    mismatches: tuple[Mismatch, ...]
    duplicates: tuple[Duplicate, ...]
    bad: tuple[BadFile, ...]
    licence: str
    identity: str | None
    left_out: tuple[LeftOut, ...] = ()
    shared: tuple[Shared, ...] = ()
    transparent: int = 0
    creators: tuple[str, ...] = ()
    palettes: str = ""

    def lines(self) -> Iterator[str]:
        """The findings for people, one line each; long lists end in a count of what is left out."""
        yield f"{self.pictures} pictures with masks; licence: {self.licence}"
        yield from creator_lines(self.creators)
        yield identity_line(self.identity)
        if self.left_out:
            yield f"left out: {left_out_line(self.left_out)}"
        yield "no mask could be read" if math.isnan(self.ignored) else f"ignored pixels: {self.ignored:.1%}"
        if absent := [name for name, number in self.pixels.items() if not number]:
            yield f"classes without a pixel: {', '.join(absent)}"
        if self.palettes:
            yield (
                f"palettes differ: {self.palettes}; where each file was quantised alone, or ids number objects, these "
                "are no classes (docs/data.md)"
            )
        yield from transparent_lines(self.transparent, "white")
        yield from duplicate_lines(self.duplicates, "MASKS")
        yield from shared_lines(self.shared)
        sizes = [pair.line() for pair in self.mismatches]
        yield from shortened(sizes, "pairs of different size") or ["all sizes agree"]
        yield from shortened([f"bad file: {bad.message}" for bad in self.bad], "bad files") or ["no bad files"]


def check_masks(images: MaskedSet, split: str = "", seen: Seen | None = None) -> MaskCheck:
    """Decode every picture and mask of a set and report what is there; arguments as `check_pictures`."""
    groups: dict[str, list[int]] = {}
    contents: dict[int, bytes] = {}  # of masks
    bad: list[BadFile] = []
    differ: list[Mismatch] = []
    transparent, palettes = 0, _Palettes(images)
    pixels, present = np.zeros(256, dtype=np.int64), np.zeros(256, dtype=np.int64)
    for index, (file, mask) in enumerate(zip(images.files, images.masks, strict=True)):
        size = mask_size = None
        try:
            picture = decode(images.path(index))
            size = picture.size
            groups.setdefault(pixel_hash(picture), []).append(index)
            transparent += see_through(picture, images.path(index))
        except UserError as error:
            bad.append(BadFile(file, error.format_message()))
        try:
            mask_HW = images.read_mask(index)
            mask_size = (mask_HW.shape[1], mask_HW.shape[0])
            contents[index] = hashlib.sha256(mask_HW.tobytes()).digest()
            counts = np.bincount(mask_HW.ravel(), minlength=256)
            pixels += counts
            present += counts > 0
            palettes.see(index)
        except UserError as error:
            bad.append(BadFile(mask, error.format_message()))
        if size is not None and mask_size is not None and size != mask_size:
            differ.append(Mismatch(file, size, mask, mask_size))
    return MaskCheck(
        name=images.name,
        pictures=len(images),
        pixels={name: int(pixels[place]) for place, name in enumerate(images.classes)},
        counts={name: int(present[place]) for place, name in enumerate(images.classes)},
        ignored=float(pixels[IGNORE] / pixels.sum()) if pixels.any() else float("nan"),
        mismatches=tuple(differ),
        duplicates=duplicates_of(images, groups, contents.get),
        bad=tuple(bad),
        licence=images.licence,
        identity=known_identity(images),
        left_out=images.left_out,
        shared=(seen or Seen()).shared(split, files_of(images, groups)),
        transparent=transparent,
        palettes=palettes.found,
    )


class _Palettes:
    """Looks for an id that two masks show in two colours: what was coloured for each file alone may be no class.

    Attributes:
        found: The first such id, both colours and files; empty before.
    """

    def __init__(self, images: MaskedSet) -> None:
        self.images, self.found = images, ""
        self.colours: dict[int, tuple[str, str]] = {}

    def see(self, index: int) -> None:
        """Compare the used part of this mask's palette, where it has one that does not count."""
        if self.images.colours or self.found:
            return
        file = self.images.masks[index]
        with opened(self.images.mask_path(index)) as image:
            if image.mode != "P":
                return
            palette = bytes(image.getpalette() or ()).hex()
            used = np.unique(np.array(image)).tolist()
        for key in used:
            colour = palette[6 * key : 6 * key + 6]
            first, origin = self.colours.setdefault(key, (colour, file))
            if self.images.ids[key] != IGNORE and first and colour and first != colour:
                self.found = f"id {key} is #{first} in {origin} and #{colour} in {file}"
