"""`decode` and `image_folder` on the pictures that real folders hold: broken, odd, rotated, huge, missing."""

import dataclasses
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from csg_train.data.readers.images import ImageSet, decode, image_folder
from csg_train.data.readers.sets import unlabelled
from csg_train.errors import UserError
from csg_train.recipes.domains import FolderDomain, MaskedFolderDomain
from csg_train.recipes.pictures import load_domain, load_masked_domain

RED, BLUE, WHITE = (200, 10, 20), (10, 20, 200), (255, 255, 255)


def noise(width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> Image.Image:
    """32 x 16 pixels, the left half and the right half of one colour each."""
    picture = Image.new("RGB", (32, 16), left)
    picture.paste(right, (16, 0, 32, 16))
    return picture


def near(found: object, wanted: tuple[int, ...], tolerance: int = 12) -> bool:
    return bool(np.abs(np.subtract(found, wanted)).max() <= tolerance)


def test_png_and_bmp_keep_every_pixel(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp"):
        noise().save(tmp_path / name)
        assert np.array_equal(np.array(decode(tmp_path / name)), np.array(noise()))


@pytest.mark.parametrize(("name", "part"), [("a.jpg", 0.5), ("a.jpg", 0.95), ("a.png", 0.5), ("a.webp", 0.5)])
def test_truncated_file_is_an_error_that_names_it(tmp_path: Path, name: str, part: float) -> None:
    path = tmp_path / name
    noise().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(UserError, match="replace the image or remove it") as caught:
        decode(path)
    assert str(path) in caught.value.format_message()


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_zero_bytes_and_other_content_are_errors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot decode"):
        decode(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such image"):
        decode(tmp_path / "a.png")


def test_wrong_extension_is_read_by_its_content(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(np.array(decode(tmp_path / "a.jpg")), np.array(noise()))


def test_formats_outside_the_short_list_are_refused(tmp_path: Path) -> None:
    noise().convert("P").save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.png")
    with pytest.raises(UserError, match="cannot decode"):
        decode(tmp_path / "a.png")


def test_16_bit_grey_is_an_error_that_says_so(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40000, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="8 bits"):
        decode(tmp_path / "a.png")


def test_palette_with_transparency_becomes_rgba(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([*RED, *BLUE])
    picture.putpixel((0, 0), 0)
    picture.save(tmp_path / "a.png", transparency=0)
    found = decode(tmp_path / "a.png")
    assert found.mode == "RGBA"
    assert found.getpixel((0, 0)) == (*RED, 0)
    assert found.getpixel((3, 3)) == (*BLUE, 255)


def test_palette_without_transparency_and_grey_become_rgb(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette(list(RED))
    picture.save(tmp_path / "a.png")
    Image.new("L", (4, 4), 77).save(tmp_path / "b.png")
    assert decode(tmp_path / "a.png").getpixel((2, 2)) == RED
    assert decode(tmp_path / "b.png").getpixel((2, 2)) == (77, 77, 77)


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    found = decode(tmp_path / "a.jpg")
    assert found.mode == "RGB"
    assert near(found.getpixel((8, 8)), (255, 0, 0))


@pytest.mark.parametrize(
    ("orientation", "size", "red_at", "blue_at"),
    [
        (1, (32, 16), (4, 8), (28, 8)),
        (3, (32, 16), (28, 8), (4, 8)),  # upside down
        (6, (16, 32), (8, 4), (8, 28)),  # camera on its side: stored left is up
        (8, (16, 32), (8, 28), (8, 4)),
    ],
)
def test_exif_orientation_is_applied(
    tmp_path: Path, orientation: int, size: tuple[int, int], red_at: tuple[int, int], blue_at: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    halves(RED, BLUE).save(tmp_path / "a.jpg", quality=95, exif=exif)
    found = decode(tmp_path / "a.jpg")
    assert found.size == size
    assert near(found.getpixel(red_at), RED)
    assert near(found.getpixel(blue_at), BLUE)


@pytest.mark.parametrize("orientation", range(10))
def test_orientation_is_pillows(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(decode(tmp_path / "a.png"), ImageOps.exif_transpose(image))


def test_odd_tags_beside_the_orientation_do_no_harm(tmp_path: Path) -> None:
    """A number's tag with text, as a damaged file had it: Pillow's exif_transpose raises struct.error."""
    text = struct.pack(">HHII", 0x0107, 2, 6, 38)
    turned = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + text + turned + bytes(4) + b"maker\0"
    halves(RED, BLUE).save(tmp_path / "a.jpg", quality=95, exif=exif)
    assert near(decode(tmp_path / "a.jpg").getpixel((8, 4)), RED)


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b""))
    with pytest.raises(UserError, match=r"bomb\.png: cannot decode .*pixels"):
        decode(path)


def make_folder(root: Path, files: dict[str, Image.Image | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path)
    return root


def test_folder_lists_classes_and_files_in_sorted_order(tmp_path: Path) -> None:
    tiny = Image.new("RGB", (2, 2))
    names = ["dog/b.png", "cat/sub/z.JPG", "cat/a.png", "dog/notes.txt", "dog/.hidden.png", ".git/x.png"]
    root = make_folder(tmp_path / "data", {name: tiny if not name.endswith("txt") else b"hello" for name in names})
    images = image_folder(root, name="mine")
    assert images.classes == ("cat", "dog")
    assert images.files == ("cat/a.png", "cat/sub/z.JPG", "dog/b.png")
    assert images.labels == (0, 0, 1)
    assert images.counts() == {"cat": 2, "dog": 1}
    assert images.path(2) == root / "dog" / "b.png"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no class folders"),
        ({"a.png": b"x"}, "no class folders"),
        ({"cat/a.png": b"x", "dog/notes.txt": b"x"}, "dog: a class without images"),
    ],
)
def test_empty_folder_and_class_without_images(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match=message):
        image_folder(make_folder(tmp_path / "data", dict(files)), name="mine")


def test_missing_folder_and_empty_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        image_folder(tmp_path / "nowhere", name="mine")
    with pytest.raises(UserError, match="no images"):
        ImageSet(name="mine", root=tmp_path, files=(), labels=(), classes=("cat",))


def test_other_classes_than_the_source_are_named(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", {"cat/a.png": noise(), "dgo/a.png": noise()})
    with pytest.raises(UserError, match=r"missing \['dog'\], unexpected \['dgo'\]"):
        image_folder(root, name="mine", classes=("cat", "dog"))


def test_classes_of_the_source_set_the_index(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", {"cat/a.png": noise(), "dog/a.png": noise()})
    images = image_folder(root, name="mine", classes=("dog", "cat"))
    assert images.labels == (0, 1)
    assert images.files == ("dog/a.png", "cat/a.png")


def test_identity_stays_and_changes_with_files_labels_and_classes(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", {"cat/a.png": noise(), "dog/a.png": noise()})
    first = image_folder(root, name="mine").identity
    assert image_folder(root, name="other name").identity == first
    moved = root.rename(tmp_path / "moved")
    assert image_folder(moved, name="mine").identity == first
    noise(41).save(moved / "cat" / "a.png")
    changed = image_folder(moved, name="mine").identity
    assert changed != first
    (moved / "cat" / "a.png").rename(moved / "cat" / "b.png")
    assert image_folder(moved, name="mine").identity not in (first, changed)
    assert image_folder(moved, name="m", classes=("dog", "cat")).identity != image_folder(moved, name="m").identity


def test_a_longer_picture_is_reduced_and_is_other_data(tmp_path: Path) -> None:
    """Not one that is small already; a ramp becomes twice as steep, and red below alpha 0 does not bleed into blue."""
    steps = Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))).convert("RGB")
    mixed = Image.new("RGBA", (32, 32), (*RED, 0))
    mixed.paste((*BLUE, 255), (0, 0, 15, 32))
    root = make_folder(tmp_path / "data", {"cat/a.png": halves(RED, BLUE), "cat/b.png": steps, "cat/c.png": mixed})
    whole = image_folder(root, name="mine")
    reduced = dataclasses.replace(whole, shorter_side=16)
    small, ramp, blended = (reduced.picture(index) for index in range(3))
    assert small.tobytes() == decode(root / "cat" / "a.png").tobytes()
    assert (ramp.size, blended.size) == ((32, 16), (16, 16))
    assert np.abs(np.diff(np.asarray(ramp)[5, 1:-1, 0].astype(int)) - 8).max() <= 1
    edge = np.asarray(blended)[8, 7]
    assert 0 < edge[3] < 255
    assert near(edge[:3], BLUE)
    assert reduced.identity != whole.identity
    assert dataclasses.replace(whole, shorter_side=None).identity == whole.identity


def test_identity_names_a_file_that_vanished(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "data", {"cat/a.png": noise()})
    images = image_folder(root, name="mine")
    (root / "cat" / "a.png").unlink()
    with pytest.raises(UserError, match=r"a\.png: No such file"):
        _ = images.identity


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


ODD = {
    "text that is no EXIF data": chunk(b"tEXt", b"exif\0hello"),
    "text that is no XMP": chunk(b"tEXt", b"xmp\0hello"),
    "text that is no transparency": chunk(b"tEXt", b"transparency\0yes"),
    "EXIF data that are cut": chunk(b"eXIf", b"MM\0*"),
    "EXIF data that are none": chunk(b"eXIf", b"hello world"),
}


@pytest.mark.parametrize("odd", ODD)
def test_bad_metadata_of_a_png_are_not_there(odd: str, tmp_path: Path) -> None:
    """They ended every command in a traceback; other readers show the picture."""
    noise().save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    start = content.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(content[:start] + ODD[odd] + content[start:])
    picture = decode(tmp_path / "a.png")
    assert picture.mode == "RGB"
    assert np.array_equal(np.array(picture), np.array(noise()))


def test_a_colour_profile_that_is_cut_is_one_line(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    end = content.index(b"IEND") - 4
    (tmp_path / "a.png").write_bytes(content[:end] + chunk(b"iCCP", b"") + content[end:])
    with pytest.raises(UserError, match=r"a\.png: cannot decode"):
        decode(tmp_path / "a.png")


@pytest.mark.parametrize(("bits", "grey"), [(1, 1), (2, 2), (4, 9), (8, 200)])
def test_the_transparent_grey_of_a_png_is_one_of_its_samples(bits: int, grey: int, tmp_path: Path) -> None:
    """Pillow scales samples of two and four bits to eight, but not the one that is transparent."""
    samples = [0, grey, 2**bits - 1, grey]
    row = sum(sample << (bits * place) for place, sample in enumerate(reversed(samples)))
    head = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    width = -(-4 * bits // 8)
    body = zlib.compress(b"\0" + (row << (8 * width - 4 * bits)).to_bytes(width, "big"))
    parts = ((b"IHDR", head), (b"tRNS", struct.pack(">H", grey)), (b"IDAT", body), (b"IEND", b""))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    alpha = np.array(decode(tmp_path / "a.png"))[0, :, 3]
    assert alpha.tolist() == [0 if sample == grey else 255 for sample in samples]


def test_a_set_in_the_working_folder_has_the_name_of_that(
    trees: Path, masked_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records called it by an empty name."""
    monkeypatch.chdir(trees / "source")
    assert load_domain(FolderDomain(dataset="folder", root=Path())).name == "source"
    assert unlabelled(Path(), ()).name == "source"
    monkeypatch.chdir(masked_tree)
    assert load_masked_domain(MaskedFolderDomain(dataset="masked-folder", root=Path())).name == masked_tree.name
