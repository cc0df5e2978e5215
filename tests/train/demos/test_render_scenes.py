"""Rendered scenes: masks against other renderings of the same scene, and a whole build from hand-made packages."""

import csv
import hashlib
import io
import json
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from csg_train.data.check.masks import check_masks
from csg_train.data.readers.masks import picture_and_mask
from csg_train.demos import creators, render_demos, render_scenes, scene_stage
from csg_train.demos.render_demos import model_name, photo_place, table
from csg_train.demos.render_scenes import BACKGROUNDS, CLASSES, SPLITS
from csg_train.demos.scene_plan import SETTINGS, Camera, Light, Plan, Thing, draw_plan
from csg_train.demos.scene_stage import Model, SceneStage
from csg_train.demos.table import fetch, masked_demo_domain, style_folder
from csg_train.errors import UserError
from tests.train.demos.conftest import one_by_one
from tests.train.demos.models import write_box, write_square

SUN = Light(azimuth=90.0, elevation=45.0, key=0.9, fill=0.4, softness=0.5, warmth=0.0)
AHEAD = Camera(place=(0.0, 1.0, 4.0), target=(0.0, 0.5, 0.0), roll=0.0, angle=45.0)


def plan_of(*things: Thing, camera: Camera = AHEAD, light: Light = SUN, surroundings: int = 5) -> Plan:
    return Plan(setting="garden", things=things, camera=camera, light=light, surroundings=surroundings)


@pytest.fixture(scope="module")
def stage(renderer: None, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("models")
    leaf_HW4 = np.full((16, 16, 4), 255, dtype=np.uint8)
    leaf_HW4[:, :8, 3] = 0
    paths = {
        "cube": write_box(folder / "cube.obj"),
        "flat": write_box(folder / "flat.obj", width=2, height=0.5),
        "leaf": write_square(folder / "leaf.obj", leaf_HW4),
    }
    models = [Model(name=name, path=path, label="tool", size=1.0) for name, path in paths.items()]
    with SceneStage(models, side=48) as stage:
        yield stage


def things_of(stage: SceneStage, plan: Plan) -> np.ndarray:
    stage.set_up(plan)
    return stage.things()


def test_models_have_their_size_and_stand_on_the_ground(stage: SceneStage) -> None:
    assert stage.sizes["cube"] == pytest.approx((1, 1, 1))
    assert stage.sizes["flat"] == pytest.approx((1, 0.25, 0.5))
    level = Camera(place=(0.0, 0.0, 4.0), target=(0.0, 0.0, 0.0), roll=0.0, angle=45.0)
    seen_HW = things_of(stage, plan_of(Thing(model="cube", x=0, z=0, yaw=0), camera=level)) > 0
    high = 24 * 1 / (3.5 * np.tan(np.radians(22.5)))  # pixels: the front is 3.5 from the camera
    rows, columns = np.nonzero(seen_HW)
    assert rows.max() == 23, "its foot is at the horizon of a camera on the ground"
    assert abs((rows.max() - rows.min() + 1) - high) < 1.5, "ties are the thing's"
    assert abs((columns.max() - columns.min() + 1) - high) < 1.5, "ties are the thing's"


def test_mask_of_a_scene_is_that_of_each_thing_alone_where_it_is_nearer(
    stage: SceneStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cube stands wholly before the box, so that who is in front is known without a depth test."""
    monkeypatch.setattr(scene_stage, "voted", lambda drawn_HW, times: drawn_HW)
    near, far = Thing(model="cube", x=0.5, z=1, yaw=20), Thing(model="flat", x=-0.2, z=-1, yaw=70)
    alone_near, alone_far = (things_of(stage, plan_of(one)) > 0 for one in (near, far))
    for order in ((near, far), (far, near)):
        expected = np.where(alone_near, order.index(near) + 1, np.where(alone_far, order.index(far) + 1, 0))
        assert (things_of(stage, plan_of(*order)) == expected).all()
    assert alone_near.sum() > 100
    assert (alone_far & ~alone_near).sum() > 5
    assert (alone_far & alone_near).any(), "one before the other"


def test_what_a_texture_cuts_out_is_not_in_the_mask(stage: SceneStage) -> None:
    leaf = Thing(model="leaf", x=0, z=0, yaw=0)
    seen_HW = things_of(stage, plan_of(leaf)) > 0
    columns = np.nonzero(seen_HW.any(axis=0))[0]
    assert columns.min() >= 23, "its left half is transparent"
    assert seen_HW.sum() > 100


def test_picture_changes_where_the_mask_says_and_in_the_shadow_but_nowhere_above(stage: SceneStage) -> None:
    overcast = Light(azimuth=0.0, elevation=60.0, key=0.0, fill=0.9, softness=5.0, warmth=0.0)
    cube, aside = Thing(model="cube", x=0, z=0, yaw=0), Thing(model="cube", x=60, z=0, yaw=0)
    pictures = []
    for one in (cube, aside):
        stage.set_up(plan_of(one, light=overcast))
        mask_HW = stage.things() > 0
        pictures.append((stage.picture().astype(float), mask_HW))
    (with_cube, mask_HW), (without, nothing_HW) = pictures
    assert not nothing_HW.any()
    gain = np.median((with_cube + 1) / (without + 1))  # the exposure of the two
    changed_HW = np.abs(with_cube - gain * without).max(axis=2) > 24
    assert (changed_HW & mask_HW).sum() > 0.8 * mask_HW.sum()
    assert not (changed_HW & ~mask_HW)[:8].any()


def test_shadow_falls_away_from_the_lamp(stage: SceneStage) -> None:
    cube = Thing(model="cube", x=0, z=0, yaw=0)
    brightness = {}
    for azimuth in (90.0, -90.0):
        light = Light(azimuth=azimuth, elevation=45.0, key=0.9, fill=0.4, softness=0.5, warmth=0.0)
        stage.set_up(plan_of(cube, light=light))
        mask_HW = stage.things() > 0
        row = np.nonzero(mask_HW)[0].max()
        picture = stage.picture().mean(axis=2)
        columns = np.nonzero(mask_HW[row])[0]
        brightness[azimuth] = (
            picture[row, columns.min() - 5 : columns.min() - 1].mean(),
            picture[row, columns.max() + 2 : columns.max() + 6].mean(),
        )
    assert brightness[90.0][0] < 0.8 * brightness[90.0][1], "the lamp is on the right"
    assert brightness[-90.0][1] < 0.8 * brightness[-90.0][0]


@pytest.mark.parametrize("setting", SETTINGS)
def test_same_plan_same_pixels_whatever_was_drawn_before(stage: SceneStage, setting: str) -> None:
    plan = draw_plan(setting, {"tool": list(stage.sizes.items())}, random.Random(2))
    drawn = []
    for other in (None, "street"):
        if other:
            stage.set_up(draw_plan(other, {"tool": list(stage.sizes.items())}, random.Random(7)))
            stage.picture()
        stage.set_up(plan)
        drawn.append((stage.things(), stage.picture()))
    for first, second in zip(*drawn, strict=True):
        assert (first == second).all()
    assert drawn[0][1].std() > 5


# A whole build, from packages made by hand.
ROWS = [(label, split) for label in CLASSES[1:] for split in ("train", "held-out")]


def model_rows() -> list[dict[str, str]]:
    plain = {"library": "Lib.sh3f", "parts": "", "name": "Thing", "creator": "Ann", "licence": "CC0-1.0"}
    names = [f"{split}-{label}" for label, split in ROWS]
    return [
        {"class": label, "split": split, "model": f"lib/{name}/{name}.obj", **plain}
        for (label, split), name in zip(ROWS, names, strict=True)
    ]


def scene_rows() -> list[dict[str, str]]:
    return [{"model": model_name(row), "settings": " ".join(SETTINGS), "size": "0.4"} for row in model_rows()]


def photo_rows() -> list[dict[str, str]]:
    files = [(label, f"tuxpaint/{label}/{name}.png") for label in CLASSES[1:] for name in ("ant", "bee", "bee-2")]
    files += [("plant", "ifct/C001.jpeg"), ("food", "ifct/D001.jpeg")]
    return [{"class": label, "file": file, "creator": "Bob", "licence": "GPL-2"} for label, file in files]


def colour_of(number: int) -> tuple[int, int, int]:
    return 255, 4 * number + 3, 120


def unpack(package: str, files: Path, wanted) -> None:
    """What `extract` would leave of a hand-made package."""
    contents: dict[str, bytes] = {}
    if package == "sweethome3d-furniture":
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for place, row in enumerate(model_rows()):
                box = write_box(files / "box.obj", width=1 + place / 40)
                archive.write(box, row["model"])
            box.unlink()
        contents["usr/share/sweethome3d/furniture/Lib.sh3f"] = stream.getvalue()
    pictures = {path: Image.linear_gradient("L").convert("RGB").resize((80, 40)) for path in BACKGROUNDS}
    if package != "mate-backgrounds":
        pictures = {}
    for number, row in enumerate(photo_rows()):
        owner, path, _ = photo_place(row["file"])
        if owner == package:
            pictures[path] = Image.new("RGBA" if path.endswith("png") else "RGB", (20, 30), colour_of(number))
    for path, picture in pictures.items():
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        contents[path] = stream.getvalue()
    for path, content in contents.items():
        assert wanted(f"./{path}")
        (files / path).parent.mkdir(parents=True, exist_ok=True)
        (files / path).write_bytes(content)


@pytest.fixture
def downloads(one_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    fetched: list[str] = []

    def download(package: object, folder: Path) -> Path:
        fetched.append(package.name)
        folder.mkdir(parents=True)
        (folder / package.name.replace("/", "_")).touch()
        return folder / package.name.replace("/", "_")

    tables = {"render_models.csv": model_rows(), "scene_models.csv": scene_rows(), "render_photos.csv": photo_rows()}
    monkeypatch.setenv("CSG_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(render_scenes, "NUMBERS", {"synthetic": 4, "validation": 2, "target": 8, "real-train": 8})
    monkeypatch.setattr(render_scenes, "SIDE", 32)
    monkeypatch.setattr(render_scenes, "table", lambda name: tables[name])
    monkeypatch.setattr(render_scenes, "require_clients", lambda packages: None)
    monkeypatch.setattr(render_demos, "download", download)
    monkeypatch.setattr(
        render_demos,
        "extract",
        lambda archive, files, wanted: unpack(archive.name.replace("_", "/"), files, wanted),
    )
    return fetched


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_build_makes_four_domains_and_an_interrupted_one_goes_on(
    downloads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render_scenes, "drawn", one_by_one)
    lines: list[str] = []
    folder = fetch("render-scenes", lines.append)
    assert downloads == list(render_scenes.PACKAGES_USED)
    assert "drew 6 of 6 scenes" in lines
    whole = contents(folder)
    source = json.loads((folder / "SOURCE.json").read_text())
    assert set(source["cut_outs"]["target"].values()) <= {1, 2}
    assert len(source["identity"]) == 64
    for domain, number in render_scenes.NUMBERS.items():
        images = masked_demo_domain("render-scenes", domain)
        assert (images.name, len(images), images.classes) == (domain, number, CLASSES)
        assert check_masks(images).bad == check_masks(images).mismatches == ()
        for index in range(number):
            picture, mask_HW = picture_and_mask(images, index)
            assert picture.size == mask_HW.shape[::-1] == (32, 32)
    assert [path.name for path in style_folder("render-scenes").rglob("*.*")] == ["ifct-C001.jpeg"]
    rows = list(csv.DictReader((folder / "manifest.csv").read_text().splitlines()))
    assert [row["path"] for row in rows] == sorted(
        file for file in whole if file.partition("/")[0] in SPLITS and "images" in file
    )
    for row in rows:
        split = SPLITS[row["path"].partition("/")[0]]
        assert row["models"]
        assert all(name.startswith(f"lib-{split}-") for name in row["models"].split()), (
            "never a model of the other side"
        )
        mask_HW = np.array(Image.open(folder / row["path"].replace("images", "masks")))
        shown = {name.removeprefix(f"lib-{split}-") for name in row["models"].split()}
        assert {CLASSES[value] for value in np.unique(mask_HW)} - {"background"} == shown
        assert abs((mask_HW > 0).mean() - float(row["covered"])) < 1e-3
    credited = list(csv.DictReader((folder / "CREDITS.csv").read_text().splitlines()))
    assert {row["package"] for row in credited} >= {"sweethome3d-furniture, Lib.sh3f", "mate-backgrounds"}
    assert "ifct/D001.jpeg" not in {row["file"] for row in credited}
    assert creators(folder / "synthetic") == ("Ann",)
    assert creators(folder / "target") == ("Bob", "MATE backgrounds' contributors")

    shutil.rmtree(folder)
    downloads.clear()
    portions: list[int] = []

    def stopping(jobs: list, workers: int, draw):
        portions.append(len(jobs))
        yield from one_by_one(jobs[:2], workers, draw)
        draw(jobs[2])
        raise KeyboardInterrupt

    monkeypatch.setattr(render_scenes, "drawn", stopping)
    with pytest.raises(KeyboardInterrupt):
        fetch("render-scenes", lines.append)
    monkeypatch.setattr(
        render_scenes, "drawn", lambda jobs, *rest: portions.append(len(jobs)) or one_by_one(jobs, *rest)
    )
    lines.clear()
    fetch("render-scenes", lines.append)
    assert lines[0].startswith("going on with what an interrupted build left")
    assert downloads == list(render_scenes.PACKAGES_USED), "once in both runs"
    assert portions == [5, 3]
    assert contents(folder) == whole, "the same pixels, and no trace"


def test_target_and_real_train_share_no_subject(downloads: list[str], tmp_path: Path) -> None:
    (tmp_path / "built").mkdir()
    (tmp_path / "work").mkdir()
    files = {package: tmp_path / package.replace("/", "_") for package in render_scenes.PACKAGES_USED}
    for package, place in files.items():
        unpack(package, place, lambda path: True)
    rows = [row for row in photo_rows() if row["file"].startswith("tuxpaint/")]
    counts = render_scenes._pasted(tmp_path / "built", files, rows, lambda line: None)
    assert all({counts["target"][label], counts["real-train"][label]} == {1, 2} for label in CLASSES[1:])
    seen = []
    for domain in ("target", "real-train"):
        colours = set()
        for path in (tmp_path / "built" / domain / "images").iterdir():
            pixels = np.array(Image.open(path))
            mask_HW = np.array(Image.open(path.parent.parent / "masks" / path.name))
            for number, row in enumerate(photo_rows()):
                pure_HW = (pixels == colour_of(number)).all(axis=2)
                if pure_HW.any():
                    colours.add((row["class"], Path(row["file"]).stem[:3]))
                    assert set(mask_HW[pure_HW].tolist()) == {CLASSES.index(row["class"])}
        seen.append(colours)
    assert seen[0]
    assert seen[1]
    assert not seen[0] & seen[1]


def test_bad_model_is_one_line(downloads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_scenes, "processes", lambda: 1)
    monkeypatch.setattr(render_scenes, "unpacked_models", lambda rows, files: files / "nowhere")
    with pytest.raises(UserError, match=r"\.obj: cannot load the model"):
        fetch("render-scenes", lambda line: None)


def test_table_of_models_is_of_known_models_and_every_class_is_in_both_halves() -> None:
    rows = render_scenes._model_rows()
    assert len({model_name(row) for row in rows}) == len(rows) == len(table("scene_models.csv"))
    for split in SPLITS.values():
        assert {row["class"] for row in rows if row["split"] == split} == set(CLASSES[1:])
        for setting in SETTINGS:
            assert (
                len({row["class"] for row in rows if row["split"] == split and setting in row["settings"].split()}) >= 3
            )
    assert {name for row in rows for name in row["settings"].split()} == set(SETTINGS)
    assert all(0.03 < float(row["size"]) < 22 for row in rows)
    train, held_out = ({row["model"] for row in rows if row["split"] == split} for split in ("train", "held-out"))
    assert not train & held_out
