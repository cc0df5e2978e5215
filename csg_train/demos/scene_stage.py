"""Draws planned scenes: a picture with light and shadow, and from the same place which thing each pixel shows.

The second is drawn flat, each thing in a colour of its own, without light, smoothing or transparency: windows of a car
are the car. Both are drawn at twice the size. A pixel of the picture is the mean of four, one of the mask what most of
the four show, and of equally many the thing in front of the surroundings.

Shape suffixes: P points, H height, W width, 3 coordinates or red, green, blue.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from csg_train.demos.render import add_part, loaded, off_screen, without_twins
from csg_train.demos.scene_looks import Part, two_looks
from csg_train.demos.scene_plan import SETTINGS, Light, Plan, Size, Thing
from csg_train.demos.scene_sets import FAR, Panel, panels
from csg_train.demos.scene_shadow import places, shadow
from csg_train.demos.scene_surfaces import sky

__all__ = ["Model", "SceneStage", "voted"]

_OVERSAMPLED = 2
_EXPOSURE = 125.0  # of 255, the mean brightness that the camera is after
_SKY = 20.0  # degrees: half the angle of the sky that counts for what stands above a point
_OCCLUSION = 0.55  # of the light from everywhere, that what stands above takes away


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """A model file, its class, and the length in metres of its longest side."""

    name: str
    path: Path
    label: str
    size: float


class SceneStage:
    """Some models, loaded once: ``with SceneStage(models, side=192) as stage: stage.set_up(plan)``."""

    def __init__(self, models: Sequence[Model], *, side: int) -> None:
        """Load the models.

        Args:
            models: What may stand in a scene.
            side: Of the pictures, in pixels.

        Raises:
            UserError: A file cannot be read or has no surface.
        """
        vista = off_screen()
        self._side = side * _OVERSAMPLED
        self._plotter = vista.Plotter(off_screen=True, window_size=(self._side, self._side), lighting="none")
        self._plotter.render_window.SetMultiSamples(0)
        self._plotter.set_background("black")
        self._hidden_later: list[Any] = []
        self._surroundings: list[tuple[Part, bool]] = []
        self.sizes: dict[str, Size] = {}
        self._parts: dict[str, list[Part]] = {}
        for model in models:
            self._load(model)
        self._key, self._front, self._above = (
            vista.Light(light_type=kind) for kind in ("scene light", "headlight", "scene light")
        )
        self._above.position, self._above.focal_point = (0, 1, 0), (0, 0, 0)
        for light in (self._key, self._front, self._above):
            self._plotter.add_light(light)
        self._plotter.show(auto_close=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._plotter.close()

    def _load(self, model: Model) -> None:
        parts = loaded(model.path, "y", ())
        faces = without_twins(parts)
        points_P3 = np.concatenate([part.vertices for part in parts])
        low_3, high_3 = points_P3.min(axis=0), points_P3.max(axis=0)
        scale = model.size / (high_3 - low_3).max()
        for part in parts:
            part.vertices = (part.vertices - [(low_3[0] + high_3[0]) / 2, low_3[1], (low_3[2] + high_3[2]) / 2]) * scale
        self.sizes[model.name] = tuple(((high_3 - low_3) * scale).tolist())
        actors = [add_part(self._plotter, part, own_F3) for part, own_F3 in zip(parts, faces, strict=True)]
        self._parts[model.name] = [two_looks(actor) for actor in actors if actor is not None]
        for part in self._parts[model.name]:
            part.actor.VisibilityOff()

    def set_up(self, plan: Plan) -> None:
        """Put a scene's things and surroundings in place, instead of those before, and aim the camera."""
        for actor in self._hidden_later:
            actor.VisibilityOff()
        for part, _ in self._surroundings:
            self._plotter.remove_actor(part.actor, render=False)
        self._plan = plan
        self._hidden_later = self._place(plan.things)
        rng = np.random.default_rng(plan.surroundings)
        self._surroundings = [(two_looks(self._panel(panel)), panel.shades) for panel in panels(plan.setting, rng)]
        if SETTINGS[plan.setting].outdoors:
            self._surroundings.append((two_looks(self._sky(rng, overcast=plan.light.key < 0.4)), False))
        self._aim(plan)

    def things(self) -> np.ndarray:
        """For each pixel the number of the thing that it shows, from 1 on in the plan's order, or 0, ``(H, W)``."""
        parts = [(0, part) for part, _ in self._surroundings]
        parts += [
            (number, part) for number, thing in enumerate(self._plan.things, 1) for part in self._parts[thing.model]
        ]
        for number, part in parts:
            part.take(part.flat, number)
        numbers_HW = self._pixels()[..., 0].astype(np.uint8)
        for _, part in parts:
            part.take(part.lit)
        return voted(numbers_HW, _OVERSAMPLED)

    def picture(self) -> np.ndarray:
        """The scene in its light, ``(H, W, 3)`` uint8."""
        light = self._plan.light
        self._shine(light, key=0.0)
        filled_HW3 = self._pixels()
        self._shine(light, key=light.key)
        lit_HW3 = self._pixels()
        places_HW3 = places(self._depth(), self._to_view())
        for part, shades in self._surroundings:
            part.actor.SetVisibility(shades)
        sunless_HW1 = self._shadow(places_HW3, _towards(light), light.softness)[..., None]
        covered_HW1 = self._shadow(places_HW3, np.array([0.0, 1.0, 1e-3]), _SKY)[..., None]
        for part, _ in self._surroundings:
            part.actor.VisibilityOn()
        self._aim(self._plan)
        return _exposed(
            _reduced(filled_HW3 * (1 - _OCCLUSION * covered_HW1) + (lit_HW3 - filled_HW3) * (1 - sunless_HW1))
        )

    def _place(self, things: Sequence[Thing]) -> list[Any]:
        actors = []
        for thing in things:
            turn = math.radians(thing.yaw)
            place_44 = np.eye(4)
            place_44[[0, 0, 2, 2], [0, 2, 0, 2]] = math.cos(turn), math.sin(turn), -math.sin(turn), math.cos(turn)
            place_44[:3, 3] = thing.x, 0.0, thing.z
            for part in self._parts[thing.model]:
                part.actor.user_matrix = place_44
                part.actor.VisibilityOn()
                actors.append(part.actor)
        return actors

    def _panel(self, panel: Panel) -> Any:
        vista = off_screen()
        corner, right, up = (np.array(value, dtype=float) for value in (panel.corner, panel.right, panel.up))
        mesh = vista.PolyData(np.stack([corner, corner + right, corner + right + up, corner + up]), [4, 0, 1, 2, 3])
        wide, high = np.linalg.norm(right) / panel.tile, np.linalg.norm(up) / panel.tile
        mesh.active_texture_coordinates = np.array([(0, 0), (wide, 0), (wide, high), (0, high)])
        texture = vista.Texture(panel.texture)
        texture.repeat, texture.mipmap = True, True
        return self._plotter.add_mesh(mesh, texture=texture, ambient=0.15, diffuse=0.85, specular=0.0, render=False)

    def _sky(self, rng: np.random.Generator, *, overcast: bool) -> Any:
        vista = off_screen()
        ball = vista.Sphere(radius=FAR, theta_resolution=48, phi_resolution=48, direction=(0, 1, 0), start_theta=0.001)
        points_P3 = ball.points / FAR
        around_P = np.arctan2(points_P3[:, 0], -points_P3[:, 2]) / (2 * np.pi) + 0.5  # its seam is behind the camera
        up_P = np.arcsin(points_P3[:, 1].clip(-1, 1)) / np.pi + 0.5
        ball.active_texture_coordinates = np.stack([around_P, up_P], axis=1)
        texture = vista.Texture(sky(rng, overcast=overcast))
        return self._plotter.add_mesh(ball, texture=texture, lighting=False, render=False)

    def _aim(self, plan: Plan) -> None:
        camera = self._plotter.camera
        camera.parallel_projection = False
        camera.view_angle = plan.camera.angle
        camera.position, camera.focal_point, camera.up = plan.camera.place, plan.camera.target, (0, 1, 0)
        camera.SetRoll(camera.GetRoll() + plan.camera.roll)
        self._plotter.renderer.ResetCameraClippingRange()

    def _shine(self, light: Light, *, key: float) -> None:
        self._key.position, self._key.focal_point = tuple(_towards(light)), (0, 0, 0)
        self._key.intensity = key
        self._key.diffuse_color = (1.0 + 0.12 * min(light.warmth, 0.0), 0.97, 1.0 - 0.12 * max(light.warmth, 0.0))
        self._front.intensity, self._above.intensity = 0.45 * light.fill, 0.65 * light.fill

    def _to_view(self) -> np.ndarray:
        matrix = self._plotter.camera.GetCompositeProjectionTransformMatrix(1.0, -1.0, 1.0)
        return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])

    def _pixels(self) -> np.ndarray:
        import vtk

        self._plotter.render_window.Render()
        data = vtk.vtkUnsignedCharArray()
        self._plotter.render_window.GetPixelData(0, 0, self._side - 1, self._side - 1, 1, data, 0)
        return _upright(data, self._side, 3).astype(np.float32)

    def _depth(self) -> np.ndarray:
        import vtk

        data = vtk.vtkFloatArray()
        self._plotter.render_window.GetZbufferData(0, 0, self._side - 1, self._side - 1, data)
        return _upright(data, self._side, 1)[..., 0]

    def _shadow(self, places_HW3: np.ndarray, towards_3: np.ndarray, softness: float) -> np.ndarray:
        boxes_P3 = [
            (thing.x + dx, y, thing.z + dz)
            for thing in self._plan.things
            for size in [self.sizes[thing.model]]
            for reach in [math.hypot(size[0], size[2]) / 2]
            for dx, dz, y in ((-reach, -reach, 0.0), (reach, reach, size[1]))
        ]
        low_3, high_3 = np.min(boxes_P3, axis=0), np.max(boxes_P3, axis=0)
        middle_3, radius = (low_3 + high_3) / 2, float(np.linalg.norm(high_3 - low_3)) / 2
        camera = self._plotter.camera
        camera.parallel_projection = True
        camera.parallel_scale = radius
        camera.position, camera.focal_point, camera.up = middle_3 + 2 * radius * towards_3, middle_3, (0, 0.1, -1)
        camera.clipping_range = (0.5 * radius, 4.0 * radius)
        self._plotter.render_window.Render()
        reach = math.tan(math.radians(softness)) * float(np.median([self.sizes[t.model][1] for t in self._plan.things]))
        texel = 2 * radius / self._side
        return shadow(
            places_HW3,
            self._depth(),
            self._to_view(),
            bias=(3.0 * texel + 0.3 * reach) / (3.5 * radius),
            blur=max(reach, 1.0 * texel) / (2 * radius),
        )


def _towards(light: Light) -> np.ndarray:
    """The lamp's direction, of length 1."""
    a, e = math.radians(light.azimuth), math.radians(light.elevation)
    return np.array([math.cos(e) * math.sin(a), math.sin(e), math.cos(e) * math.cos(a)])


def _upright(data: Any, side: int, channels: int) -> np.ndarray:
    from vtk.util.numpy_support import vtk_to_numpy

    values: np.ndarray = vtk_to_numpy(data)
    return values.reshape(side, side, channels)[::-1]


def _reduced(drawn_HW3: np.ndarray) -> np.ndarray:
    side = drawn_HW3.shape[0] // _OVERSAMPLED
    mean_HW3: np.ndarray = drawn_HW3.reshape(side, _OVERSAMPLED, side, _OVERSAMPLED, 3).mean(axis=(1, 3))
    return mean_HW3


def _exposed(light_HW3: np.ndarray) -> np.ndarray:
    """As an automatic camera does: brighter or darker until the mean is right, half the way."""
    gain = math.sqrt(_EXPOSURE / max(light_HW3.mean(), 1.0))
    return (light_HW3 * gain).clip(0, 255).round().astype(np.uint8)


def voted(drawn_HW: np.ndarray, times: int) -> np.ndarray:
    """For each square of ``times`` by ``times`` pixels the value that most have, the greatest of such values."""
    high, wide = (length // times for length in drawn_HW.shape)
    squares = drawn_HW.reshape(high, times, wide, times).transpose(0, 2, 1, 3).reshape(high, wide, -1)
    votes = (squares[..., :, None] == squares[..., None, :]).sum(axis=-1)
    most: np.ndarray = np.where(votes == votes.max(axis=-1, keepdims=True), squares, 0).max(axis=-1)
    return most
