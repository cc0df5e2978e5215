"""What was planted in a masked folder is found; the sheet shows picture and colours at the right place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csg_train.data.check.colours import class_colours, mask_sheet, overlay
from csg_train.data.check.masks import check_masks
from csg_train.data.check.pictures import check_pictures, identity_line
from csg_train.data.readers.driving import CLASSES
from csg_train.data.readers.mask_folders import masked_folder
from csg_train.data.readers.masks import MaskedSet, picture_and_mask
from csg_train.data.readers.sets import unlabelled
from csg_train.errors import UserError


def folder(root: Path, pairs: dict[str, tuple[np.ndarray, np.ndarray]]) -> MaskedSet:
    for name, (pixels, mask_HW) in pairs.items():
        for kind, array in (("images", pixels), ("masks", mask_HW)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(root / kind / f"{name}.png")
    (root / "classes.txt").write_text("sky\ncar\ntree\n")
    return masked_folder(root, name="mine", licence="CC0")


def flat(value: int, height: int = 4, width: int = 6) -> np.ndarray:
    return np.full((height, width, 3), value)


MASK = np.array([[0, 0, 0, 1, 1, 255]] * 4)


def test_masks_none_of_which_can_be_read_have_no_share(tmp_path: Path) -> None:
    images = folder(tmp_path, {"a": (flat(1), MASK)})
    (tmp_path / "masks" / "a.png").write_bytes(b"")
    lines = list(check_masks(images).lines())
    assert "no mask could be read" in lines
    assert not [line for line in lines if "nan" in line]


def test_a_clean_folder(tmp_path: Path) -> None:
    images = folder(tmp_path, {"a": (flat(1), MASK), "b": (flat(2), np.zeros((4, 6)))})
    result = check_masks(images)
    assert result.pixels == {"sky": 12 + 24, "car": 8, "tree": 0}
    assert result.counts == {"sky": 2, "car": 1, "tree": 0}
    assert result.ignored == pytest.approx(4 / 48)
    assert list(result.lines()) == [
        "2 pictures with masks; licence: CC0",
        identity_line(images.identity),
        "ignored pixels: 8.3%",
        "classes without a pixel: tree",
        "no exact duplicates",
        "all sizes agree",
        "no bad files",
    ]


def test_transparency_is_counted_and_a_picture_of_nothing_is_bad(tmp_path: Path) -> None:
    """Alpha that held something else, as engines write it, would train on white."""
    images = folder(tmp_path, {name: (flat(index), MASK) for index, name in enumerate("abc")})
    for name, alpha in (("a", 0), ("b", 128)):
        pixels = np.dstack([flat(9), np.full(MASK.shape, alpha)])
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / f"{name}.png")
    result = check_masks(images)
    assert [(bad.file, "transparent everywhere" in bad.message) for bad in result.bad] == [("images/a.png", True)]
    assert "pictures with transparency: 1; under it is white" in list(result.lines())
    with pytest.raises(UserError, match=r"images/a\.png: transparent everywhere"):
        picture_and_mask(images, 0)
    pictures = check_pictures(unlabelled(tmp_path / "images", CLASSES))
    assert (pictures.transparent, [bad.file for bad in pictures.bad]) == (1, ["a.png"])


def test_planted_faults_are_listed_and_do_not_stop_the_check(tmp_path: Path) -> None:
    images = folder(
        tmp_path,
        {
            "a": (flat(1), MASK),
            "b": (flat(1), MASK),
            "c": (flat(1), MASK + (MASK == 1)),
            "d": (flat(9, 8, 12), MASK),
            "e": (flat(3), MASK),
            "f": (flat(4), MASK),
            "g": (flat(5), MASK + 40 * (MASK == 0)),
        },
    )
    (tmp_path / "masks" / "e.png").unlink()
    (tmp_path / "images" / "f.png").write_bytes(b"broken")
    result = check_masks(images)
    (group,) = result.duplicates
    assert (group.files, group.labels_differ) == (("images/a.png", "images/b.png", "images/c.png"), True)
    assert [pair.file for pair in result.mismatches] == ["images/d.png"]
    assert [bad.file for bad in result.bad] == ["masks/e.png", "images/f.png", "masks/g.png"]
    assert result.identity is None
    assert result.counts == {"sky": 5, "car": 4, "tree": 1}
    lines = list(result.lines())
    assert "identity unknown, for a file is missing" in lines
    assert "equal pixels but DIFFERENT MASKS: images/a.png, images/b.png, images/c.png" in lines
    assert any("images/d.png has 12x8 pixels but masks/d.png has 6x4" in line for line in lines)
    assert any("label id 40 (12 pixels)" in line for line in lines)


def test_long_lists_are_cut_with_a_count(tmp_path: Path) -> None:
    images = folder(tmp_path, {f"{index:02d}": (flat(index, 8, 8), MASK) for index in range(14)})
    assert "and 4 more pairs of different size" in list(check_masks(images).lines())


def test_colours() -> None:
    assert class_colours(("car", "road")) == ((0, 0, 142), (128, 64, 128))
    assert len(set(class_colours(CLASSES))) == 19
    mine = class_colours(("background", *(f"class {index}" for index in range(30))))
    assert mine[0] == (0, 0, 0)
    assert len(set(mine)) == 31


def test_overlay_mixes_and_leaves_ignored_pixels() -> None:
    picture = Image.fromarray(flat(100).astype(np.uint8))
    mixed = np.array(overlay(picture, MASK.astype(np.uint8), ((200, 0, 100), (0, 0, 0)), strength=0.5))
    assert (mixed[:, :3] == (150, 50, 100)).all()
    assert (mixed[:, 3:5] == 50).all()
    assert (mixed[:, 5] == 100).all()


def test_sheet_shows_each_picture_beside_its_mask(tmp_path: Path) -> None:
    masks = [np.zeros((32, 32)), np.ones((32, 32))]
    images = folder(tmp_path / "data", {f"{i}": (flat(100 + i, 32, 32), mask) for i, mask in enumerate(masks)})
    mask_sheet(images, tmp_path / "out" / "sheet.png", size=32, columns=2)
    pixels = np.array(Image.open(tmp_path / "out" / "sheet.png"))
    top, colours = 6 + 18 * 3, class_colours(images.classes)
    for place in range(2):
        left = 6 + place * (2 * 32 + 12)
        assert (pixels[top : top + 32, left : left + 32] == 100 + place).all()
        expected = np.rint(0.3 * (100 + place) + 0.7 * np.array(colours[place]))
        assert np.abs(pixels[top : top + 32, left + 32 : left + 64] - expected).max() <= 1
    assert (pixels[18 + 4, 6 + 4] == colours[0]).all(), "the legend"


def test_sheet_names_a_bad_pair_and_its_own_file(tmp_path: Path) -> None:
    images = folder(tmp_path / "data", {"a": (flat(1), MASK), "b": (flat(2, 8, 8), MASK)})
    mask_sheet(images, tmp_path / "sheet.png", size=32, columns=2)
    pixels = np.array(Image.open(tmp_path / "sheet.png")).astype(int)
    reddish = (pixels[..., 0] > 150) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)
    caption = reddish[6 + 18 * 3 + 32 :]
    assert not caption[:, : 6 + 2 * 32 + 6].any()
    assert caption[:, 6 + 2 * 32 + 12 :].any()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"sheet\.png: cannot write"):
        mask_sheet(images, tmp_path / "file" / "sheet.png")


def test_an_id_of_two_colours_is_said_and_not_where_colours_count(tmp_path: Path) -> None:
    """Palettes that were chosen for each file alone: id 1 is red in one and green in the other."""
    images = folder(tmp_path, {"a": (flat(1), MASK), "b": (flat(2), MASK), "c": (flat(3), MASK)})
    for name, colours in (("a", [0, 0, 0, 255, 0, 0]), ("b", [0, 0, 0, 0, 255, 0])):
        mask = Image.fromarray(np.where(MASK == 255, 0, MASK).astype(np.uint8))
        mask.putpalette(colours)
        mask.save(images.mask_path("ab".index(name)))
    (line,) = (line for line in check_masks(images).lines() if "palettes" in line)
    assert line.startswith("palettes differ: id 1 is #ff0000 in masks/a.png and #00ff00 in masks/b.png; where each")
    mask.putpalette([0, 0, 0, 255, 0, 0, 9, 9, 9])  # what no pixel has does not count
    mask.save(images.mask_path(1))
    assert not check_masks(images).palettes
    for place, colour in enumerate((0, 9)):  # nor what is ignored
        mask = Image.fromarray(MASK.astype(np.uint8))
        mask.putpalette([0, 0, 0, 255, 0, 0] + 254 * [colour] * 3)
        mask.save(images.mask_path(place))
    assert not check_masks(images).palettes
