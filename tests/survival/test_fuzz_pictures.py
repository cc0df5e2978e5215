"""Hostile pictures, masks and class lists: accepted, or refused in one line."""

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from csg_train.data.check.pictures import pixel_hash
from csg_train.data.readers.images import decode
from csg_train.data.readers.mask_folders import masked_folder
from csg_train.data.readers.masks import MaskedSet, decode_mask, mismatches
from csg_train.data.views.transforms import evaluation_view, training_view
from csg_train.errors import UserError
from tests.survival.mutations import damaged, fuzz, refused_or_fine, words


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pictures() -> dict[str, bytes]:
    """A small picture of every mode and format that people have."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    deep = Image.fromarray(rng.integers(0, 65536, (9, 12), dtype=np.uint16))
    palette = colours.quantize(7)
    return {
        "rgb.png": encoded(colours, "PNG"),
        "grey.png": encoded(colours.convert("L"), "PNG"),
        "alpha.png": encoded(colours.convert("RGBA"), "PNG"),
        "grey-alpha.png": encoded(colours.convert("LA"), "PNG"),
        "palette.png": encoded(palette, "PNG"),
        "palette-alpha.png": encoded(palette, "PNG", transparency=b"\x00\x80"),
        "rgb-transparency.png": encoded(colours, "PNG", transparency=(1, 2, 3)),
        "bit.png": encoded(colours.convert("1"), "PNG"),
        "deep.png": encoded(deep, "PNG"),
        "rgb.jpg": encoded(colours, "JPEG"),
        "turned.jpg": encoded(colours, "JPEG", exif=exif),
        "cmyk.jpg": encoded(colours.convert("CMYK"), "JPEG"),
        "rgb.webp": encoded(colours, "WEBP", exif=exif),
        "rgb.bmp": encoded(colours, "BMP"),
        "palette.bmp": encoded(palette, "BMP"),
        "gif.png": encoded(palette, "GIF"),
        "tiff.png": encoded(colours, "TIFF"),
        "text.png": b"hello",
        "empty.png": b"",
    }


PICTURES = pictures()


def look(path: Path) -> Image.Image:
    """Everything that is done with a picture."""
    image = decode(path)
    for fit in ("crop", "pad"):
        assert evaluation_view(image, size=16, fit=fit).shape == (3, 16, 16)
        view = training_view(image, size=16, fit=fit, augment="randaugment", background="varied", rng=random.Random(0))
        assert view.shape == (3, 16, 16)
    pixel_hash(image)
    return image


@fuzz
@given(data=st.data())
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name, place, data):
    path = place / name
    path.write_bytes(data.draw(damaged(PICTURES[name])))
    image = refused_or_fine("pictures", lambda: look(path))
    assert image is None or image.mode in ("RGB", "RGBA")


@pytest.mark.parametrize("name", PICTURES)
def test_whole_pictures_of_every_kind(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(PICTURES[name])
    if name in ("deep.png", "gif.png", "tiff.png", "text.png", "empty.png"):
        with pytest.raises(UserError, match=name):
            look(path)
        return
    image = look(path)
    assert image.size == ((9, 12) if name == "turned.jpg" or name == "rgb.webp" else (12, 9))
    assert image.mode == ("RGBA" if "alpha" in name or "transparency" in name else "RGB")


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """A PNG file by hand."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def deep_pictures() -> list[bytes]:
    """Sixteen bits a sample in each of PNG's colour types that has them: grey, RGB, grey and RGB with alpha."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}
    return [png(12, 9, 16, kind, zlib.compress((b"\0" + b"\x12\x34" * 12 * n) * 9)) for kind, n in samples.items()]


@pytest.mark.parametrize("content", deep_pictures(), ids=["grey", "rgb", "grey-alpha", "rgba"])
def test_sixteen_bits_are_refused_whatever_the_mode(content, tmp_path):
    path = tmp_path / "deep.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match="more than 8 bits"):
        look(path)


@pytest.mark.parametrize("size", [(100_000, 100_000), (12_000, 12_000), (1, 60_000), (60_000, 2), (2**31 - 1, 1)])
def test_bombs_and_strips_are_refused_before_they_are_decoded(size, tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(*size, 8, 0, zlib.compress(bytes(1 << 20))))
    with pytest.raises(UserError, match=r"bomb\.png"):
        look(path)
    if size[0] * size[1] > 1 << 26:
        with pytest.raises(UserError, match=r"bomb\.png"):
            decode_mask(path, {0: 0})


@pytest.mark.parametrize("size", [(16, 1600), (1600, 16), (1, 100)])
def test_a_long_picture_is_a_picture(size, tmp_path):
    path = tmp_path / "long.png"
    Image.new("RGB", size, (9, 9, 9)).save(path)
    assert look(path).size == size


@fuzz
@given(data=st.data())
@pytest.mark.parametrize("name", ["grey.png", "palette.png", "sixteen.png", "rgb.jpg"])
def test_masks(name, place, data):
    rows = zlib.compress(b"".join(b"\x00" + b"\x00\x03" * 12 * 3 for _ in range(9)))
    good = png(12, 9, 16, 2, rows) if name == "sixteen.png" else PICTURES[name]
    path = place / "mask.png"
    path.write_bytes(data.draw(st.just(good) | damaged(good)))
    ids = {**dict.fromkeys(range(256), 0), 255: 255}
    for sixteen in (False, True):
        mask_HW = refused_or_fine("masks", lambda wide=sixteen: decode_mask(path, ids, sixteen_bit=wide))
        assert mask_HW is None or (mask_HW.ndim == 2 and mask_HW.dtype == np.uint8)
    pair = MaskedSet("m", place, ("mask.png",), ("mask.png",), ("a",), {0: 0})
    refused_or_fine("masks, size", lambda: mismatches(pair))


@fuzz
@given(content=st.text(max_size=40) | words)
def test_class_lists(place, content):
    (place / "classes.txt").write_bytes(content.encode("utf-8", errors="surrogatepass"))
    refused_or_fine("class lists", lambda: masked_folder(place))
