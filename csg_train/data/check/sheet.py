"""Contact sheets: many pictures on one page, to look at a data set before trusting it."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from csg_train.data.readers.images import ImageSet, decode
from csg_train.errors import UserError
from csg_train.files import atomic_write

__all__ = ["contact_sheet"]

_GAP = 6
_HEADING = 26
_CAPTION = 12
_INK, _PAPER, _RULE, _BAD = (20, 20, 20), (255, 255, 255), (200, 200, 200), (190, 0, 0)
_HIGHEST = 1 << 15
"""Pixels of a sheet: what programs that show PNG files still open."""


def contact_sheet(images: ImageSet, out: Path, *, per_class: int = 60, size: int = 96, columns: int = 15) -> list[Path]:
    """Write a PNG contact sheet: one labelled block of rows per class, transparent pictures over white.

    Pictures keep their aspect ratio; small ones are enlarged by a whole factor, their pixels unblurred. A file that
    does not decode shows its name in red, so that a broken picture is seen and not left out. Classes that would make
    the sheet too high go on in ``NAME-2.png``, and so on.

    Args:
        images: What to show.
        out: The PNG file.
        per_class: Pictures of each class at most, evenly spaced over its files.
        size: Width and height of a cell in pixels.
        columns: Cells in a row.

    Returns:
        The files.

    Raises:
        UserError: A sheet cannot be written.
    """
    names = images.classes if images.labelled else ("no labels",)
    members: list[list[int]] = [[] for _ in names]
    for index, label in enumerate(images.labels):
        members[label].append(index)
    pages: list[list[tuple[str, list[int], int]]] = [[]]
    for name, own in zip(names, members, strict=True):
        number = min(len(own), per_class)
        block = [own[place * len(own) // number] for place in range(number)]
        height = _HEADING + -(-len(block) // columns) * (size + _CAPTION + _GAP)
        if sum(high for *_, high in pages[-1]) + height + _GAP > _HIGHEST and pages[-1]:
            pages.append([])
        shown = "" if len(block) == len(own) else f", {len(block)} shown"
        pages[-1].append((f"{name}: {len(own)} in {images.name}{shown}", block, height))
    paths = [out, *(out.with_stem(f"{out.stem}-{number}") for number in range(2, len(pages) + 1))]
    for path, page in zip(paths, pages, strict=True):
        _write_page(path, images, page, size, columns)
    return paths


def _write_page(
    path: Path, images: ImageSet, blocks: Sequence[tuple[str, Sequence[int], int]], size: int, columns: int
) -> None:
    """One sheet, of a heading, pictures and height in pixels for each class."""
    sheet = Image.new("RGB", (_GAP + columns * (size + _GAP), sum(height for *_, height in blocks) + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = 0
    for heading, block, height in blocks:
        pen.line((_GAP, top + 2, sheet.width - _GAP, top + 2), fill=_RULE)
        pen.text((_GAP, top + 5), heading, fill=_INK, font=ImageFont.load_default(15))
        for place, index in enumerate(block):
            row, column = divmod(place, columns)
            corner = (_GAP + column * (size + _GAP), top + _HEADING + row * (size + _CAPTION + _GAP))
            _cell(sheet, pen, images, index, corner, size)
        top += height
    atomic_write(path, lambda stream: sheet.save(stream, format="PNG"))


def _cell(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, images: ImageSet, index: int, corner: tuple[int, int], size: int
) -> None:
    font = ImageFont.load_default(9)
    name = _fitting(Path(images.files[index]).stem, font, size)
    try:
        picture = decode(images.path(index)).convert("RGBA")
    except UserError:
        pen.rectangle((*corner, corner[0] + size - 1, corner[1] + size - 1), outline=_BAD)
        pen.text((corner[0] + 4, corner[1] + size // 2), "bad file", fill=_BAD, font=font)
        pen.text((corner[0], corner[1] + size), name, fill=_BAD, font=font)
        return
    factor = size // max(picture.size)
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    left, top = corner[0] + (size - picture.width) // 2, corner[1] + (size - picture.height) // 2
    sheet.paste(picture, (left, top), picture)
    pen.text((corner[0], corner[1] + size), name, fill=_INK, font=font)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):  # both ends: names of one model differ in their last letters
        shortened = f"{text[: kept // 2]}..{text[kept // 2 - kept :]}"
        if font.getlength(shortened) <= width:
            return shortened
    return ".."
