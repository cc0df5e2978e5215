"""The demos' tables, names and domains; the data itself where it is in the cache."""

import importlib.resources
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csg_train.data.check.pictures import check_pictures
from csg_train.demos import emoji_photos, emoji_styles, packages
from csg_train.demos.emoji_styles import Emoji, emoji_table, icon_svg
from csg_train.demos.packages import PACKAGES, Package, installed
from csg_train.demos.table import DEMOS, demo_domain, fetch
from csg_train.errors import UserError
from csg_train.files import data_root

ICONS = {
    "icons": {"dog-face": {"body": "<a/>"}, "catside": {"body": "<b/>", "width": 20}, "roundfruit": {"body": "<c/>"}},
    "aliases": {"puppy": {"parent": "dog"}, "dog": {"parent": "dog-face"}, "x": {"parent": "y"}, "y": {"parent": "x"}},
    "width": 10,
    "height": 10,
}


@pytest.mark.parametrize(
    ("emoji", "chars", "names", "body"),
    [
        (Emoji("1f436", "dog-face", "mammal"), {}, {}, "<a/>"),
        (Emoji("1f436", "puppy", "mammal"), {}, {}, "<a/>"),  # two aliases in a row
        (Emoji("1f436", "wrong", "mammal"), {"1f436-fe0f": "dog"}, {}, "<a/>"),  # the package's own table wins
        (Emoji("1f408", "cat", "mammal"), {"1f408": "dog"}, {"1f408": "catside"}, "<b/>"),  # ours wins over both
        (Emoji("1f351", "round-fruit", "fruit"), {}, {}, "<c/>"),  # fxemoji writes no hyphens
        (Emoji("1f351", "peach", "fruit"), {}, {}, None),
        (Emoji("1f351", "x", "fruit"), {}, {}, None),  # aliases in a circle
        (Emoji("e001", "dog-face", "mammal"), {}, {}, None),  # private use: OpenMoji only
    ],
)
def test_iconify_names(emoji: Emoji, chars: dict[str, str], names: dict[str, str], body: str | None) -> None:
    svg = icon_svg(emoji, ICONS, chars, names)
    assert (svg is None) if body is None else (svg is not None and body in svg)


def test_icon_size_may_differ_from_its_package() -> None:
    svg = icon_svg(Emoji("1f408", "catside", "mammal"), ICONS, {}, {})
    assert svg is not None
    assert 'viewBox="0 0 20 10"' in svg


def test_svg_is_drawn_in_its_colours_on_a_transparent_square() -> None:
    pytest.importorskip("resvg_py")
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 2"><path d="M0 0h2v2H0z" fill="#0f0"/></svg>'
    pixels = np.array(emoji_styles.render_svg(svg))
    assert pixels.shape == (160, 160, 4)
    assert (pixels[41:119, 1:79] == (0, 255, 0, 255)).all()
    assert (pixels[:, 81:, 3] == 0).all()
    assert (pixels[:39, :, 3] == 0).all()


def test_emoji_table_has_each_emoji_once_and_no_disputed_one() -> None:
    table = emoji_table()
    assert len({emoji.codepoint for emoji in table}) == len(table)
    assert {emoji.label for emoji in table} == set(emoji_photos.CLASSES)
    assert not {"1f345", "1f951", "1fad2"} & {emoji.codepoint for emoji in table}, "tomato, avocado, olive"
    assert all(re.fullmatch(r"[0-9a-f]{4,5}(-[0-9a-f]{4,5})*", emoji.codepoint) for emoji in table)
    assert all("fe0f" not in emoji.codepoint for emoji in table)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("assets/C001.jpeg", ("leafy", "ifct/C001", "ifct-C001.jpg")),
        ("assets/F019.jpeg", ("vegetable", "ifct/F019", "ifct-F019.jpg")),
        ("assets/A001.jpeg", None),
        ("index.ts", None),
        (
            "./usr/share/tuxpaint/stamps/animals/mammals/cats/lion-2.png",
            ("mammal", "tuxpaint/animals/mammals/cats/lion-2", "tuxpaint-lion-2.png"),
        ),
        (
            "./usr/share/tuxpaint/stamps/food/vegetables/redlettuce.png",
            ("leafy", "tuxpaint/food/vegetables/redlettuce", "tuxpaint-redlettuce.png"),
        ),
        ("./usr/share/tuxpaint/stamps/animals/mammals/bears/toys/edward_bear.png", None),
        ("./usr/share/tuxpaint/stamps/plants/flowers/plastic/chuvanna.png", None),
        ("./usr/share/tuxpaint/stamps/animals/birds/cartoon/owl.png", None),
        ("./usr/share/tuxpaint/stamps/animals/birds/owl.svg", None),
        ("./usr/share/tuxpaint/stamps/animals/insects/bee.png", None),
    ],
)
def test_photo_class(path: str, expected: tuple[str, str, str] | None) -> None:
    assert emoji_photos.photo_class(path) == expected


def test_pins_are_complete_and_no_registry_is_named() -> None:
    for package in PACKAGES.values():
        assert package.licence
        assert package.client == "pip" or (re.fullmatch("[0-9a-f]{64}", package.sha256) and package.version)
    for module in (packages, emoji_photos, emoji_styles):
        text = Path(str(module.__file__)).read_text(encoding="utf-8").replace("http://www.w3.org/", "")
        assert not re.search(r"https?://|registry\.\w|npmjs|pypi\.|debian\.org", text)


def test_pip_package_that_is_missing_names_the_extra() -> None:
    package = Package(client="pip", name="not-installed-here", version="1", sha256="", licence="MIT")
    with pytest.raises(UserError, match=r"not-installed-here: not installed; run: pip install 'csg-toolkit\[demo\]'"):
        installed(package)


def test_data_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSG_DATA_DIR", "/somewhere")
    assert data_root() == Path("/somewhere")
    monkeypatch.delenv("CSG_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_root() == Path("/cache/csg-toolkit")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_root() == Path.home() / ".cache" / "csg-toolkit"


def test_unknown_names_and_missing_data_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSG_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match="nothing: no such demo; choose one of emoji-photos, digits"):
        fetch("nothing", print)
    with pytest.raises(UserError, match="emoji: no such domain of emoji-photos; choose one of emoji:noto"):
        demo_domain("emoji-photos", "emoji")
    with pytest.raises(UserError, match="emoji-photos: not fetched; run: csg-train data fetch emoji-photos"):
        demo_domain("emoji-photos", "photos")


def test_every_table_ships_with_the_package() -> None:
    folder = importlib.resources.files("csg_train.demos")
    assert folder.joinpath("emoji_classes.csv").read_text().startswith("codepoint,name,class\n")
    assert folder.joinpath("photos_dropped.csv").read_text().startswith("file,reason\n")


IN_CACHE = (data_root() / DEMOS["emoji-photos"].folder / "SOURCE.json").is_file()


@pytest.mark.demo_data
@pytest.mark.skipif(not IN_CACHE, reason="csg-train data fetch emoji-photos")
@pytest.mark.parametrize("domain", list(DEMOS["emoji-photos"].domains))
def test_real_data_has_every_class_and_neither_duplicates_nor_bad_files(domain: str) -> None:
    images = demo_domain("emoji-photos", domain)
    result = check_pictures(images)
    assert images.name == domain
    assert images.classes == emoji_photos.CLASSES
    assert min(result.counts.values()) >= 3
    assert (result.duplicates, result.bad) == ((), ())
    if domain.startswith("emoji:"):
        with Image.open(images.path(0)) as first:
            assert (first.mode, first.size) == ("RGBA", (160, 160))
    else:
        assert sum(result.counts.values()) == 440
