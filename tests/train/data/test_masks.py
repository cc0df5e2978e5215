"""Masks are read as ids and nothing else; the official layouts of three data sets, by files made by hand."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csg_train.data.readers.driving import CLASSES, LABELS, SYNTHIA_CLASSES, cityscapes, gta5, synthia
from csg_train.data.readers.listing import LeftOut
from csg_train.data.readers.mask_folders import masked_folder
from csg_train.data.readers.masks import IGNORE, MaskedSet, decode_mask, mismatches, picture_and_mask
from csg_train.errors import UserError

IDS = {0: 0, 1: 1, 7: 2, 255: 255}
RAW = np.array([[0, 1, 7], [255, 7, 0]], dtype=np.uint8)
TRAIN = np.array([[0, 1, 2], [255, 2, 0]], dtype=np.uint8)


def png(samples: np.ndarray, *, depth: int, kind: int) -> bytes:
    """A PNG by the standard alone: rows without filter; ``samples`` ``(H, W)`` or ``(H, W, channels)``."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = samples.shape[:2]
    if depth < 8:
        bits = np.unpackbits(samples[..., None].astype(np.uint8), axis=2)[..., 8 - depth :].reshape(height, -1)
        rows = [np.packbits(row).tobytes() for row in bits]
    else:
        rows = [row.astype(">u2" if depth == 16 else ">u1").tobytes() for row in samples]
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def save_palette(path: Path, raw: np.ndarray, palette: list[int]) -> None:
    image = Image.fromarray(raw)
    image.putpalette(palette)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def picture(height: int = 2, width: int = 3) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


def test_palette_masks_are_read_by_index_whatever_their_colours(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    for colour in (0, 7, 200):  # a grey reading would give 0, 7 or 200 everywhere
        save_palette(path, RAW, [colour] * 768)
        assert path.read_bytes()[24:26] == bytes((8, 3))
        assert (decode_mask(path, IDS) == TRAIN).all()
    save_palette(path, RAW, [0, 0, 0] * 7 + [1, 1, 1] + [0, 0, 0] * 248)  # index 7 looks like id 1
    assert (decode_mask(path, IDS) == TRAIN).all()


def test_grey_masks_and_palettes_of_few_bits(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    save(path, RAW)
    assert path.read_bytes()[24:26] == bytes((8, 0))
    assert (decode_mask(path, IDS) == TRAIN).all()
    assert decode_mask(path, IDS).dtype == np.uint8
    small = RAW % 2
    Image.fromarray(small).convert("P").save(path, bits=4)
    assert path.read_bytes()[24:26] == bytes((4, 3))
    assert (decode_mask(path, IDS) == small).all()


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_masks_of_few_bits_are_refused_for_pillow_stretches_them(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(png(np.array([[0, 1]]), depth=depth, kind=0))
    with pytest.raises(UserError, match=rf"mask\.png: a grey mask of {depth} bits a pixel; save it with 8 or 16"):
        decode_mask(path, IDS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(np.zeros((2, 2, 3)), depth=8, kind=2), "a mask with colours"),
        (png(np.zeros((2, 2, 4)), depth=8, kind=6), "a mask with colours"),
        (png(np.zeros((2, 2, 3)), depth=16, kind=2), "of 16 bits and three channels, .* use dataset: synthia"),
        (png(np.zeros((2, 2, 2)), depth=8, kind=4), "a grey mask with transparency; save it without"),
        (png(np.array([[0, 1]]), depth=8, kind=0)[:45], "cannot decode"),
        (b"GIF89a" + b"\0" * 40, "not a PNG file"),
        (b"", "not a PNG file"),
        (None, "no such mask"),
    ],
)
def test_bad_masks_are_one_line_with_the_file(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "mask.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        decode_mask(path, IDS)
    assert caught.value.format_message().startswith(str(path))


def test_unknown_id_is_named_with_its_pixels_and_the_known_ones(tmp_path: Path) -> None:
    save(tmp_path / "mask.png", np.array([[0, 9, 9], [30, 1, 0]], dtype=np.uint8))
    with pytest.raises(
        UserError, match=r"mask\.png: label id 9 \(2 pixels, the .* 2 such\) is not one of 0-1, 7, 255;"
    ):
        decode_mask(tmp_path / "mask.png", IDS)


def test_sixteen_bit_masks_take_the_first_channel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 1000, (2, 3, 3))
    samples[..., 0] = RAW
    path = tmp_path / "mask.png"
    path.write_bytes(png(samples, depth=16, kind=2))
    assert (np.array(Image.open(path))[..., 0] == 0).all(), "Pillow keeps the high bytes"
    assert (decode_mask(path, IDS, sixteen_bit=True) == TRAIN).all()
    samples[0, 0, 0] = 256  # a low byte of 0
    path.write_bytes(png(samples, depth=16, kind=2))
    with pytest.raises(UserError, match=r"label id 256 \(1 pixels\)"):
        decode_mask(path, IDS, sixteen_bit=True)
    path.write_bytes(png(samples, depth=16, kind=2)[:-30])
    with pytest.raises(UserError, match="cannot decode"):
        decode_mask(path, IDS, sixteen_bit=True)
    save(path, RAW)
    with pytest.raises(UserError, match="not of 16 bits and three channels"):
        decode_mask(path, IDS, sixteen_bit=True)


def own_folder(root: Path, names: tuple[str, ...] = ("a", "b", "deep/c")) -> Path:
    for name in names:
        save(root / "images" / f"{name}.png", picture())
        save(root / "masks" / f"{name}.png", np.array([[0, 1, 2], [2, 255, 0]], dtype=np.uint8))
    (root / "classes.txt").write_text("sky\nlow wall\ncar\n")
    return root


def test_own_folder_pairs_by_name(tmp_path: Path) -> None:
    root = own_folder(tmp_path / "mine")
    Image.fromarray(picture()).save(root / "images" / "b.jpg")
    (root / "images" / "b.png").unlink()
    images = masked_folder(root)
    assert (images.name, len(images)) == ("mine", 3)
    assert images.files == ("images/a.png", "images/b.jpg", "images/deep/c.png")
    assert images.masks == ("masks/a.png", "masks/b.png", "masks/deep/c.png")
    assert images.classes == ("sky", "low wall", "car")
    shown, mask_HW = picture_and_mask(images, 1)
    assert (shown.mode, shown.size) == ("RGB", (3, 2))
    assert mask_HW.tolist() == [[0, 1, 2], [2, IGNORE, 0]]


def test_own_folder_follows_the_order_of_the_sources_classes(tmp_path: Path) -> None:
    root = own_folder(tmp_path, ("a",))
    images = masked_folder(root, classes=("car", "sky", "low wall"))
    assert images.classes == ("car", "sky", "low wall")
    assert picture_and_mask(images, 0)[1].tolist() == [[1, 2, 0], [0, IGNORE, 1]]
    with pytest.raises(UserError, match=r"classes differ from the source's: missing \['bus'\], unexpected \['car'\]"):
        masked_folder(root, classes=("sky", "low wall", "bus"))


def test_own_folder_errors(tmp_path: Path) -> None:
    root = own_folder(tmp_path)
    (root / "masks" / "b.png").unlink()
    with pytest.raises(UserError, match=r"images/b\.png: no mask of the same name \(1 such files\)"):
        masked_folder(root)
    (root / "images" / "b.png").unlink()
    (root / "images" / "a.png").unlink()
    with pytest.raises(UserError, match=r"masks/a\.png: no picture of the same name"):
        masked_folder(root)
    (root / "classes.txt").write_text("sky\nsky\n")
    with pytest.raises(UserError, match=r"classes\.txt: needs 1 to 255 different class names"):
        masked_folder(root)
    (root / "classes.txt").write_text("sky\n\ncar\n\n")
    with pytest.raises(UserError, match=r"classes\.txt:2: blank, and an id is the number of a line"):
        masked_folder(root)
    (root / "classes.txt").unlink()
    with pytest.raises(UserError, match=r"classes\.txt: .* no such file; write the name of a class .* classes\.yaml"):
        masked_folder(root)
    with pytest.raises(UserError, match=r"no such file; check the path"):
        masked_folder(root / "mistyped")
    with pytest.raises(UserError, match=r"no pictures with masks; .* \(left out: 1 .*a\.exr"):
        MaskedSet("none", root, (), (), ("a",), {0: 0}, left_out=(LeftOut("images/a.exr", "another type"),))


def test_two_pictures_of_one_name_are_refused(tmp_path: Path) -> None:
    root = own_folder(tmp_path)
    Image.fromarray(picture()).save(root / "images" / "a.jpg")
    with pytest.raises(UserError, match="two pictures of the same name"):
        masked_folder(root)


def test_sizes_that_differ_are_listed_and_never_resized(tmp_path: Path) -> None:
    root = own_folder(tmp_path)
    save(root / "images" / "b.png", picture(4, 6))
    images = masked_folder(root)
    (found,) = mismatches(images)
    assert (found.file, found.size, found.mask, found.mask_size) == ("images/b.png", (6, 4), "masks/b.png", (3, 2))
    with pytest.raises(UserError, match=r"images/b\.png has 6x4 pixels but masks/b\.png has 3x2; replace one"):
        picture_and_mask(images, 1)
    (root / "masks" / "a.png").unlink()
    with pytest.raises(UserError, match=r"masks/a\.png: cannot read its size"):
        mismatches(images)


def test_turned_photos_fit_masks_of_the_upright_picture(tmp_path: Path) -> None:
    root = own_folder(tmp_path, ("a",))
    turned = Image.fromarray(picture(3, 2))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(root / "images" / "a.jpg", exif=exif)
    (root / "images" / "a.png").unlink()
    images = masked_folder(root)
    assert mismatches(images) == []
    assert picture_and_mask(images, 0)[0].size == (3, 2)


def test_transparent_pictures_lie_over_white(tmp_path: Path) -> None:
    root = own_folder(tmp_path, ("a",))
    pixels = np.zeros((2, 3, 4), dtype=np.uint8)
    pixels[0, 0, 3] = 255
    save(root / "images" / "a.png", pixels)
    assert np.array(picture_and_mask(masked_folder(root), 0)[0])[..., 0].tolist() == [[0, 255, 255], [255] * 3]


def test_identity_follows_names_ids_and_sizes(tmp_path: Path) -> None:
    root = own_folder(tmp_path)
    first = masked_folder(root)
    assert first.identity == masked_folder(root).identity
    assert len({first.identity, MaskedSet(**{**vars_of(first), "ids": {0: 0, 1: 2, 2: 1, 255: 255}}).identity}) == 2
    save(root / "masks" / "a.png", np.zeros((2, 3), dtype=np.uint8))
    assert masked_folder(root).identity != first.identity


def vars_of(images: MaskedSet) -> dict:
    return {key: getattr(images, key) for key in images.__dataclass_fields__}


def test_table_of_classes() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == len({label.colour for label in LABELS}) == 19
    assert [label.id for label in LABELS] == sorted(label.id for label in LABELS)
    assert len(SYNTHIA_CLASSES) == 16
    assert set(CLASSES) - set(SYNTHIA_CLASSES) == {"terrain", "truck", "train"}
    assert CLASSES[0] == "road"
    assert CLASSES[18] == "bicycle"


CITY = "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png"


def test_cityscapes_label_ids(tmp_path: Path) -> None:
    save(tmp_path / CITY, picture())
    raw = np.array([[7, 8, 33], [0, 34 - 1, 29]], dtype=np.uint8)  # 29: caravan, no class of the 19
    save(tmp_path / "gtFine/val/ulm/ulm_000000_000019_gtFine_labelIds.png", raw)
    save(tmp_path / "gtFine/val/ulm/ulm_000000_000019_gtFine_instanceIds.png", raw)
    images = cityscapes(tmp_path, "val")
    assert images.files == (CITY,)
    assert images.masks == ("gtFine/val/ulm/ulm_000000_000019_gtFine_labelIds.png",)
    assert (images.name, images.classes) == ("cityscapes:val", CLASSES)
    assert picture_and_mask(images, 0)[1].tolist() == [[0, 1, 18], [255, 18, 255]]


def test_cityscapes_train_ids_and_sixteen_classes(tmp_path: Path) -> None:
    save(tmp_path / CITY, picture())
    name = "gtFine/val/ulm/ulm_000000_000019_gtFine_labelTrainIds.png"
    save(tmp_path / name, np.array([[0, 9, 10], [255, 18, 13]], dtype=np.uint8))
    assert picture_and_mask(cityscapes(tmp_path, "val"), 0)[1].tolist() == [[0, 9, 10], [255, 18, 13]]
    sixteen = cityscapes(tmp_path, "val", classes=SYNTHIA_CLASSES)
    assert picture_and_mask(sixteen, 0)[1].tolist() == [[0, 255, 9], [255, 15, 12]]
    with pytest.raises(UserError, match="no labels for cat here; it knows road"):
        cityscapes(tmp_path, "val", classes=("cat",))


def test_cityscapes_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"leftImg8bit/val: no such folder; expected leftImg8bit/val/CITY"):
        cityscapes(tmp_path, "val")
    save(tmp_path / CITY, picture())
    with pytest.raises(UserError, match=r"gtFine_labelTrainIds\.png: no such file \(1 are missing\)"):
        cityscapes(tmp_path, "val")


def gta5_tree(root: Path, numbers: tuple[int, ...] = (1, 2, 3)) -> Path:
    for number in numbers:
        save(root / f"images/{number:05d}.png", picture())
        raw = np.array([[7, 34, 21], [0, 11, 4]], dtype=np.uint8)
        save_palette(root / f"labels/{number:05d}.png", raw, list(range(256)) * 3)
    return root


def test_gta5_with_and_without_its_list(tmp_path: Path) -> None:
    root = gta5_tree(tmp_path)
    images = gta5(root, "train")
    assert (len(images), images.name) == (3, "gta5:all pairs (no gta5_train.txt)")
    assert picture_and_mask(images, 0)[1].tolist() == [[0, 255, 8], [255, 2, 255]]
    (root / "gta5_train.txt").write_text("images/00003.png labels/00003.png\nimages/00001.png labels/00001.png\n")
    images = gta5(root, "train")
    assert (images.files, images.name) == (("images/00003.png", "images/00001.png"), "gta5:train")
    assert images.masks == ("labels/00003.png", "labels/00001.png")
    assert len(gta5(root, "all")) == 3


def test_gta5_pictures_that_were_saved_again_as_jpeg(tmp_path: Path) -> None:
    root = gta5_tree(tmp_path)
    for path in (root / "images").iterdir():
        path.rename(path.with_suffix(".jpg"))
    images = gta5(root, "train")
    assert (images.files[0], images.masks[0]) == ("images/00001.jpg", "labels/00001.png")


def test_a_copy_that_broke_off_is_no_smaller_set(tmp_path: Path) -> None:
    """Masks whose pictures are missing: a score over the rest would pass for one over all."""
    root = gta5_tree(tmp_path / "gta5")
    (root / "images/00002.png").unlink()
    with pytest.raises(UserError, match=r"labels/00002\.png: a mask without its picture \(1 are\); unpack"):
        gta5(root, "train")
    (root / "gta5_train.txt").write_text("images/00003.png labels/00003.png\n")  # which says what is meant
    assert len(gta5(root, "train")) == 1
    city = tmp_path / "cityscapes"
    save(city / CITY, picture())
    for name in ("ulm/ulm_000000_000019", "bonn/bonn_000000_000019", "bonn/bonn_000001_000019"):
        for kind in ("labelIds", "labelTrainIds", "color"):
            save(city / f"gtFine/val/{name}_gtFine_{kind}.png", np.zeros((2, 3), dtype=np.uint8))
    lost = r"bonn_000000_000019_gtFine_labelIds\.png: a mask without its picture \(2 are\)"
    with pytest.raises(UserError, match=lost):
        cityscapes(city, "val")
    for name in ("RGB/0.png", "GT/LABELS/0.png", "GT/LABELS/1.png"):
        save(tmp_path / "synthia" / name, picture())
    with pytest.raises(UserError, match=r"GT/LABELS/1\.png: a mask without its picture \(1 are\)"):
        synthia(tmp_path / "synthia")


def test_two_pictures_of_one_gta5_mask_are_refused(tmp_path: Path) -> None:
    root = gta5_tree(tmp_path)
    save(root / "images/00002.jpg", picture())
    with pytest.raises(UserError, match=r"labels/00002\.png: has two pictures of its name"):
        gta5(root, "all")


def test_gta5_errors(tmp_path: Path) -> None:
    root = gta5_tree(tmp_path)
    with pytest.raises(UserError, match=r"gta5_val\.txt: no such list"):
        gta5(root, "val")
    (root / "gta5_val.txt").write_text("images/00001.png\n")
    with pytest.raises(UserError, match=r"gta5_val\.txt:1: 'images/00001\.png' is not"):
        gta5(root, "val")
    (root / "gta5_val.txt").write_text("images/00001.png ../labels/00001.png\n")
    with pytest.raises(UserError, match="leaves the data folder"):
        gta5(root, "val")
    (root / "gta5_val.txt").write_text("images/00001.png labels/00002.png\n")
    with pytest.raises(UserError, match=r"gta5_val\.txt:1: .* is a picture with another one's mask"):
        gta5(root, "val")
    (root / "gta5_val.txt").write_text("images/00001.png labels/00001.png\n" * 2)
    with pytest.raises(UserError, match=r"gta5_val\.txt:2: 'images/00001.png' is in line 1 too; remove one"):
        gta5(root, "val")
    (root / "gta5_val.txt").write_text("\n")
    with pytest.raises(UserError, match=r"gta5_val\.txt: an empty list"):
        gta5(root, "val")
    (root / "labels" / "00002.png").unlink()
    with pytest.raises(UserError, match=r"labels/00002\.png: no such file \(1 are missing\)"):
        gta5(root, "all")
    with pytest.raises(UserError, match="images: no such folder"):
        gta5(root / "labels", "all")


def test_synthia(tmp_path: Path) -> None:
    save(tmp_path / "RGB" / "0000000.png", picture())
    samples = np.zeros((2, 3, 3), dtype=np.int64)
    samples[..., 0] = [[3, 1, 11], [0, 22, 16]]  # road, sky, bicycle; void, lane marking, terrain
    samples[..., 1] = 700
    (tmp_path / "GT" / "LABELS").mkdir(parents=True)
    (tmp_path / "GT" / "LABELS" / "0000000.png").write_bytes(png(samples, depth=16, kind=2))
    images = synthia(tmp_path)
    assert images.classes == SYNTHIA_CLASSES
    assert picture_and_mask(images, 0)[1].tolist() == [[0, 9, 15], [255, 255, 255]]
    (tmp_path / "GT" / "LABELS" / "0000000.png").unlink()
    with pytest.raises(UserError, match=r"GT/LABELS/0000000\.png: no such file"):
        synthia(tmp_path)
