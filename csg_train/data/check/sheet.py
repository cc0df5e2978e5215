"""Contact sheets: many pictures on one page, to look at a data set before trusting it."""

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


def contact_sheet(
    images: ImageSet, out: Path, *, per_class: int | None = 60, size: int = 96, columns: int = 15
) -> None:
    """Write a PNG contact sheet: one labelled block of rows per class, transparent pictures over white.

    Pictures keep their aspect ratio; small ones are enlarged by a whole factor, their pixels unblurred. A file that
    does not decode shows its name in red, so that a broken picture is seen and not left out.

    Args:
        images: What to show.
        out: The PNG file.
        per_class: Pictures of each class at most, evenly spaced over its files; None for all.
        size: Width and height of a cell in pixels.
        columns: Cells in a row.

    Raises:
        UserError: The sheet cannot be written.
    """
    names = images.classes if images.labelled else ("no labels",)
    blocks = [_chosen(images, label, per_class) for label in range(len(names))]
    heights = [_HEADING + -(-len(block) // columns) * (size + _CAPTION + _GAP) for block in blocks]
    sheet = Image.new("RGB", (_GAP + columns * (size + _GAP), sum(heights) + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = 0
    for label, (block, height) in enumerate(zip(blocks, heights, strict=True)):
        total = images.labels.count(label)
        shown = "" if len(block) == total else f", {len(block)} shown"
        pen.line((_GAP, top + 2, sheet.width - _GAP, top + 2), fill=_RULE)
        heading = f"{names[label]}: {total} in {images.name}{shown}"
        pen.text((_GAP, top + 5), heading, fill=_INK, font=ImageFont.load_default(15))
        for place, index in enumerate(block):
            row, column = divmod(place, columns)
            corner = (_GAP + column * (size + _GAP), top + _HEADING + row * (size + _CAPTION + _GAP))
            _cell(sheet, pen, images, index, corner, size)
        top += height
    atomic_write(out, lambda stream: sheet.save(stream, format="PNG"))


def _chosen(images: ImageSet, label: int, per_class: int | None) -> list[int]:
    members = [index for index, own in enumerate(images.labels) if own == label]
    if per_class is None or len(members) <= per_class:
        return members
    return [members[place * len(members) // per_class] for place in range(per_class)]


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
    while text and font.getlength(f"{text}..") > width:
        text = text[:-1]
    return f"{text}.."
