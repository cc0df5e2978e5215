"""Emoji in eight drawing styles: from a package's files to RGBA pictures of one size.

Three kinds of package: iconify JSON (bodies of SVG under English names), folders of SVG named by code point, and a
folder of WebP named by code point. ``fluent-flat`` and ``fluent-3d`` are one design drawn in two ways, and the two
``noto`` are two generations: a style held out for validation should not have its twin in the source.
"""

import functools
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from PIL import Image

from csg_train.data.readers.images import decode
from csg_train.files import packaged_table

__all__ = ["SIDE", "STYLES", "Emoji", "Style", "emoji_table", "icon_svg", "pictures", "render_svg", "wanted_file"]

SIDE = 160
"""Width and height of every rendered emoji in pixels."""


class Emoji(NamedTuple):
    """A row of ``emoji_classes.csv``: code points in lower-case hexadecimal without fe0f, English name, class."""

    codepoint: str
    name: str
    label: str


@dataclass(frozen=True, slots=True)
class Style:
    """One drawing style: its name in tables, its package, and how the package stores pictures."""

    name: str
    package: str
    kind: Literal["iconify", "svg", "webp"]
    folder: str = ""


STYLES = (
    Style("noto", "@iconify-json/noto", "iconify"),
    Style("noto-v1", "@iconify-json/noto-v1", "iconify"),
    Style("fxemoji", "@iconify-json/fxemoji", "iconify"),
    Style("fluent-flat", "@iconify-json/fluent-emoji-flat", "iconify"),
    Style("emojione-v1", "@iconify-json/emojione-v1", "iconify"),
    Style("openmoji", "openmoji", "svg", "color/svg"),
    Style("twemoji", "@twemoji/svg", "svg"),
    Style("fluent-3d", "@lobehub/fluent-emoji-3d", "webp", "assets"),
)

# Names by which two packages without code points call an emoji, where the table's name does not lead there.
_EMOJIONE_NAMES = {
    "1f63a": "smiling-cat-face-with-open-mouth",
    "1f638": "grinning-cat-face-with-smiling-eyes",
    "1f639": "cat-face-with-tears-of-joy",
    "1f63b": "smiling-cat-face-with-heart-eyes",
    "1f63c": "cat-face-with-wry-smile",
    "1f63d": "kissing-cat-face",
    "1f640": "weary-cat-face",
    "1f63f": "crying-cat-face",
    "1f63e": "pouting-cat-face",
}
_FXEMOJI_NAMES = {  # draws the cat faces as foxes
    "1f346": "aubergine",
    "1f336": "chilipepper",
    "1f33d": "earofmaize",
    "1f342": "fallingleaf",
    "1f343": "leaffluttering",
    "1f54a": "doveofpeace",
    "1f425": "frontfacingchick",
    "1f433": "spurtingwhale",
    "1f439": "hampster",
    "1f411": "sheep",
    "1f42b": "bactriancamel",
    "1f42a": "dromedarycamel",
    "1f431": "cat",
    "1f408": "catside",
    "1f436": "dog",
    "1f415": "dogside",
    "1f430": "bunny",
    "1f407": "bunnyside",
    "1f42d": "mouse",
    "1f401": "mouseside",
    "1f42f": "tiger",
    "1f405": "tigerside",
    "1f406": "leopardside",
    "1f437": "pig",
    "1f416": "pigside",
    "1f43a": "wolfface",
    "1f43c": "pandaface",
    "1f648": "monkeysee",
    "1f649": "monkeyhear",
    "1f64a": "monkeyspeak",
    "1f63a": "foxsmiling",
    "1f638": "foxgrin",
    "1f639": "foxtearofjoy",
    "1f63b": "foxheart",
    "1f63c": "foxwry",
    "1f63d": "foxkissing",
    "1f640": "foxweary",
    "1f63f": "foxcrying",
    "1f63e": "foxpouting",
}
_OWN_NAMES = {"emojione-v1": _EMOJIONE_NAMES, "fxemoji": _FXEMOJI_NAMES}


@functools.cache
def emoji_table() -> tuple[Emoji, ...]:
    """The emoji that plainly show one of the seven classes, in the order of the CSV table beside this module."""
    rows = packaged_table("csg_train.demos", "emoji_classes.csv")
    return tuple(Emoji(row["codepoint"], row["name"], row["class"]) for row in rows)


def _key(stem: str) -> str:
    """File name to code point: lower case and without the variation selector fe0f, which packages use at will."""
    return "-".join(part for part in stem.lower().split("-") if part != "fe0f")


def wanted_file(style: Style, path: str) -> bool:
    """Whether a file of the package is needed to draw the emoji of the table."""
    if style.kind == "iconify":
        return path in ("icons.json", "chars.json")
    folder, _, name = path.rpartition("/")
    stem, _, suffix = name.rpartition(".")
    return (
        folder == style.folder and suffix == style.kind and _key(stem) in {emoji.codepoint for emoji in emoji_table()}
    )


def icon_svg(emoji: Emoji, icons: dict[str, Any], chars: Mapping[str, str], names: Mapping[str, str]) -> str | None:
    """The SVG of one emoji in an iconify package, or None where the style lacks it.

    Args:
        emoji: What to find.
        icons: Content of ``icons.json``: ``icons`` (name to ``body``), ``aliases`` (name to ``parent``), ``width``...
        chars: Code point to name, of ``chars.json``; it is empty in some packages.
        names: The style's own names for code points; they win over ``chars``, which wins over the table's name.
    """
    if emoji.codepoint.startswith("e0"):  # private use: OpenMoji's own, and others may mean another thing by the name
        return None
    by_key = {_key(code): name for code, name in chars.items()}
    name = names.get(emoji.codepoint) or by_key.get(emoji.codepoint) or emoji.name
    known, aliases = icons["icons"], icons.get("aliases", {})
    seen: set[str] = set()
    while name not in known and name in aliases and name not in seen:
        seen.add(name)
        name = aliases[name]["parent"]
    if name not in known:
        name = name.replace("-", "")  # fxemoji
    if name not in known:
        return None
    icon = known[name]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    left, top = (icon.get(side, icons.get(side, 0)) for side in ("left", "top"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
    )


def render_svg(svg: str) -> Image.Image:
    """Draw an SVG with resvg, its longer side `SIDE` pixels, centred on a transparent square."""
    import resvg_py  # only the extra 'demo' brings it

    drawn = resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE, skip_system_fonts=True)
    with Image.open(io.BytesIO(bytes(drawn))) as image:
        return _square(image.convert("RGBA"))


def _square(image: Image.Image) -> Image.Image:
    scale = SIDE / max(image.size)
    if scale != 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    if image.size == (SIDE, SIDE):
        return image
    square = Image.new("RGBA", (SIDE, SIDE))
    square.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return square


def pictures(style: Style, folder: Path) -> Callable[[Emoji], Image.Image | None]:
    """A function that draws one emoji of a style from its unpacked package, or returns None where it lacks it."""
    if style.kind == "iconify":
        icons = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
        chars = json.loads((folder / "chars.json").read_text(encoding="utf-8"))
        names = _OWN_NAMES.get(style.name, {})

        def from_icons(emoji: Emoji) -> Image.Image | None:
            svg = icon_svg(emoji, icons, chars, names)
            return None if svg is None else render_svg(svg)

        return from_icons
    files = {_key(path.stem): path for path in sorted((folder / style.folder).glob(f"*.{style.kind}"))}

    def from_files(emoji: Emoji) -> Image.Image | None:
        path = files.get(emoji.codepoint)
        if path is None:
            return None
        if style.kind == "svg":
            return render_svg(path.read_text(encoding="utf-8"))
        return _square(decode(path).convert("RGBA"))

    return from_files
