"""`check` finds what was planted; the contact sheet shows the right pixels at the right place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csg_train.data.check import sheet
from csg_train.data.check.pictures import Seen, Shared, check_pictures, creator_lines, pixel_hash
from csg_train.data.check.sheet import contact_sheet
from csg_train.data.readers.images import ImageSet, image_folder
from csg_train.errors import UserError


def flat(colour: tuple[int, ...], size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("RGB" if len(colour) == 3 else "RGBA", size, colour)


def folder(root: Path, pictures: dict[str, Image.Image]) -> ImageSet:
    for name, picture in pictures.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(root / name)
    return image_folder(root, name="mine", licence="CC0")


def test_a_clean_folder(tmp_path: Path) -> None:
    images = folder(
        tmp_path, {"cat/a.png": flat((1, 2, 3)), "cat/b.png": flat((1, 2, 4)), "dog/a.png": flat((9, 9, 9))}
    )
    result = check_pictures(images)
    assert result.counts == {"cat": 2, "dog": 1}
    assert (result.duplicates, result.bad, result.licence) == ((), (), "CC0")
    assert result.identity == images.identity
    assert list(result.lines())[-2:] == ["no exact duplicates", "no bad files"]


def test_planted_duplicates_are_found_across_formats_and_classes(tmp_path: Path) -> None:
    images = folder(
        tmp_path,
        {
            "cat/a.png": flat((10, 20, 30)),
            "cat/b.bmp": flat((10, 20, 30)),
            "cat/other.png": flat((10, 20, 30), (4, 16)),  # as many pixels, another shape
            "cat/x.png": flat((1, 1, 1)),
            "dog/y.png": flat((1, 1, 1)),
        },
    )
    first, second = check_pictures(images).duplicates
    assert (first.files, first.labels_differ) == (("cat/a.png", "cat/b.bmp"), False)
    assert (second.files, second.labels_differ) == (("cat/x.png", "dog/y.png"), True)
    lines = list(check_pictures(images).lines())
    assert lines[2] == "equal pixels but DIFFERENT CLASSES: cat/x.png, dog/y.png"
    assert lines[3] == "equal pixels: cat/a.png, cat/b.bmp"


def test_pictures_of_another_split_are_said(tmp_path: Path) -> None:
    """Half of what was held out was trained on, and each split said that it had no duplicates."""
    seen = Seen()
    first = folder(tmp_path / "a", {"cat/a.png": flat((1, 2, 3)), "cat/b.png": flat((1, 2, 4))})
    assert check_pictures(first, "source", seen).shared == ()
    second = folder(tmp_path / "b", {"cat/new.png": flat((5, 5, 5)), "cat/x.bmp": flat((1, 2, 4))})
    found = check_pictures(second, "validation", seen)
    assert found.shared == (Shared("cat/x.bmp", "source", "cat/b.png"),)
    assert "equal pixels IN SOURCE TOO: cat/x.bmp and cat/b.png" in list(found.lines())
    third = folder(tmp_path / "c", {"cat/y.png": flat((5, 5, 5))})
    assert check_pictures(third, "target", seen).shared == (Shared("cat/y.png", "validation", "cat/new.png"),)


def test_bad_and_vanished_files_are_listed_and_do_not_stop_the_check(tmp_path: Path) -> None:
    images = folder(tmp_path, {f"cat/{name}.png": flat((ord(name), 0, 0)) for name in "abc"})
    (tmp_path / "cat" / "a.png").write_bytes(b"")
    (tmp_path / "cat" / "b.png").unlink()
    result = check_pictures(images)
    assert [bad.file for bad in result.bad] == ["cat/a.png", "cat/b.png"]
    assert "cannot decode" in result.bad[0].message
    assert "no such image" in result.bad[1].message
    assert result.identity is None
    assert result.counts == {"cat": 3}


def test_long_lists_are_cut_with_a_count(tmp_path: Path) -> None:
    images = folder(tmp_path, {f"cat/{index:02d}.png": flat((index, 0, 0)) for index in range(25)})
    for index in range(25):
        (tmp_path / "cat" / f"{index:02d}.png").write_bytes(b"x")
    assert len(check_pictures(images).bad) == 25
    assert list(check_pictures(images).lines())[-1] == "and 15 more bad files"


def test_creators_are_named_up_to_ten_and_counted() -> None:
    names = [f"N. {number}" for number in range(12)]
    assert creator_lines(names[:2]) == ["by N. 0; N. 1"]
    assert creator_lines(names)[0].endswith("; N. 9 and 2 more (CREDITS.csv beside the data)")
    assert creator_lines([]) == []


def test_pixel_hash_looks_at_visible_pixels_only() -> None:
    assert pixel_hash(flat((5, 5, 5))) == pixel_hash(flat((5, 5, 5, 255)))
    assert pixel_hash(flat((5, 5, 5, 0))) == pixel_hash(flat((99, 0, 7, 0)))
    assert pixel_hash(flat((5, 5, 5, 254))) != pixel_hash(flat((5, 5, 5, 255)))
    assert pixel_hash(flat((5, 5, 5), (2, 8))) != pixel_hash(flat((5, 5, 5), (8, 2)))


def test_sheet_puts_pictures_in_their_class_block_over_white(tmp_path: Path) -> None:
    half = flat((0, 0, 255, 255), (64, 64))
    half.paste((0, 0, 0, 0), (0, 0, 32, 64))
    images = folder(tmp_path / "data", {"cat/a.png": flat((255, 0, 0), (64, 64)), "dog/b.png": half})
    contact_sheet(images, tmp_path / "out" / "sheet.png", size=64, columns=3)
    pixels = np.array(Image.open(tmp_path / "out" / "sheet.png"))
    block = 26 + 64 + 12 + 6  # heading, cell, caption, gap
    assert pixels.shape == (2 * block + 6, 6 + 3 * (64 + 6), 3)
    first, second = pixels[26 : 26 + 64, 6 : 6 + 64], pixels[block + 26 : block + 26 + 64, 6 : 6 + 64]
    assert (first == (255, 0, 0)).all()
    assert (second[:, :32] == 255).all()
    assert (second[:, 32:] == (0, 0, 255)).all()
    assert (pixels[26 : 26 + 64, 6 + 64 + 6 :] == 255).all(), "empty cells are white"
    assert (pixels[5:24, 6:100] < 128).any(), "the heading is written"


def test_sheet_enlarges_tiny_pictures_unblurred_and_shrinks_large_ones_in_proportion(tmp_path: Path) -> None:
    tiny = flat((0, 0, 0), (20, 20))
    tiny.putpixel((0, 0), (255, 0, 0))
    images = folder(tmp_path / "data", {"cat/a.png": tiny, "cat/b.png": flat((0, 255, 0), (400, 200))})
    contact_sheet(images, tmp_path / "sheet.png", size=64, columns=2)
    pixels = np.array(Image.open(tmp_path / "sheet.png"))
    cell = pixels[26 : 26 + 64, 6 : 6 + 64]
    assert (cell[2:5, 2:5] == (255, 0, 0)).all(), "20 pixels become 60: the first is a block of 3"
    assert (cell[5:62, 5:62] == 0).all()
    wide = pixels[26 : 26 + 64, 6 + 70 : 6 + 70 + 64]
    assert (wide[16:48] == (0, 255, 0)).all()
    assert (wide[:16] == 255).all()


def test_sheet_shows_a_bad_file_in_red_and_spreads_a_selection(tmp_path: Path) -> None:
    shades = {f"cat/{index:02d}.png": flat((index, index, index), (64, 64)) for index in range(10, 20)}
    images = folder(tmp_path / "data", shades)
    (tmp_path / "data" / "cat" / "10.png").write_bytes(b"broken")
    contact_sheet(images, tmp_path / "sheet.png", size=64, columns=2, per_class=2)
    pixels = np.array(Image.open(tmp_path / "sheet.png"))
    assert tuple(pixels[26, 6]) == (190, 0, 0)
    assert (pixels[26 : 26 + 64, 6 + 70 : 6 + 70 + 64] == 15).all(), "2 of 10: the first and the sixth"


def test_long_names_are_told_apart_by_their_ends(tmp_path: Path) -> None:
    names = [f"cat/a-model-of-a-very-long-name-{number}.png" for number in (1, 7)]
    images = folder(tmp_path / "data", dict.fromkeys(names, flat((255, 0, 0), (64, 64))))
    contact_sheet(images, tmp_path / "sheet.png", size=64, columns=2)
    captions = np.array(Image.open(tmp_path / "sheet.png"))[26 + 64 :, 6:]
    first, second = captions[:12, :64], captions[:12, 70 : 70 + 64]
    assert (first[:, :30] == second[:, :30]).all()
    assert (first != second).any()


def test_more_classes_than_a_sheet_holds_go_on_in_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {f"{name}/a.png": flat((shade, 0, 0), (64, 64)) for name, shade in zip("abc", (50, 100, 150), strict=True)}
    images = folder(tmp_path / "data", own)
    block = 26 + 64 + 12 + 6
    monkeypatch.setattr(sheet, "_HIGHEST", 2 * block + 6)
    paths = contact_sheet(images, tmp_path / "sheet.png", size=64, columns=1)
    assert paths == [tmp_path / "sheet.png", tmp_path / "sheet-2.png"] == sorted(tmp_path.glob("*.png"))[::-1]
    first, second = (np.array(Image.open(path))[:, :, 0] for path in paths)
    assert [len(first), len(second)] == [2 * block + 6, block + 6]
    assert [first[26 + 32, 38], first[block + 26 + 32, 38], second[26 + 32, 38]] == [50, 100, 150]


def test_sheet_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    images = folder(tmp_path / "data", {"cat/a.png": flat((1, 2, 3))})
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"sheet\.png: cannot write"):
        contact_sheet(images, tmp_path / "file" / "sheet.png")
