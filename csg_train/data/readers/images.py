"""`ImageSet`: a list of labelled image files with an identity, and the one place that decodes them."""

import contextlib
import dataclasses
import difflib
import hashlib
import os
import stat
import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from PIL import ExifTags, Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from csg_train.data.readers.listing import IMAGE_SUFFIXES, LeftOut, class_folders, left_out_end, listing
from csg_train.data.readers.store import Store, open_store, store_path
from csg_train.errors import UserError, printable
from csg_train.files import foreign_content
from csg_train.names import absent, other_form, require_plain

__all__ = [
    "TURNS",
    "UNDECODABLE",
    "ImageSet",
    "PictureFiles",
    "decode",
    "file_size",
    "file_status",
    "image_folder",
    "opened",
    "orientation",
    "over_white",
    "reduced_size",
    "require_same_classes",
    "require_visible",
]

_LONGEST = 100
"""Times that a side may be the other: a strip, made square, would take more memory than there is."""
_FORMATS = tuple(kind.format for kind in (JpegImageFile, PngImageFile, WebPImageFile, BmpImageFile))
"""Few decoders, a small attack surface; Pillow imports all that it has where one of these is not yet there."""
UNDECODABLE = (
    *(OSError, SyntaxError, ValueError, IndexError, TypeError, struct.error),  # of Pillow, by what a file's parts hold
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)
_FEW_GREYS = {"L;2": 85, "L;4": 17}
"""By how much Pillow multiplies such samples of a PNG, but not the one that is transparent."""
TURNS = {  # by EXIF orientation; Pillow's exif_transpose writes the other tags anew too, and fails where one is odd
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PictureFiles:
    """What `ImageSet` and `masks.MaskedSet` share: files below a folder, and a store of their pixels."""

    by_picture: ClassVar[tuple[str, ...]]
    """Fields that have an entry for each picture."""
    root: Path
    files: tuple[str, ...]
    shorter_side: int | None = None
    """To which a longer one is reduced when a picture is read (``data.shorter_side``)."""
    classes: tuple[str, ...]

    def require_plain_names(self) -> None:
        """Refuse names that identities and records cannot hold, and classes that look the same (`csg_train.names`)."""
        require_plain(self.classes, f"{self.root}: a class")
        require_plain(self.stored_files, self.root)
        for name in self.classes:
            if (other := other_form(name, self.classes)) is not None:
                raise UserError(
                    f"{self.root}: two classes look the same, {name!a} and {other!a} (Unicode forms of one "
                    "name); make one of them"
                )

    def path(self, index: int) -> Path:
        """The full path of one picture."""
        return self.root / self.files[index]

    def picture(self, index: int) -> Image.Image:
        """One picture as `read` gives it, out of the store where ``csg-train data cache`` made one.

        Raises:
            UserError: A bad picture; a damaged store, or one of files that have changed since.
        """
        return self.read(index) if self.store is None else Image.fromarray(self.store.array(index))

    def read(self, index: int) -> Image.Image:
        """One picture as `decode` gives it, reduced bilinearly where its shorter side is longer than this set's."""
        image = decode(self.path(index))
        require_visible(image, self.path(index))
        size = reduced_size(image.size, self.shorter_side)
        return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)

    def part(self, indices: Sequence[int]) -> Self:
        """The set of these pictures, in this order."""
        chosen = {name: tuple(getattr(self, name)[index] for index in indices) for name in self.by_picture}
        return dataclasses.replace(self, **chosen)  # type: ignore[type-var]

    @property
    def stored_files(self) -> tuple[str, ...]:
        """The files whose pixels a store holds, in its order."""
        return self.files

    @property
    def stored_as(self) -> str:
        """How the pixels in a store are made from the files."""
        return "upright RGB or RGBA" + (f", shorter side {self.shorter_side}" if self.shorter_side else "")

    @cached_property
    def store_path(self) -> Path:
        """Where the store is, or would be."""
        return store_path(self.root, self.stored_files, self.stored_as)

    @cached_property
    def store(self) -> Store | None:
        """The store, checked and opened once; None where there is none."""
        try:
            path = self.store_path
        except UserError:  # no home folder, so nothing is cached in it
            return None
        return open_store(path, self.root, self.stored_files)

    def __getstate__(self) -> dict[str, object]:
        """Without the open store, whose pixels must not travel to a worker that is not forked; it opens its own."""
        return {name: value for name, value in self.__dict__.items() if name != "store"}


@dataclass(frozen=True)
class ImageSet(PictureFiles):
    """Labelled image files of one domain.

    Attributes:
        name: How tables call it, for instance ``emoji:openmoji`` or ``photos``.
        root: Folder that every file lies under.
        files: POSIX paths relative to ``root``, in a fixed (sorted) order.
        labels: Class index of each file.
        classes: Class names; ``classes[label]``.
        licence: Licence of the pictures, or ``"user's own"``.
        expected: Official number of pictures of each class, where the data set has one.
        shorter_side: To which a longer one is reduced when a picture is read; None keeps every picture as it is.
        left_out: Beside the files, or in no class of a class map.
        labelled: Whether ``labels`` are those of the pictures. If not, they are 0, and nothing may be made of them.
    """

    by_picture = ("files", "labels")
    name: str
    root: Path
    files: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    licence: str = "user's own"
    expected: tuple[int, ...] | None = None
    shorter_side: int | None = None
    left_out: tuple[LeftOut, ...] = ()
    labelled: bool = True

    def __post_init__(self) -> None:
        if not self.files:
            end = left_out_end(self.left_out)
            raise UserError(f"{self.root}: no images; put {', '.join(sorted(IMAGE_SUFFIXES))} files there{end}")
        self.require_plain_names()
        assert len(self.files) == len(self.labels)

    def __len__(self) -> int:
        return len(self.files)

    def counts(self) -> dict[str, int]:
        """Number of images of each class, every class listed; empty without labels."""
        if not self.labelled:
            return {}
        totals = [0] * len(self.classes)
        for label in self.labels:
            totals[label] += 1
        return dict(zip(self.classes, totals, strict=True))

    @cached_property
    def identity(self) -> str:
        """SHA-256 over class names, every (path, label, size in bytes) and ``shorter_side``.

        Sizes, not contents: it costs one ``stat`` a file, where reading VisDA-17 takes minutes. Another identity is
        another set; an equal one can be a set of other pixels in files of as many bytes. Who prints or compares it says
        so.
        """
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for index, (file, label) in enumerate(zip(self.files, self.labels, strict=True)):
            digest.update(f"\n{file}\t{label}\t{file_size(self.path(index))}".encode())
        if self.shorter_side:
            digest.update(f"\nshorter side {self.shorter_side}".encode())
        return digest.hexdigest()


def file_status(path: Path) -> os.stat_result:
    """What the system says of a file that a list names; a missing one is an error with its name."""
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}{absent(path)}; restore the file or its folder") from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path}: not a regular file; replace it or remove it from the list")
    return status


def file_size(path: Path) -> int:
    """Bytes of a file, as `file_status`."""
    return file_status(path).st_size


def reduced_size(size: tuple[int, int], shorter_side: int | None) -> tuple[int, int]:
    """Width and height of a picture whose shorter side is no longer than ``shorter_side``, in proportion."""
    short = min(size)
    if shorter_side is None or short <= shorter_side:
        return size
    return round(size[0] * shorter_side / short), round(size[1] * shorter_side / short)


def orientation(image: Image.Image) -> Any:
    """How a picture lies, as its EXIF data say: 1 upright, 2 to 8 the keys of `TURNS`; another value says nothing."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except UNDECODABLE:  # bad EXIF data say nothing either
        return 1


@contextlib.contextmanager
def opened(path: Path, formats: tuple[str, ...] = _FORMATS) -> Iterator[ImageFile.ImageFile]:
    """A picture file as Pillow opens it, or one of `UNDECODABLE`; what of its metadata is bad is not there."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)
        with Image.open(path, formats=formats) as image:
            yield image


def require_visible(image: Image.Image, path: Path) -> None:
    """Refuse a decoded picture of which nothing is seen: an alpha channel that held something else, or nothing.

    Raises:
        UserError: It is transparent everywhere.
    """
    if image.mode == "RGBA" and not image.getchannel("A").getextrema()[1]:
        raise UserError(f"{path}: transparent everywhere, so it would be all white; save it without its alpha channel")


def decode(path: Path) -> Image.Image:
    """Read one image file completely, upright (EXIF), as ``RGB`` or, where it has transparency, ``RGBA``.

    Raises:
        UserError: The file is missing, truncated, not an image, a strip, or so large that it may be a bomb.
    """
    if path.is_fifo():
        raise UserError(f"{path}: a pipe, which would be waited for; replace it or remove it from the list")
    try:
        with opened(path) as image:
            raw = [str(tile[3]) for tile in image.tile] if image.format == "PNG" else []
            if max(image.size) > _LONGEST * min(image.size):
                raise UserError(f"{path}: a strip of {image.width} x {image.height} pixels; crop or remove it")
            image.load()
            _mend_transparency(image, raw)
            turn = TURNS.get(orientation(image))
            upright = image if turn is None else image.transpose(turn)
            alpha = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
            if any("16" in mode for mode in raw) or upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
                raise UserError(f"{path}: {upright.mode} samples of more than 8 bits; convert it to 8 bits a channel")
            return upright.convert("RGBA" if alpha else "RGB")
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such image{absent(path)}; restore it or remove it from the list") from error
    except PermissionError as error:
        raise UserError(f"{path}: {error.strerror}; make it readable or remove it") from error
    except UNDECODABLE as error:
        raise UserError(
            f"{path}: cannot decode ({foreign_content(path) or error}); replace the image or remove it"
        ) from error


def _mend_transparency(image: Image.Image, raw: Sequence[str]) -> None:
    """Which sample of a PNG is transparent, as its samples are; a text under that keyword is not there."""
    transparent = image.info.get("transparency")
    if isinstance(transparent, str):
        del image.info["transparency"]
    elif isinstance(transparent, int) and image.mode == "L":
        image.info["transparency"] = transparent * next((_FEW_GREYS[mode] for mode in raw if mode in _FEW_GREYS), 1)


def over_white(image: Image.Image) -> Image.Image:
    """An ``RGB`` or ``RGBA`` picture as ``RGB``, white where it is transparent."""
    if image.mode != "RGBA":
        return image
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.getchannel("A"))
    return white


def require_same_classes(what: str, found: Sequence[str], wanted: Sequence[str], *, partial: bool = False) -> None:
    """Raise a UserError that starts with ``what`` unless a domain has the classes of the source, in any order.

    With ``partial`` it may lack some, but has no others: a misspelt one is still found.
    """
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    for name in extra:
        if (other := other_form(name, missing)) is not None:
            raise UserError(
                f"{what} differ from the source's: {name!a} here and {other!a} there are Unicode forms of one "
                "name; rename one (convmv -f utf8 -t utf8 --nfc does a whole folder)"
            )
    if extra or (missing and not partial):
        need = "have no others, and may lack some" if partial else "need the same"
        raise UserError(
            f"{what} differ from the source's: missing {missing}, unexpected {extra}; the other domains of a recipe "
            f"(validation, target) {need} (docs/data.md maps other names)"
        )


def image_folder(
    root: Path,
    *,
    name: str,
    classes: Sequence[str] | None = None,
    class_map: Mapping[str, Sequence[str]] | None = None,
    obtain: str | None = None,
    licence: str = "user's own",
) -> ImageSet:
    """Read the layout ``root/{class}/**/{image}`` (torchvision's ``ImageFolder``; classes in sorted order).

    Args:
        root: The folder.
        name: Name of the domain in tables.
        classes: Class names in index order, some of which the folder may lack; by default those it has.
        class_map: Class name to the folders below ``root`` that are read as it; by default each folder is a class.
        obtain: Where the data comes from, said where ``root`` is missing.
        licence: Licence of the pictures.

    Raises:
        UserError: The folder is missing or one of the map's, a folder of a class has no image, or a class is none
            of these.
    """
    if not root.is_dir():
        fix = obtain or "give the folder that holds one folder for each class"
        raise UserError(f"{root}: no such folder{absent(root)}; {fix}")
    beside = class_folders(root)
    there, left_out = beside.files, list(beside.left_out)
    if not there:
        raise UserError(f"{root}: no class folders; expected {root}/CLASS/IMAGE.png")
    folders = {folder: (folder,) for folder in there} if class_map is None else class_map
    wanted = tuple(sorted(folders)) if classes is None else tuple(classes)
    require_same_classes(
        f"{root}: {'class folders' if class_map is None else 'mapped classes'}", [*folders], wanted, partial=True
    )
    named = {folder for own in folders.values() for folder in own}
    _require_folders(root, there, named)
    left_out += [LeftOut(printable(folder), "in no class of the recipe") for folder in there if folder not in named]
    files: list[str] = []
    labels: list[int] = []
    for label, class_name in enumerate(wanted):
        for folder in sorted(folders.get(class_name, ())):
            images = listing(root, root / folder)
            if not images.files:
                others = left_out_end(images.left_out)
                raise UserError(f"{root / folder}: a class without images{others}; add images or remove the folder")
            files += images.files
            labels += [label] * len(images.files)
            left_out += images.left_out
    return ImageSet(
        name=name,
        root=root,
        files=tuple(files),
        labels=tuple(labels),
        classes=wanted,
        licence=licence,
        left_out=tuple(left_out),
    )


def _require_folders(root: Path, there: Sequence[str], named: Iterable[str]) -> None:
    """Names are compared as they are written, for some file systems hold ``faces`` and ``Faces`` to be one."""
    for folder in sorted(set(named) - set(there)):
        near = difflib.get_close_matches(folder, there) or there[:10]
        raise UserError(
            f"{root}: no folder {folder!r}, which the classes of the recipe name; there is {', '.join(near)}"
        )
