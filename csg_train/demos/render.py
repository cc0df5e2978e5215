"""Pictures of a mesh file as RGBA arrays: trimesh loads it, pyvista draws it off screen (VTK, on Linux through EGL).

The background is transparent, so the alpha channel is the exact mask. Equal views and versions give equal pixels on one
machine.

Shape suffixes: P points of all parts, F triangles, H height, W width, 3 coordinates, 4 red, green, blue, alpha.
"""

import importlib.metadata
import math
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from csg_train.demos.views import ANGLE, POSES, Poses, View, axes, draw_view, fitted, light_place
from csg_train.errors import UserError

__all__ = [
    "Stage",
    "add_part",
    "covered",
    "loaded",
    "off_screen",
    "opengl",
    "require_renderer",
    "versions",
    "well_filled",
    "without_twins",
]

_OVERSAMPLED = 2
_TRIES = 24
_LEAST = 0.1  # of a picture is to be covered
_SHARP = 40.0  # degrees between faces from which on an edge is seen
_DEFAULT_COLOUR = (0.72, 0.72, 0.72)
_MODULES = ("vtk", "pyvista", "trimesh")


def require_renderer() -> str:
    """Name of the OpenGL that draws here, asked of a process of its own, for without OpenGL VTK dies of it.

    Raises:
        UserError: Names the pip extra or the Debian packages to install.
    """
    try:
        versions()
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"{error.name}: not installed; run: pip install 'csg-toolkit[demo]'") from error
    code = f"from {__name__} import opengl; print(opengl())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise UserError(
            "VTK: cannot draw without OpenGL through EGL; run: sudo apt-get install libegl1 libgl1-mesa-dri"
        )
    return done.stdout.strip().splitlines()[-1]


def versions() -> dict[str, str]:
    """Versions of what decides the pixels, system drivers apart."""
    return {name: importlib.metadata.version(name) for name in _MODULES}


def off_screen() -> Any:
    """The module ``pyvista``, imported once OpenGL is told to draw without a screen."""
    if sys.platform == "linux":
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    import pyvista

    return pyvista


def loaded(path: Path, up: str, only: Sequence[str]) -> list[Any]:
    """The meshes of a file in place, with the y axis up, or an error that names the file."""
    import trimesh

    from csg_train.demos.model_files import Resolver

    try:
        scene = trimesh.load_scene(path, resolver=Resolver(path))
        if missing := set(only) - set(scene.geometry):
            raise ValueError(f"no part {sorted(missing)}, only {sorted(scene.geometry)}")
        parts = []
        for node in sorted(scene.graph.nodes_geometry):
            place_44, name = scene.graph[node]
            part = scene.geometry[name]
            if isinstance(part, trimesh.Trimesh) and len(part.faces) and (not only or name in only):
                parts.append(part.copy().apply_transform(place_44))
                if "color" in getattr(part.visual, "vertex_attributes", ()):  # lost in the copy
                    parts[-1].visual.vertex_attributes["color"] = part.visual.vertex_attributes["color"]
        if up == "z":
            for part in parts:
                part.apply_transform(trimesh.transformations.rotation_matrix(-math.pi / 2, [1, 0, 0]))
    except Exception as error:  # of many kinds: trimesh's readers meet any file
        raise UserError(f"{path}: cannot load the model ({error}); fix or remove it") from error
    points_P3 = np.concatenate([part.vertices for part in parts] or [np.zeros((1, 3))])
    if not np.isfinite(points_P3).all() or not np.ptp(points_P3, axis=0).any():
        raise UserError(f"{path}: a model without a surface; fix or remove it")
    return parts


def without_twins(parts: Sequence[Any]) -> list[np.ndarray]:
    """Triangles ``faces_F3`` of each part, without those that lie exactly on an earlier one, turned or of other paint.

    Twins, made as back faces, flicker: which of the two is drawn is left to rounding.
    """
    _, place_P = np.unique(np.concatenate([part.vertices for part in parts]), axis=0, return_inverse=True)
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    corners_F3 = [place_P[part.faces + start] for part, start in zip(parts, starts, strict=False)]
    _, first = np.unique(np.sort(np.concatenate(corners_F3), axis=1), axis=0, return_index=True)
    kept_F = np.zeros(sum(map(len, corners_F3)), dtype=bool)
    kept_F[first] = True
    ends = np.cumsum([len(part.faces) for part in parts])[:-1]
    return [part.faces[kept] for part, kept in zip(parts, np.split(kept_F, ends), strict=True)]


def _look(part: Any, mesh: Any) -> dict[str, Any]:
    """How pyvista shall paint the mesh of a part, whose colours and texture coordinates are put on it."""
    if part.visual.kind in ("vertex", "face"):
        mesh.point_data["colours"] = np.asarray(part.visual.vertex_colors)[:, :3]
        return {"scalars": "colours", "rgb": True}
    if part.visual.kind != "texture":
        return {"color": _DEFAULT_COLOUR}
    material = part.visual.material
    if hasattr(material, "to_simple"):
        return _gltf_look(part, mesh)
    if material.image is not None and part.visual.uv is not None:
        mesh.active_texture_coordinates = np.asarray(part.visual.uv)
        return {"texture": _texture(np.array(material.image.convert("RGBA"))), "color": (1.0, 1.0, 1.0)}
    colour_4 = np.asarray(material.diffuse) / 255
    return {"color": tuple(colour_4[:3]), "opacity": float(np.ravel(material.kwargs.get("d", colour_4[3]))[0])}


def _gltf_look(part: Any, mesh: Any) -> dict[str, Any]:
    """The base colour is the product of a factor, a texture and the points' colours, each white where it is not given.

    Source: glTF 2.0, sections 3.9.2 and 3.9.4.
    """
    material, points = part.visual.material, part.visual.vertex_attributes.get("color")
    factor_4 = np.ones(4) if material.baseColorFactor is None else np.asarray(material.baseColorFactor) / 255
    mode = material.alphaMode or "OPAQUE"
    look: dict[str, Any] = {"color": tuple(factor_4[:3]), "opacity": float(factor_4[3]) if mode == "BLEND" else 1.0}
    if material.baseColorTexture is not None and part.visual.uv is not None:
        image_HW4 = np.array(material.baseColorTexture.convert("RGBA"))
        image_HW4[..., 3] = 255 if mode == "OPAQUE" else image_HW4[..., 3]
        mesh.active_texture_coordinates = np.asarray(part.visual.uv)
        look["texture"] = _texture(image_HW4)
    elif points is not None:
        colours_P = np.asarray(points)[:, :3]
        unit_P = colours_P / (np.iinfo(colours_P.dtype).max if colours_P.dtype.kind == "u" else 1)
        mesh.point_data["colours"] = np.rint(255 * (unit_P * factor_4[:3]).clip(0, 1)).astype(np.uint8)
        look = {"scalars": "colours", "rgb": True, "opacity": look["opacity"]}
    return look


def _texture(image_HW4: np.ndarray) -> Any:
    """A texture whose transparency is all or nothing: leaves are cut out of it, and nothing has to be sorted."""
    opaque_HW = image_HW4[..., 3] >= 128
    image_HW4[..., 3] = np.where(opaque_HW, 255, 0)
    texture = off_screen().Texture(np.ascontiguousarray(image_HW4[..., : 3 if opaque_HW.all() else 4]))
    texture.repeat = True
    return texture


def add_part(plotter: Any, part: Any, faces_F3: np.ndarray) -> Any:
    """Put a part of a model on a plotter, and return its actor; none where it has no triangles."""
    if not len(faces_F3):
        return None
    corners_F4 = np.hstack([np.full((len(faces_F3), 1), 3), faces_F3])
    mesh = off_screen().PolyData(np.asarray(part.vertices), corners_F4.ravel())
    look = _look(part, mesh)
    mesh = mesh.compute_normals(cell_normals=False, split_vertices=True, feature_angle=_SHARP, consistent_normals=False)
    actor = plotter.add_mesh(mesh, ambient=0.15, diffuse=0.85, specular=0.1, **look)
    actor.prop.interpolation = "Phong"
    if "texture" in look:
        actor.ForceOpaqueOn()
    return actor


def opengl() -> str:
    """Name and version of the OpenGL that draws here, for instance Mesa's software renderer."""
    plotter = off_screen().Plotter(off_screen=True, window_size=(16, 16))
    plotter.show(auto_close=False)
    lines = dict(line.split(":", 1) for line in plotter.render_window.ReportCapabilities().splitlines() if ":" in line)
    plotter.close()
    return ", ".join(lines.get(f"OpenGL {what} string", "unknown").strip() for what in ("renderer", "version"))


class Stage:
    """One model, set up to be drawn: ``with Stage(path, size=160) as stage: image_HW4 = stage.draw(view)``."""

    def __init__(self, path: Path, *, size: int, up: str = "y", only: Sequence[str] = ()) -> None:
        """Load a model.

        Args:
            path: A mesh file that trimesh reads (OBJ with MTL and textures, glTF, GLB, PLY, STL).
            size: Side of the pictures in pixels.
            up: The model's upward axis, ``y`` or ``z``.
            only: Names of the parts to show (of an OBJ file its materials); all of them by default.

        Raises:
            UserError: The file cannot be read, has no surface or no part of such a name.
        """
        pyvista = off_screen()
        parts = loaded(path, up, only)
        faces = without_twins(parts)
        self._points_P3 = np.concatenate(
            [part.vertices[np.unique(own_F3)] for part, own_F3 in zip(parts, faces, strict=True)]
        )
        side = size * _OVERSAMPLED
        self._plotter = pyvista.Plotter(off_screen=True, window_size=(side, side), lighting="none")
        self._plotter.set_background("black")
        for part, own_F3 in zip(parts, faces, strict=True):
            add_part(self._plotter, part, own_F3)
        self._key, self._fill = pyvista.Light(light_type="camera light"), pyvista.Light(light_type="headlight")
        self._plotter.add_light(self._key)
        self._plotter.add_light(self._fill)
        self._plotter.show(auto_close=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._plotter.close()

    def draw(self, view: View) -> np.ndarray:
        """``image_HW4`` (uint8): the whole model inside the picture, and transparent around it."""
        self._pose(view)
        self._shine(view)
        self._plotter.render()
        return _reduced(self._plotter.screenshot(None, transparent_background=True, return_img=True))

    def _pose(self, view: View) -> None:
        axes_33 = axes(view.azimuth, view.elevation, view.roll)
        target_3, distance = fitted(self._points_P3, axes_33)
        camera = self._plotter.camera
        camera.view_angle = ANGLE
        camera.focal_point = target_3
        camera.position = target_3 + distance * axes_33[2]
        camera.up = axes_33[1]
        self._plotter.renderer.ResetCameraClippingRange()

    def _shine(self, view: View) -> None:
        self._key.position = light_place(view)
        self._key.intensity, self._fill.intensity = view.key, view.fill
        self._key.diffuse_color = (1.0 + 0.1 * min(view.warmth, 0.0), 0.97, 1.0 - 0.1 * max(view.warmth, 0.0))


def _reduced(drawn_HW4: np.ndarray) -> np.ndarray:
    """Mean over squares of pixels; what comes in has its colours multiplied by alpha, what goes out has not."""
    side = drawn_HW4.shape[0] // _OVERSAMPLED
    mean_HW4 = drawn_HW4.reshape(side, _OVERSAMPLED, side, _OVERSAMPLED, 4).mean(axis=(1, 3))
    colour_HW3, alpha_HW1 = mean_HW4[..., :3], mean_HW4[..., 3:]
    colour_HW3 = np.divide(255 * colour_HW3, alpha_HW1, out=np.zeros_like(colour_HW3), where=alpha_HW1 > 0)
    return np.concatenate([colour_HW3, alpha_HW1], axis=2).clip(0, 255).round().astype(np.uint8)


def covered(image_HW4: np.ndarray) -> float:
    """The part of a picture, 0 to 1, that is not quite transparent."""
    return float((image_HW4[..., 3] > 0).mean())


def well_filled(stage: Stage, rng: random.Random, poses: Poses = POSES) -> tuple[View, np.ndarray]:
    """Draw views until one is filled to a tenth, and return it with its ``image_HW4``; the fullest of 24 otherwise."""
    best: tuple[View, np.ndarray] | None = None
    for _ in range(_TRIES):
        view = draw_view(rng, poses)
        image_HW4 = stage.draw(view)
        if best is None or covered(image_HW4) > covered(best[1]):
            best = view, image_HW4
        if covered(image_HW4) >= _LEAST:
            break
    assert best is not None
    return best
