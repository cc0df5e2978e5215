"""`MaskedSet`: pictures with a class for every pixel, and the one place that decodes masks.

Shapes: H rows, W columns, N pictures, C classes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from csg_train.data.readers.images import TURNS, UNDECODABLE, PictureFiles, file_size, opened, orientation, over_white
from csg_train.data.readers.listing import LeftOut, left_out_end
from csg_train.errors import UserError
from csg_train.files import foreign_content
from csg_train.names import absent

__all__ = ["IGNORE", "MaskedSet", "Mismatch", "decode_mask", "mismatches", "picture_and_mask"]

IGNORE = 255
"""The training id of pixels that neither train nor count."""

_SMOOTHED = 16
"""More unknown values in one mask than a mapping forgets."""
_GREY, _COLOUR, _PALETTE, _GREY_ALPHA, _COLOUR_ALPHA = 0, 2, 3, 4, 6  # colour types of the PNG standard
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class MaskedSet(PictureFiles):
    """Pictures of one domain, each with a mask file.

    Attributes:
        name: How tables call it, for instance ``gta5:train``.
        root: Folder that every file lies under.
        files: Pictures, POSIX paths relative to ``root``, in a fixed (sorted) order.
        masks: The mask of each picture, likewise.
        classes: Class names; ``classes[train_id]``.
        ids: Raw id in the mask files to training id, or to `IGNORE`. An id that is not here is an error.
        licence: Licence of the pictures, or ``"user's own"``.
        sixteen_bit: The masks have 16-bit samples with the class in the first channel (SYNTHIA).
        left_out: Beside the files, where a folder was listed.
        colours: The masks have colours, and ``ids`` has them as ``0xrrggbb``.
        class_map: The mapping file that ``ids`` is from; empty where they are the layout's.
    """

    by_picture = ("files", "masks")
    name: str
    root: Path
    files: tuple[str, ...]
    masks: tuple[str, ...]
    classes: tuple[str, ...]
    ids: Mapping[int, int]
    licence: str = "user's own"
    sixteen_bit: bool = False
    left_out: tuple[LeftOut, ...] = ()
    colours: bool = False
    class_map: str = ""

    def __post_init__(self) -> None:
        if not self.files:
            raise UserError(
                f"{self.root}: no pictures with masks; put them there as the data set's layout says"
                f"{left_out_end(self.left_out)}"
            )
        self.require_plain_names()
        assert len(self.files) == len(self.masks)
        assert all(0 <= value < len(self.classes) or value == IGNORE for value in self.ids.values())

    def __len__(self) -> int:
        return len(self.files)

    def mask_path(self, index: int) -> Path:
        """The full path of one mask."""
        return self.root / self.masks[index]

    def mask(self, index: int) -> np.ndarray:
        """One mask as `read_mask` gives it, ``(H, W)`` uint8, out of the store where there is one."""
        return self.read_mask(index) if self.store is None else self.store.array(len(self) + index)[..., 0]

    def read_mask(self, index: int) -> np.ndarray:
        """One mask file as `decode_mask` gives it."""
        return decode_mask(
            self.mask_path(index),
            self.ids,
            sixteen_bit=self.sixteen_bit,
            colours=self.colours,
            class_map=self.class_map,
        )

    @property
    def stored_files(self) -> tuple[str, ...]:
        """Pictures, then masks."""
        return (*self.files, *self.masks)

    @property
    def stored_as(self) -> str:
        """The masks hold training ids, so the map that makes them counts."""
        kind = f"sixteen_bit {self.sixteen_bit}{', colours' if self.colours else ''}"
        return f"{super().stored_as}; ids {sorted(self.ids.items())}, {kind}"

    @cached_property
    def identity(self) -> str:
        """SHA-256 over class names, id map and every (picture, mask, their sizes in bytes), as `ImageSet.identity`."""
        digest = hashlib.sha256("\n".join(self.classes).encode())
        digest.update(f"\n{sorted(self.ids.items())}".encode())
        for index, (file, mask) in enumerate(zip(self.files, self.masks, strict=True)):
            sizes = [file_size(path) for path in (self.path(index), self.mask_path(index))]
            digest.update(f"\n{file}\t{mask}\t{sizes}".encode())
        return digest.hexdigest()


def decode_mask(
    path: Path, ids: Mapping[int, int], *, sixteen_bit: bool = False, colours: bool = False, class_map: str = ""
) -> np.ndarray:
    """Read one PNG mask as training ids: palette indices or grey values of 8 or 16 bits, or, where asked for, colours.

    Args:
        path: The mask.
        ids: Raw id to training id or `IGNORE`.
        sixteen_bit: Expect 16-bit samples of three channels and read the first (SYNTHIA); left alone, Pillow keeps
            the high byte of each sample, which is 0 everywhere.
        colours: Expect opaque RGB of 8 bits, or a palette whose colours count, and ``0xrrggbb`` in ``ids``.
        class_map: The file to which an error sends for an id or colour outside ``ids``; by default the mask.

    Returns:
        ``(H, W)`` uint8 training ids, `IGNORE` included.

    Raises:
        UserError: Missing, truncated, no PNG, of another kind or depth, or an id or colour outside ``ids``.
    """
    if sixteen_bit and not colours:
        raw_HW = _sixteen_bit_ids(path)
    else:
        raw_HW = _colours(path) if colours else _plain_ids(path, class_map)
    known_K = np.array(sorted(ids))
    if colours:
        place_HW = np.searchsorted(known_K, raw_HW).clip(max=len(known_K) - 1)
        values_K = np.array([ids[key] for key in known_K.tolist()], dtype=np.int16)
        train_HW = np.where(known_K[place_HW] == raw_HW, values_K[place_HW], -1)
    else:
        table = np.full(int(max(raw_HW.max(), *ids)) + 1, -1, dtype=np.int16)
        table[list(ids)] = list(ids.values())
        train_HW = table[raw_HW]
    if (train_HW < 0).any():
        unknown_K, count_K = np.unique(raw_HW[train_HW < 0], return_counts=True)
        unknown, count = int(unknown_K[count_K.argmax()]), count_K.max()
        what = f"colour #{unknown:06x}" if colours else f"label id {unknown}"
        pixels = f"{count} pixels" + (f", the commonest of {len(unknown_K)} such" if len(unknown_K) > 1 else "")
        advice = "fix the mask, or use the layout that it belongs to"
        if class_map:
            advice = "add it to a class there, or to ignore"
        if len(unknown_K) > _SMOOTHED:
            advice += "; so many are of instances, or of smoothing (save masks scaled by nearest neighbour)"
        where = f"in no class of {class_map}" if class_map else f"not one of {_ranges(ids)}"
        raise UserError(f"{path}: {what} ({pixels}) is {where}; {advice}")
    result: np.ndarray = train_HW.astype(np.uint8)
    return result


def _ranges(ids: Mapping[int, int]) -> str:
    """``0-18, 255`` for those nineteen and one."""
    runs: list[list[int]] = []
    for value in sorted(ids):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _header(path: Path) -> tuple[int, int]:
    """Bit depth and colour type of a PNG file."""
    try:
        with path.open("rb") as stream:
            start = stream.read(26)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such mask{absent(path)}; restore it or remove its picture") from error
    except OSError as error:
        raise UserError(f"{path}: cannot read ({error.strerror}); replace the mask") from error
    if not start.startswith(_SIGNATURE) or len(start) < 26:
        found = f" but {foreign}" if (foreign := foreign_content(path)) else ""
        raise UserError(f"{path}: not a PNG file{found}; save masks as PNG (JPEG and the like change the ids)")
    return start[24], start[25]


def _plain_ids(path: Path, class_map: str) -> np.ndarray:
    depth, kind = _header(path)
    if kind == _GREY_ALPHA:
        raise UserError(f"{path}: a grey mask with transparency; save it without, as grey or palette PNG")
    if (depth, kind) == (16, _COLOUR):
        raise UserError(
            f"{path}: of 16 bits and three channels, as SYNTHIA's label files are; use dataset: synthia, or save the "
            "first channel alone, as grey of 16 bits"
        )
    if kind not in (_GREY, _PALETTE):
        mapping = f"{class_map}, which has ids" if class_map else "a mapping file (classes.yaml)"
        raise UserError(
            f"{path}: a mask with colours; save the class id of each pixel (grey PNG), or say in {mapping}, "
            "which colour is which class (docs/data.md)"
        )
    if kind == _GREY and depth not in (8, 16):  # Pillow stretches 1, 2 and 4 bits to 0..255, which changes the ids
        raise UserError(f"{path}: a grey mask of {depth} bits a pixel; save it with 8 or 16")
    return _pixels(path)


def _colours(path: Path) -> np.ndarray:
    """``(H, W)`` int32, ``0xrrggbb``."""
    depth, kind = _header(path)
    if kind != _PALETTE and (depth != 8 or kind not in (_COLOUR, _COLOUR_ALPHA)):
        raise UserError(f"{path}: not an RGB mask of 8 bits a channel, and its mapping has colours; save it so")
    pixels_HWC = _pixels(path, shown=kind == _PALETTE).astype(np.int32)
    if (pixels_HWC[..., 3:] < 255).any():
        raise UserError(f"{path}: transparent pixels, whose colour nobody sees; save the mask as RGB without alpha")
    result: np.ndarray = pixels_HWC[..., 0] << 16 | pixels_HWC[..., 1] << 8 | pixels_HWC[..., 2]
    return result


def _pixels(path: Path, order: str | None = None, *, shown: bool = False) -> np.ndarray:
    """Stored samples, unconverted, or the RGBA colours that a palette has ``shown``.

    ``order`` replaces Pillow's reading of 16-bit samples: the other byte is kept.
    """
    try:
        with opened(path, ("PNG",)) as image:
            if order is not None:
                image.tile = [tile._replace(args=order) for tile in image.tile]
            pixels = np.array(image)
            if shown:
                if pixels.max() >= len(image.getpalette() or ()) // 3:
                    raise UserError(f"{path}: an index that its palette lacks; replace the mask")
                pixels = np.array(image.convert("RGBA"))
            if (turn := orientation(image)) in TURNS:
                raise UserError(f"{path}: a mask with the EXIF orientation {turn}; save it upright, without one")
            return pixels
    except UserError:
        raise
    except UNDECODABLE as error:
        raise UserError(f"{path}: cannot decode ({error}); replace the mask") from error


def _sixteen_bit_ids(path: Path) -> np.ndarray:
    depth, kind = _header(path)
    if (depth, kind) != (16, _COLOUR):
        raise UserError(
            f"{path}: not of 16 bits and three channels, as SYNTHIA's label files are; use the original, or "
            "dataset: masked-folder, which takes ids in folders of any name (images: RGB, masks: GT/LABELS)"
        )
    high_HW, low_HW = (_pixels(path, order)[..., 0] for order in ("RGB;16B", "RGB;16L"))
    raw_HW: np.ndarray = high_HW.astype(np.uint16) << 8 | low_HW
    return raw_HW


def picture_and_mask(images: MaskedSet, index: int) -> tuple[Image.Image, np.ndarray]:
    """Decode one pair: an ``RGB`` picture (transparency over white) and ``(H, W)`` uint8 training ids of its size.

    Raises:
        UserError: Either file is bad, or their sizes differ (nothing is resized in silence).
    """
    picture = over_white(images.picture(index))
    mask_HW = images.mask(index)
    size = (mask_HW.shape[1], mask_HW.shape[0])
    if size != picture.size:
        raise UserError(Mismatch(images.files[index], picture.size, images.masks[index], size).line())
    return picture, mask_HW


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A picture and a mask of different (width, height)."""

    file: str
    size: tuple[int, int]
    mask: str
    mask_size: tuple[int, int]

    def line(self) -> str:
        """Both names, both sizes and the way out."""
        (width, height), (mask_width, mask_height) = self.size, self.mask_size
        return (
            f"{self.file} has {width}x{height} pixels but {self.mask} has {mask_width}x{mask_height}; "
            "replace one of them, or leave the pair out of its list or folders"
        )


def mismatches(images: MaskedSet) -> list[Mismatch]:
    """Every pair of different size, in file order; GTA5 is known to hold some. Reads headers only.

    Raises:
        UserError: A file is missing or no picture.
    """
    found = []
    for index, (file, mask) in enumerate(zip(images.files, images.masks, strict=True)):
        if images.store is None:
            size, mask_size = _size(images.path(index)), _size(images.mask_path(index))
        else:
            shapes = images.store.shapes
            size, mask_size = ((int(width), int(height)) for height, width, _ in shapes[[index, len(images) + index]])
        if size != mask_size:
            found.append(Mismatch(file, size, mask, mask_size))
    return found


def _size(path: Path) -> tuple[int, int]:
    try:
        with opened(path) as image:
            turned = orientation(image) in (5, 6, 7, 8)  # rows are columns
            return (image.height, image.width) if turned else image.size
    except UNDECODABLE as error:
        raise UserError(f"{path}: cannot read its size ({error}); replace or restore it") from error
