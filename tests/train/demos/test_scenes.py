"""The demo of paste-ups: cut-outs and masks in closed form, and a whole build from hand-made pictures."""

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csg_train.data.check.masks import check_masks
from csg_train.data.readers.masks import MaskedSet, picture_and_mask
from csg_train.demos import scenes
from csg_train.demos.scenes import CLASSES, cut_out, drawn_background, paste_up
from csg_train.demos.table import DEMOS, demo_domain, fetch, masked_demo_domain, style_folder
from csg_train.errors import UserError
from csg_train.files import data_root

PAPER = 253


def on_paper(*boxes: tuple[slice, slice, tuple[int, int, int]], paper: int = PAPER) -> Image.Image:
    pixels = np.full((60, 90, 3), paper, dtype=np.uint8)
    for rows, columns, colour in boxes:
        pixels[rows, columns] = colour
    return Image.fromarray(pixels)


def alpha(image: Image.Image | None) -> np.ndarray:
    assert image is not None
    assert image.mode == "RGBA"
    return np.array(image)[..., 3]


RED = (200, 20, 20)
BLOCK = (slice(10, 50), slice(20, 70), RED)


def test_cut_out_is_the_thing_without_its_rim() -> None:
    image = on_paper(BLOCK)
    expected = np.zeros((60, 90))
    expected[11:49, 21:69] = 255
    assert (alpha(cut_out(image)) == expected).all()
    assert (np.array(cut_out(image))[..., :3] == np.array(image)).all(), "colours stay"


def test_enclosed_paper_goes_and_enclosed_pale_parts_stay() -> None:
    expected = np.zeros((60, 90))
    expected[11:49, 21:69] = 255
    pale = on_paper(BLOCK, (slice(20, 30), slice(30, 40), (240, 240, 240)))
    assert (alpha(cut_out(pale)) == expected).all()
    gap = on_paper(BLOCK, (slice(20, 30), slice(30, 40), (PAPER, PAPER, PAPER)))
    expected[19:31, 29:41] = 0
    assert (alpha(cut_out(gap)) == expected).all()


def test_pale_parts_that_touch_paper_through_two_pixels_are_not_eaten() -> None:
    belly = (slice(20, 40), slice(30, 60), (245, 245, 245))
    channel = (slice(40, 50), slice(44, 46), (245, 245, 245))
    assert alpha(cut_out(on_paper(BLOCK, belly, channel)))[22:38, 32:58].all()
    wide = (slice(40, 50), slice(40, 50), (245, 245, 245))
    assert not alpha(cut_out(on_paper(BLOCK, belly, wide)))[22:38, 32:58].any(), "through ten it is background"


@pytest.mark.parametrize(
    "image",
    [
        on_paper(BLOCK, paper=0),
        on_paper((slice(0, 60), slice(0, 90), RED)),
        on_paper((slice(30, 36), slice(40, 46), RED)),
        on_paper(),
    ],
    ids=["black", "full frame", "tiny", "nothing"],
)
def test_what_is_not_on_white_is_no_cut_out(image: Image.Image) -> None:
    assert cut_out(image) is None


def things(colours: dict[str, tuple[int, int, int]]) -> dict[str, list[Image.Image]]:
    return {label: [Image.new("RGBA", (50, 30), (*colour, 255))] for label, colour in colours.items()}


@pytest.mark.parametrize("seed", range(20))
def test_mask_is_where_the_thing_covers_half_of_a_pixel(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "_OBJECTS", (1, 1))
    under = Image.new("RGB", (128, 128))
    scene, mask_HW = paste_up(under, things(dict.fromkeys(CLASSES[1:], (255, 0, 0))), random.Random(seed))
    red = np.array(scene)[..., 0]  # 255 x coverage
    assert ((mask_HW > 0) == (red >= 128)).all()
    assert len(set(mask_HW[mask_HW > 0].tolist())) == 1
    assert (mask_HW > 0).sum() > 200, "the centre is always inside"


@pytest.mark.parametrize("seed", range(20))
def test_the_topmost_thing_owns_the_pixel(seed: int) -> None:
    colours = {label: (0, 10 + 40 * place, 255) for place, label in enumerate(CLASSES[1:])}
    scene, mask_HW = paste_up(Image.new("RGB", (128, 128)), things(colours), random.Random(seed))
    pixels = np.array(scene)
    for label, colour in colours.items():
        pure = (pixels == colour).all(axis=2)
        assert (mask_HW[pure] == CLASSES.index(label)).all()
    assert (mask_HW[(pixels == 0).all(axis=2)] == 0).all()


def test_draws_are_of_the_generator_alone() -> None:
    assert drawn_background(random.Random(3)).tobytes() == drawn_background(random.Random(3)).tobytes()
    assert drawn_background(random.Random(3)).tobytes() != drawn_background(random.Random(4)).tobytes()
    assert drawn_background(random.Random(3)).size == (128, 128)


STAMPS = {  # unique colours
    "bird": {"tuxpaint-owl": (255, 0, 90), "tuxpaint-duck": (255, 0, 180)},
    "mammal": {"tuxpaint-lion": (255, 60, 0), "tuxpaint-lion-2": (255, 120, 0), "tuxpaint-pig_golden": (255, 180, 0)},
    "fish": {"tuxpaint-cod": (0, 255, 60), "tuxpaint-eel": (0, 255, 120)},
    "flower": {"tuxpaint-rose": (0, 255, 180), "tuxpaint-iris": (60, 255, 0)},
    "fruit": {"tuxpaint-kiwi": (120, 255, 0), "tuxpaint-pear": (180, 255, 0)},
    "vegetable": {"tuxpaint-leek": (90, 255, 255), "tuxpaint-corn": (180, 255, 255)},
    "leafy": {"tuxpaint-lettuce": (255, 255, 255)},
}


def hand_made_demo(folder: Path) -> None:
    """``emoji-photos`` as `fetch` leaves it, with one flat emoji of each class and style, and flat stamps."""
    counts: dict[str, dict[str, int]] = {"photos": {}}
    for style in (*scenes.STYLES["synthetic"], *scenes.STYLES["validation"]):
        counts[f"emoji/{style}"] = dict.fromkeys(STAMPS, 1)
        for label in STAMPS:
            path = folder / "emoji" / style / label / "1f436.png"
            path.parent.mkdir(parents=True)
            Image.new("RGBA", (20, 20), (1, 2, 3, 255)).save(path)
    for label, stamps in STAMPS.items():
        (folder / "photos" / label).mkdir(parents=True)
        for name, colour in stamps.items():
            framed = Image.new("RGBA", (60, 40))
            framed.paste((*colour, 255), (5, 5, 55, 35))
            framed.save(folder / "photos" / label / f"{name}.png")
        counts["photos"][label] = len(stamps)
    Image.new("RGB", (40, 40), (9, 9, 9)).save(folder / "photos" / "fruit" / "ifct-E001.jpg")
    Image.new("RGB", (40, 40), (8, 8, 8)).save(folder / "photos" / "leafy" / "ifct-C001.jpg")
    for label in ("fruit", "leafy"):
        counts["photos"][label] += 1
    (folder / "SOURCE.json").write_text(json.dumps({"counts": counts}))


def halves(_archive: Path, folder: Path, _wanted: object) -> None:
    """Instead of unpacking: a background whose left half is dark red and whose right half is dark blue."""
    folder.mkdir(parents=True)
    photo = Image.new("RGB", (640, 240), (90, 0, 0))
    photo.paste((0, 0, 90), (320, 0, 640, 240))
    photo.save(folder / "Aqua.jpg", quality=100, subsampling=0)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CSG_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(scenes, "NUMBERS", {"synthetic": 5, "validation": 3, "target": 24, "real-train": 24})
    monkeypatch.setattr(scenes, "require_clients", lambda _: None)
    monkeypatch.setattr(scenes, "download", lambda _, folder: folder)
    monkeypatch.setattr(scenes, "extract", halves)
    hand_made_demo(tmp_path / DEMOS["emoji-photos"].folder)
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def shown(images: MaskedSet) -> set[str]:
    """Stamps of which a pixel is to be seen."""
    names = {colour: name for stamps in STAMPS.values() for name, colour in stamps.items()}
    seen = set()
    for index in range(len(images)):
        colours = {tuple(pixel) for pixel in np.array(picture_and_mask(images, index)[0]).reshape(-1, 3).tolist()}
        seen |= {names[colour] for colour in colours & set(names)}
    return seen


def test_build_makes_four_domains_that_are_read_as_masked_sets(root: Path) -> None:
    folder = fetch("scenes", lambda _: None)
    source = json.loads((folder / "SOURCE.json").read_text())
    assert source["counts"]["target"] == {"images": 24, "masks": 24}
    assert source["dropped"] == [{"file": "photos/fruit/ifct-E001.jpg", "reason": "no white background"}]
    assert source["cut_outs"]["synthetic"]["animal"] == 12, "two folders of six styles"
    assert source["cut_outs"]["validation"]["fish"] == 2
    for domain, number in scenes.NUMBERS.items():
        images = masked_demo_domain("scenes", domain)
        assert (images.name, len(images), images.classes) == (domain, number, CLASSES)
        assert check_masks(images).bad == check_masks(images).mismatches == ()
    assert [path.name for path in sorted(style_folder("scenes").rglob("*.*"))] == ["ifct-C001.jpg", "ifct-E001.jpg"]
    assert masked_demo_domain("scenes", "target", CLASSES[::-1]).ids[0] == 5
    with pytest.raises(UserError, match="classes differ from the source's"):
        masked_demo_domain("scenes", "target", ("background", "cat"))
    first = contents(folder)
    (folder / "target" / "images" / "0003.png").unlink()
    fetch("scenes", lambda _: None)
    assert contents(folder) == first, "damage is mended, and the same scenes come again"


def test_target_and_real_train_share_neither_cut_outs_nor_background(root: Path) -> None:
    fetch("scenes", lambda _: None)
    target, train = (masked_demo_domain("scenes", domain) for domain in ("target", "real-train"))
    one, other = shown(target), shown(train)
    assert one | other == {name for label, own in STAMPS.items() if label != "leafy" for name in own}
    assert not one & other
    assert len({"tuxpaint-lion", "tuxpaint-lion-2"} & one) in (0, 2)
    for images, channel in ((target, 0), (train, 2)):
        for index in range(len(images)):
            picture, mask_HW = picture_and_mask(images, index)
            background = np.array(picture)[mask_HW == 0]
            dark = background[background.max(axis=1) < 100]
            assert len(dark) > 1000
            assert dark[:, channel].min() > 80, "the own half"
            assert dark[:, 2 - channel].max() < 10, "nothing of the other"


def test_each_kind_of_demo_is_read_by_its_own_function(root: Path) -> None:
    with pytest.raises(UserError, match="scenes: not fetched; run: csg-train data fetch scenes"):
        masked_demo_domain("scenes", "target")
    with pytest.raises(UserError, match="scenes: not fetched; run: csg-train data fetch scenes"):
        style_folder("scenes")
    with pytest.raises(
        UserError, match="digits: a demo without pictures for styles; choose scenes, render-scenes, or a folder"
    ):
        style_folder("digits")
    with pytest.raises(UserError, match="scenes: a demo for segmentation; choose another"):
        demo_domain("scenes", "target")
    with pytest.raises(UserError, match="digits: a demo for classification; choose another"):
        masked_demo_domain("digits", "fonts")
    with pytest.raises(UserError, match="paintings: no such domain of scenes; choose one of synthetic, validation"):
        masked_demo_domain("scenes", "paintings")


IN_CACHE = (data_root() / DEMOS["scenes"].folder / "SOURCE.json").is_file()


@pytest.mark.demo_data
@pytest.mark.skipif(not IN_CACHE, reason="csg-train data fetch scenes")
@pytest.mark.parametrize("domain", ["validation", "target", "real-train"])
def test_real_data_has_every_class_and_neither_duplicates_nor_bad_files(domain: str) -> None:
    result = check_masks(masked_demo_domain("scenes", domain))
    assert result.pictures == 200
    assert (result.duplicates, result.bad, result.mismatches) == ((), (), ())
    assert min(result.counts.values()) > 40
    assert sum(result.pixels.values()) == 200 * 128 * 128
    assert 0.5 < result.pixels["background"] / (200 * 128 * 128) < 0.9
