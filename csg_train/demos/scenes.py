"""Demo "scenes": paste-ups of emoji on drawn backgrounds (synthetic) and of photo cut-outs on photos (real).

Not street scenes, but the same question at 128 pixels: six classes, masks that are exact because we pasted, and a gap
between domains that is one of looks alone, for number, size and place of the objects are drawn alike in both.

``target`` and ``real-train`` share neither a cut-out nor a pixel of background: they take the left and the right half
of each photo, and cut-outs of one animal (``lion``, ``lion-2``) stay on one side. ``validation`` draws two styles that
``synthetic`` does not use and that have no twin there.

Sources: the built demo ``emoji-photos`` and the object-free nature photos of MATE's backgrounds. Cut-outs are stamps
with their transparency, and food photos on white. Food photos on black or with the food to the border are left out,
and no food photo serves as a background: those show onions and geese that no mask names. Food photos of which no scene
shows anything are kept apart as ``styles``: real textures without labels, for methods that borrow looks.
"""

import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from csg_train.data.check.colours import class_colours
from csg_train.data.readers.images import decode
from csg_train.demos.packages import PACKAGES, download, extract, require_clients
from csg_train.seeds import random_for

__all__ = [
    "BACKGROUNDS",
    "CLASSES",
    "SIDE",
    "build",
    "cut_out",
    "drawn_background",
    "halved",
    "paste_up",
    "photo_background",
    "save_scene",
    "trimmed",
]

CLASSES = ("background", "animal", "fish", "fruit", "vegetable", "flower")
SIDE = 128
STYLES = {
    "synthetic": ("noto", "noto-v1", "fluent-flat", "fluent-3d", "openmoji", "twemoji"),
    "validation": ("fxemoji", "emojione-v1"),
}
NUMBERS = {"synthetic": 1200, "validation": 200, "target": 200, "real-train": 200}

_FOLDERS = {
    "animal": ("bird", "mammal"),
    "fish": ("fish",),
    "fruit": ("fruit",),
    "vegetable": ("vegetable",),
    "flower": ("flower",),
}
BACKGROUNDS = frozenset(
    f"usr/share/backgrounds/mate/nature/{name}.jpg"
    for name in ("Aqua", "Blinds", "Dune", "GreenMeadow", "RainDrops", "Storm", "Wood")
)
"""Paths of the photos in ``mate-backgrounds`` that show nothing of a class."""
_OBJECTS = (1, 4)
_LONGER_SIDE = (40, 96)
_TURN = 20.0  # degrees either way
_PAPER = 251  # of a gap that the thing encloses
_WHITE = 232  # what JPEG leaves of a white background is at least this bright in every channel

Pasted = tuple[Image.Image, np.ndarray]


def build(emoji_photos: Path, folder: Path, work: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Build ``DOMAIN/images/NNNN.png``, ``DOMAIN/masks/NNNN.png``, ``DOMAIN/classes.txt`` and ``styles/images``.

    Args:
        emoji_photos: The built demo of that name.
        folder: An existing empty folder for the result.
        work: An existing folder for downloads, thrown away by the caller.
        report: Receives a line for each step.

    Returns:
        What ``SOURCE.json`` says: packages, counts, cut-outs of each class, dropped files with reasons.

    Raises:
        UserError: A client is missing, has no network, or delivers another archive than the pinned one.
    """
    package = PACKAGES["mate-backgrounds"]
    require_clients([package])
    report(f"{package.client}: {package.name} {package.version}")
    extract(download(package, work / "archive"), work / "files", lambda path: path.removeprefix("./") in BACKGROUNDS)
    photos = [decode(path).convert("RGB") for path in sorted((work / "files").rglob("*.jpg"))]
    report("cutting out photos")
    real, uncut = _photo_cut_outs(emoji_photos / "photos")
    things = {**_emoji_cut_outs(emoji_photos / "emoji"), **real}
    for domain, number in NUMBERS.items():
        report(f"pasting {number} scenes: {domain}")
        half = {"target": 0, "real-train": 1}.get(domain)
        for index in range(number):
            rng = random_for(0, "scenes", domain, index)
            under = drawn_background(rng) if half is None else photo_background(rng.choice(photos), half, rng)
            save_scene(folder / domain, index, paste_up(under, things[domain], rng), CLASSES)
        (folder / domain / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    styles = sorted([*uncut, *(emoji_photos / "photos" / "leafy").glob("ifct-*")])
    (folder / "styles" / "images").mkdir(parents=True)
    for path in styles:
        shutil.copyfile(path, folder / "styles" / "images" / path.name)
    return {
        "packages": [package.record()],
        "made_from": emoji_photos.name,
        "counts": {
            **{domain: {"images": number, "masks": number} for domain, number in NUMBERS.items()},
            "styles": {"images": len(styles)},
        },
        "cut_outs": {domain: {name: len(own) for name, own in by_class.items()} for domain, by_class in things.items()},
        "dropped": [
            {"file": f"photos/{path.parent.name}/{path.name}", "reason": "no white background"} for path in uncut
        ],
    }


def save_scene(folder: Path, index: int, scene: Pasted, classes: Sequence[str]) -> None:
    """Write ``images/NNNN.png`` and ``masks/NNNN.png``, the latter with a palette for people."""
    picture, mask_HW = scene
    mask = Image.fromarray(mask_HW)
    mask.putpalette([value for colour in class_colours(classes) for value in colour])
    for kind, image in (("images", picture), ("masks", mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        image.save(folder / kind / f"{index:04d}.png")


def _files(root: Path, label: str) -> Iterator[Path]:
    for folder in _FOLDERS[label]:
        yield from sorted((root / folder).glob("*.*"))


def _emoji_cut_outs(root: Path) -> dict[str, dict[str, list[Image.Image]]]:
    """By domain and class; every emoji is a cut-out as it is."""
    return {
        domain: {
            label: [trimmed(decode(path).convert("RGBA")) for style in styles for path in _files(root / style, label)]
            for label in _FOLDERS
        }
        for domain, styles in STYLES.items()
    }


def _photo_cut_outs(root: Path) -> tuple[dict[str, dict[str, list[Image.Image]]], list[Path]]:
    """By domain and class, half of the subjects of each class to either domain; and the photos that cannot be cut."""
    uncut = []
    found: dict[str, dict[str, list[Image.Image]]] = {domain: {} for domain in ("target", "real-train")}
    for label in _FOLDERS:
        subjects: dict[str, list[Image.Image]] = {}
        for path in _files(root, label):
            image = decode(path)
            cut = image if image.mode == "RGBA" else cut_out(image)
            if cut is None:
                uncut.append(path)
                continue
            subjects.setdefault(_subject(path.stem), []).append(trimmed(cut))
        for domain, half in zip(found, halved(subjects, random_for(0, "scenes", "halves", label)), strict=True):
            found[domain][label] = half
    return found, uncut


def halved(subjects: Mapping[str, Sequence[Image.Image]], rng: random.Random) -> tuple[list[Image.Image], ...]:
    """Two lists about as long, of which neither shows a subject of the other."""
    order = sorted(subjects)
    rng.shuffle(order)
    halves: tuple[list[Image.Image], ...] = ([], [])
    for subject in sorted(order, key=lambda subject: -len(subjects[subject])):
        min(halves, key=len).extend(subjects[subject])
    return halves


def _subject(stem: str) -> str:
    """``tuxpaint-lion-2`` and ``tuxpaint-lion`` show one subject; each food photo shows its own."""
    kind, _, name = stem.partition("-")
    return stem if kind == "ifct" else re.split(r"[-_\d]", name)[0]


def trimmed(image: Image.Image) -> Image.Image:
    """Without the fully transparent rows and columns around a cut-out."""
    return image.crop(image.getchannel("A").getbbox())


def cut_out(image: Image.Image) -> Image.Image | None:
    """Make the white around a photographed thing transparent, or return None where it is not on white.

    White are bright regions of at least three pixels' breadth that reach the border or, enclosed (the gap between two
    fish), are for two fifths as bright as the paper itself. The breadth keeps a pale belly at the edge from being
    eaten from outside. One more pixel of the rim goes, for JPEG mixes it with white.

    Args:
        image: ``RGB``.

    Returns:
        ``RGBA`` of the same size. None where less than two thirds of the border are white, or where the thing fills
        less than a twentieth of the picture.
    """
    from scipy import ndimage  # a quarter of a second, which no start but this has to wait for

    darkest_HW = np.array(image).min(axis=2)
    bright_HW = darkest_HW >= _WHITE
    border = np.concatenate([bright_HW[0], bright_HW[-1], bright_HW[:, 0], bright_HW[:, -1]])
    if border.mean() < 2 / 3:
        return None
    framed = np.pad(bright_HW, 2, constant_values=True)
    core = ndimage.binary_erosion(framed, np.ones((3, 3)), border_value=1)
    regions, number = ndimage.label(core)
    shares = ndimage.mean(np.pad(darkest_HW >= _PAPER, 2), regions, np.arange(1, number + 1))
    white = np.append(False, shares >= 0.4)  # region 0 is what is not bright
    white[regions[0, 0]] = True
    outside = ndimage.binary_dilation(white[regions], np.ones((3, 3))) & framed
    thing_HW = ~ndimage.binary_dilation(outside, np.ones((3, 3)))[2:-2, 2:-2]
    if thing_HW.mean() < 0.05:
        return None
    result = image.convert("RGBA")
    result.putalpha(Image.fromarray(thing_HW.astype(np.uint8) * 255))
    return result


def drawn_background(rng: random.Random) -> Image.Image:
    """Soft colours at several scales, each finer one half as strong; ``(SIDE, SIDE)`` ``RGB``."""
    total = np.zeros((SIDE, SIDE, 3))
    strength = 1.0
    for cells in (2, 4, 8, 16, 32):
        grid = np.frombuffer(rng.randbytes(cells * cells * 3), dtype=np.uint8).reshape(cells, cells, 3)
        layer = Image.fromarray(grid).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        total += strength * (np.array(layer, dtype=np.float64) - 127.5)
        strength *= rng.uniform(0.3, 0.7)
    return Image.fromarray(np.clip(total + 127.5, 0, 255).astype(np.uint8))


def photo_background(photo: Image.Image, half: int, rng: random.Random, *, result: int = SIDE) -> Image.Image:
    """A random square from the left (0) or right (1) half of a photo, half to all of its size; ``(result, result)``."""
    width = photo.width // 2
    side = round(min(width, photo.height) * rng.uniform(0.5, 1))
    left, top = half * width + rng.randint(0, width - side), rng.randint(0, photo.height - side)
    return photo.crop((left, top, left + side, top + side)).resize((result, result), Image.Resampling.LANCZOS)


def paste_up(under: Image.Image, things: Mapping[str, Sequence[Image.Image]], rng: random.Random) -> Pasted:
    """Paste one to four cut-outs of random classes on a background, later ones over earlier ones.

    Args:
        under: Background, ``RGB``.
        things: Cut-outs (``RGBA``) of each class but the background, in the classes' order.
        rng: Drawn from.

    Returns:
        The scene, and ``(H, W)`` uint8 classes: a pixel belongs to the topmost thing that covers at least half of it.
    """
    scene, labels = under.copy(), Image.new("L", under.size)
    names = list(things)
    for _ in range(rng.randint(*_OBJECTS)):
        label = rng.choice(names)
        thing = _placed(rng.choice(things[label]), rng, side=under.width)
        left = rng.randint(0, under.width) - thing.width // 2
        top = rng.randint(0, under.height) - thing.height // 2
        alpha = thing.getchannel("A")
        scene.paste(thing, (left, top), alpha)
        labels.paste(1 + names.index(label), (left, top), alpha.point([255 * (value >= 128) for value in range(256)]))
    return scene, np.array(labels)


def _placed(thing: Image.Image, rng: random.Random, *, side: int) -> Image.Image:
    """A cut-out mirrored, scaled and turned at random, for a scene of that side."""
    scale = rng.uniform(*_LONGER_SIDE) * side / SIDE / max(thing.size)
    if rng.random() < 0.5:
        thing = ImageOps.mirror(thing)
    size = (max(1, round(thing.width * scale)), max(1, round(thing.height * scale)))
    return thing.resize(size, Image.Resampling.LANCZOS).rotate(
        rng.uniform(-_TURN, _TURN), Image.Resampling.BICUBIC, expand=True
    )
