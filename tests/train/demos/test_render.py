"""The renderer against closed forms, and a user's own tree of models through the command."""

import base64
import contextlib
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from csg_train.commands.render import render
from csg_train.data.readers.lists import manifest
from csg_train.demos import render as renderer
from csg_train.demos import render_tree as tree
from csg_train.demos.model_files import require_whole
from csg_train.demos.render import Stage, covered, require_renderer, well_filled
from csg_train.demos.render_tree import Job, drawn, render_tree
from csg_train.demos.views import ANGLE, Poses, View, axes, draw_view, fitted
from csg_train.errors import UserError
from tests.train.demos.conftest import one_by_one
from tests.train.demos.models import write_box, write_gltf, write_square

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("pyvista")
pytestmark = pytest.mark.usefixtures("renderer")

FILL = 0.96


def front(**changed: float) -> View:
    """A view along -z, lit from the camera."""
    plain = {"azimuth": 0, "elevation": 0, "roll": 0, "light_azimuth": 0, "light_elevation": 0}
    return View(**{**plain, "key": 0.5, "fill": 0.5, "warmth": 0, **changed})


def picture(path: Path, view: View, *, size: int = 100, **options: object) -> np.ndarray:
    with Stage(path, size=size, **options) as stage:
        return stage.draw(view)


def box_of(image_HW4: np.ndarray) -> tuple[int, int]:
    """Height and width of what is not transparent."""
    rows, columns = np.nonzero(image_HW4[..., 3])
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def test_axes_are_a_rotation_and_go_where_their_names_say() -> None:
    assert axes(0, 0, 0) == pytest.approx(np.eye(3))
    assert axes(90, 0, 0)[2] == pytest.approx([1, 0, 0]), "seen from +x"
    assert axes(0, 90, 0)[2] == pytest.approx([0, 1, 0]), "seen from the top"
    assert axes(0, 0, 90)[0] == pytest.approx([0, 1, 0]), "the picture's right is up"
    rng = random.Random(0)
    for _ in range(20):
        turned_33 = axes(rng.uniform(0, 360), rng.uniform(-90, 90), rng.uniform(-180, 180))
        assert turned_33 @ turned_33.T == pytest.approx(np.eye(3))
        assert np.linalg.det(turned_33) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(10))
def test_fitted_camera_sees_every_point_and_touches_the_rim(seed: int) -> None:
    points_P3 = np.random.default_rng(seed).normal(size=(50, 3)) * [1, 5, 0.2] + [100, -3, 7]
    axes_33 = axes(37 * seed, 11 * seed - 50, 50 * seed)
    target_3, distance = fitted(points_P3, axes_33)
    seen_P3 = (points_P3 - target_3) @ axes_33.T
    tangent_P2 = seen_P3[:, :2] / (distance - seen_P3[:, 2:])
    assert np.abs(tangent_P2).max() == pytest.approx(FILL * np.tan(np.radians(ANGLE / 2)))


def test_silhouettes_of_a_cube_and_a_sphere_have_the_known_areas(tmp_path: Path) -> None:
    cube_HW4 = picture(write_box(tmp_path / "cube.obj"), front())
    assert cube_HW4.shape == (100, 100, 4)
    assert cube_HW4.dtype == np.uint8
    assert box_of(cube_HW4) == (96, 96)
    assert (cube_HW4[..., 3] / 255).mean() == pytest.approx(FILL**2, rel=0.01)
    trimesh.creation.icosphere(subdivisions=5, radius=7).export(tmp_path / "sphere.ply")
    sphere_HW4 = picture(tmp_path / "sphere.ply", front(azimuth=33, elevation=50, roll=20))
    assert (sphere_HW4[..., 3] / 255).mean() == pytest.approx(np.pi / 4 * FILL**2, rel=0.01)
    assert set(np.unique(sphere_HW4[40:60, 40:60, 3])) == {255}
    assert (sphere_HW4[sphere_HW4[..., 3] == 0] == 0).all()


def test_equal_views_give_equal_pixels_and_other_views_do_not(tmp_path: Path) -> None:
    path = write_box(tmp_path / "box.obj", width=2)
    view = draw_view(random.Random(4))
    once_HW4, again_HW4 = picture(path, view), picture(path, view)
    assert (once_HW4 == again_HW4).all()
    assert (once_HW4 != picture(path, draw_view(random.Random(5)))).any()


def test_upward_axis_and_roll_turn_the_picture(tmp_path: Path) -> None:
    path = write_box(tmp_path / "tall.obj", depth=4)
    assert box_of(picture(path, front(), up="z"))[0] == 96
    assert box_of(picture(path, front(), up="z"))[1] < 30
    assert box_of(picture(path, front(roll=90), up="z"))[1] == 96
    height, width = box_of(picture(path, front()))
    assert height == width == 96, "its end, seen along z"


def test_light_comes_from_where_the_view_says(tmp_path: Path) -> None:
    trimesh.creation.icosphere(subdivisions=4).export(tmp_path / "sphere.stl")
    view = {"key": 1.0, "fill": 0.1}
    right_HW4 = picture(tmp_path / "sphere.stl", front(light_azimuth=80, **view)).astype(int)
    top_HW4 = picture(tmp_path / "sphere.stl", front(light_elevation=80, **view)).astype(int)
    assert right_HW4[50, 80, 0] > right_HW4[50, 20, 0] + 50
    assert top_HW4[20, 50, 0] > top_HW4[80, 50, 0] + 50
    red_HW4 = picture(tmp_path / "sphere.stl", front(warmth=1)).astype(int)
    assert red_HW4[50, 50, 0] > red_HW4[50, 50, 2]


def test_texture_stands_upright_and_its_holes_are_holes(tmp_path: Path) -> None:
    image_HW4 = np.zeros((64, 64, 4), dtype=np.uint8)
    image_HW4[:32] = (255, 0, 0, 255)
    image_HW4[32:] = (0, 0, 255, 255)
    image_HW4[:, 32:, 3] = 0
    drawn_HW4 = picture(write_square(tmp_path / "leaf.obj", image_HW4), front()).astype(int)
    assert drawn_HW4[25, 25, 0] > drawn_HW4[25, 25, 2] + 100, "red above"
    assert drawn_HW4[75, 25, 2] > drawn_HW4[75, 25, 0] + 100, "blue below"
    assert (drawn_HW4[:, 55:, 3] == 0).all()
    assert covered(drawn_HW4) == pytest.approx(FILL**2 / 2, abs=0.02)


def test_of_twin_faces_the_first_is_drawn_everywhere(tmp_path: Path) -> None:
    white_HW4 = np.full((8, 8, 4), 255, dtype=np.uint8)
    path = write_square(tmp_path / "sheet.obj", white_HW4, back="0 0 0")
    for azimuth in (0, 180):
        drawn_HW4 = picture(path, front(azimuth=azimuth))
        assert drawn_HW4[10:90, 10:90, :3].min() > 200
    assert picture(path, front(), only=("back",))[10:90, 10:90, :3].max() < 60
    with pytest.raises(UserError, match=r"sheet\.obj: cannot load the model \(no part \['handle'\], only \['back'"):
        picture(path, front(), only=("handle",))


def test_what_one_sees_through_is_half_there(tmp_path: Path) -> None:
    path = write_square(tmp_path / "glass.obj", np.full((8, 8, 4), 255, dtype=np.uint8), back="0 1 0\nd 0.5")
    drawn_HW4 = picture(path, front(), only=("back",))
    assert drawn_HW4[50, 50, 3] == pytest.approx(128, abs=2)
    assert drawn_HW4[50, 50, 1] > 150
    assert drawn_HW4[50, 50, 0] < 60


RED, GREY = [1.0, 0.0, 0.0, 1.0], np.full((8, 8, 4), (128, 128, 128, 255), dtype=np.uint8)
TEXTURED = {"baseColorTexture": {"index": 0}}


@pytest.mark.parametrize(
    ("material", "options", "colour"),
    [
        (None, {}, None),
        ({}, {}, (255, 255, 255)),
        ({"pbrMetallicRoughness": {"baseColorFactor": RED}}, {}, (255, 0, 0)),
        ({"pbrMetallicRoughness": TEXTURED}, {"image_HW4": GREY}, (128, 128, 128)),
        ({"pbrMetallicRoughness": TEXTURED | {"baseColorFactor": RED}}, {"image_HW4": GREY}, (128, 0, 0)),
        ({}, {"points": [RED] * 4}, (255, 0, 0)),
        ({"pbrMetallicRoughness": {"baseColorFactor": RED}}, {"points": [[0.5, 1, 1, 1]] * 4}, (128, 0, 0)),
    ],
)
def test_the_base_colour_of_gltf_is_a_product(tmp_path: Path, material, options, colour) -> None:
    """A factor was lost beside a texture, points' colours beside a material, and no factor was 40 % grey."""
    if colour is None:
        colour = tuple(round(255 * part) for part in renderer._DEFAULT_COLOUR)
    seen = picture(write_gltf(tmp_path / "a.gltf", material, **options), front())[50, 50, :3].astype(int)
    assert seen == pytest.approx(np.array(colour), abs=25), "a highlight lies on it"


@pytest.mark.parametrize(("mode", "share"), [(None, 1.0), ("OPAQUE", 1.0), ("MASK", 0.5)])
def test_a_texture_of_gltf_has_holes_where_its_mode_says_so(tmp_path: Path, mode, share) -> None:
    image_HW4 = np.full((64, 64, 4), 255, dtype=np.uint8)
    image_HW4[:, 32:, 3] = 0
    material = {"pbrMetallicRoughness": TEXTURED} | ({"alphaMode": mode} if mode else {})
    drawn_HW4 = picture(write_gltf(tmp_path / "a.gltf", material, image_HW4=image_HW4), front())
    assert covered(drawn_HW4) == pytest.approx(share * FILL**2, abs=0.02)


def _without(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    for accessor in content["accessors"][:1] if "sparse" in changes else []:
        accessor["sparse"] = changes.pop("sparse")
    path.write_text(json.dumps(content | changes))


def test_a_user_s_model_that_would_not_be_drawn_whole_is_refused(here: None, tmp_path: Path) -> None:
    """Half of it, without its colours or with its points elsewhere, it was drawn without a word."""
    root = tmp_path / "models" / "class"
    root.mkdir(parents=True)
    square = np.full((8, 8, 4), 255, dtype=np.uint8)
    for name in ("paint", "material"):
        (root / name).mkdir()
        write_square(root / name / "a.obj", square)
        next((root / name).glob({"paint": "*.png", "material": "*.mtl"}[name])).unlink()
    _without(write_gltf(root / "sparse.gltf"), sparse={"count": 1})
    meshes = json.loads(write_gltf(root / "fan.gltf").read_text())["meshes"]
    meshes[0]["primitives"] += [meshes[0]["primitives"][0] | {"mode": 6}]
    _without(root / "fan.gltf", meshes=meshes)
    _without(write_gltf(root / "draco.gltf"), extensionsRequired=["KHR_draco_mesh_compression"])
    _without(write_gltf(root / "gone.gltf"), buffers=[{"byteLength": 92, "uri": "gone.bin"}])
    (root / "nan.obj").write_text("v nan 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nf 1 2 3\nf 2 3 4\n")
    (root / "line.obj").write_text("v 0 0 0\nv 1 0 0\nv 2 0 0.0001\nf 1 2 3\n")
    moved = write_gltf(root / "moved.gltf", {})
    content = json.loads(moved.read_text())
    (root / "a b.bin").write_bytes(base64.b64decode(content["buffers"][0]["uri"].partition(",")[2]))
    _without(moved, buffers=[{"byteLength": content["buffers"][0]["byteLength"], "uri": "a%20b.bin"}])
    _without(write_gltf(root / "shine.gltf", {}), extensionsRequired=["KHR_materials_unlit"])
    counts, broken = render_tree(tmp_path / "models", tmp_path / "out", views=1, size=96, skip_broken=True)
    assert counts == {"class": 2}, broken
    said = {line.split(": ")[0].removeprefix(f"{root}/"): line for line in broken}
    for name, words in {
        "draco.gltf": "needs glTF's KHR_draco_mesh_compression, which is not read",
        "fan.gltf": "has triangle fans, which are not read",
        "gone.gltf": "gone.bin, which it names, is missing",
        "line.obj": "nothing of the model is to be seen",
        "material/a.obj": ".mtl, which it names, is missing",
        "nan.obj": "a point that is not finite",
        "paint/a.obj": ".png, which it names, is missing",
        "sparse.gltf": "has sparse accessors, which are not read",
    }.items():
        assert words in said.pop(name), name
    assert not said


def test_thin_things_are_turned_until_they_fill_a_tenth(tmp_path: Path) -> None:
    poses = Poses(elevation=(-90.0, 90.0), roll=(-180.0, 180.0))
    with Stage(write_box(tmp_path / "rod.obj", width=20), size=64) as stage:
        first = [covered(stage.draw(draw_view(random.Random(seed), poses))) for seed in range(10)]
        turned = [covered(well_filled(stage, random.Random(seed), poses)[1]) for seed in range(10)]
    assert min(first) < 0.1 <= min(turned)


BAD = {
    "empty.obj": b"",
    "words.obj": b"this is no model\n",
    "points.obj": b"v 0 0 0\nv 1 1 1\n",
    "nan.obj": b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    "flat.obj": b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n",
    "noise.glb": bytes(range(256)),
    "noise.ply": b"ply\n\xff\xfe",
    "short.stl": b"\0" * 50,
    "list.gltf": b"[1, 2",
    "array.gltf": b"[1, 2]",
    "number.gltf": b'{"extensionsRequired": 3, "accessors": [4]}',
}


@pytest.mark.parametrize("name", BAD)
def test_bad_model_is_one_line_with_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(BAD[name])
    with pytest.raises(UserError, match=rf"{name}: (cannot load the model|a model without a surface).*fix or remove"):
        Stage(path, size=32)
    with contextlib.suppress(UserError):  # one line of its own, perhaps
        require_whole(path)


@pytest.fixture
def here(one_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw a user's tree in this process."""
    monkeypatch.setattr(tree, "drawn", one_by_one)


@pytest.fixture
def models(one_process: None, tmp_path: Path) -> Path:
    root = tmp_path / "models"
    write_box(root / "box" / "cube.obj")
    write_box(root / "box" / "wide" / "plank.obj", width=3)
    (root / "ball").mkdir()
    trimesh.creation.icosphere().export(root / "ball" / "a.glb")
    trimesh.creation.icosphere(radius=3).export(root / "ball" / "b.STL", file_type="stl")
    (root / "ball" / "notes.txt").write_text("no model")
    return root


def pixels(folder: Path) -> dict[str, bytes]:
    paths = sorted(folder.rglob("*.png"))
    return {path.relative_to(folder).as_posix(): np.asarray(Image.open(path)).tobytes() for path in paths}


def test_tree_becomes_pictures_and_a_manifest_whatever_the_processes(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    shutil.copytree(models / "box", models / ".trash")  # hidden, as for every reader of folders
    counts, broken = render_tree(models, tmp_path / "one", views=3, size=48, workers=1, report=lines.append)
    assert (counts, broken) == ({"ball": 6, "box": 6}, [])
    assert len(lines) == 4
    images = manifest(tmp_path / "one", tmp_path / "one" / "manifest.csv", name="renders")
    assert images.classes == ("ball", "box")
    assert images.files[:2] == ("ball/a-00.png", "ball/a-01.png")
    assert images.files[-1] == "box/wide-plank-02.png"
    assert images.read(0).mode == "RGBA"
    assert images.read(0).size == (48, 48)
    first = pixels(tmp_path / "one")
    assert len(set(first.values())) == 12
    (models / "box" / "cube.obj").unlink()
    render_tree(models, tmp_path / "two", views=2, size=48, workers=2)
    again = pixels(tmp_path / "two")
    assert len(again) == 6
    assert all(first[file] == own for file, own in again.items()), "other models, views and processes change nothing"
    monkeypatch.setattr(tree, "drawn", one_by_one)
    render_tree(models, tmp_path / "seed", views=1, size=48, seed=1)
    assert all(first[file] != own for file, own in pixels(tmp_path / "seed").items())


def test_command_stops_at_a_bad_model_or_counts_it(here: None, models: Path, tmp_path: Path) -> None:
    (models / "box" / "bad.obj").write_text("nothing")
    command = [str(models), "--views", "1", "--size", "32", "--out"]
    done = CliRunner().invoke(render, [*command, str(tmp_path / "stopped")])
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "bad.obj" in done.stderr
    assert "--skip-broken" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["models"], "nothing half done is left"
    done = CliRunner().invoke(render, [*command, str(tmp_path / "skipped"), "--skip-broken"])
    assert done.exit_code == 0, done.output
    assert "bad.obj" in done.stderr
    assert "4 pictures (ball 2, box 2), 1 models left out" in done.stdout
    done = CliRunner().invoke(render, [*command, str(tmp_path / "skipped")])
    assert "not an empty folder; choose another" in done.stderr


def test_tree_without_models_or_with_two_of_one_name(here: None, models: Path, tmp_path: Path) -> None:
    (tmp_path / "none" / "class").mkdir(parents=True)
    with pytest.raises(UserError, match=r"none: no models; expected .*CLASS/MODEL with \.obj, \.gltf"):
        render_tree(tmp_path / "none", tmp_path / "out", views=1)
    write_box(models / "box" / "wide-plank.obj")
    with pytest.raises(UserError, match=r"pictures would be named as those of .*rename one of them"):
        render_tree(models, tmp_path / "out", views=1)
    (models / "ball" / "a.glb").write_bytes(b"no")
    for path in (*models.rglob("*.obj"), *models.rglob("*.STL")):
        path.unlink()
    with pytest.raises(UserError, match=r"not one of 1 models could be drawn; first: .*a\.glb"):
        render_tree(models, tmp_path / "out", views=1, skip_broken=True)


@pytest.mark.skipif(sys.platform != "linux", reason="EGL")
def test_missing_opengl_or_package_is_one_line_that_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert require_renderer()
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_FILENAMES", "/nowhere")
    with pytest.raises(UserError, match="run: sudo apt-get install libegl1 libgl1-mesa-dri"):
        require_renderer()
    monkeypatch.setattr(renderer, "_MODULES", ("not-installed-here",))
    with pytest.raises(UserError, match=r"not-installed-here: not installed; run: pip install 'csg-toolkit\[demo\]'"):
        require_renderer()


@pytest.mark.skipif(sys.platform != "linux", reason="EGL")
def test_process_that_dies_is_one_line(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_FILENAMES", "/nowhere")
    job = Job(model=models / "box" / "cube.obj", label="box", name="cube", folder=tmp_path / "out", views=1, size=32)
    with pytest.raises(UserError, match="a process died while it drew one of: box/cube; check the OpenGL driver"):
        list(drawn([job], 1))


def test_command_imports_nothing_heavy_until_it_runs() -> None:
    heavy = {"numpy", "PIL", "trimesh", "pyvista", "torch"}
    code = f"import sys, csg_train.commands.render; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
