"""Scenes drawn in portions: a portion has one setting, loads its own few models once, and is drawn in one process.

A scene depends on the domain, the portion and its own number, and on nothing else: the number of processes and what was
drawn before do not change it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from csg_train.demos.render_tree import Row
from csg_train.demos.scene_plan import SETTINGS, Plan, Size, draw_plan
from csg_train.demos.scene_stage import Model, SceneStage
from csg_train.demos.scenes import save_scene
from csg_train.seeds import random_for

__all__ = ["SceneJob", "draw_scenes", "portions", "well_composed"]

_CAST = 3  # models of each class that a portion loads, at least
_PLANS = 8
_SEEN, _LEAST = 3, 0.004  # so many things are to be seen, each in this part of the picture at least
_COVERED, _MOST = 0.08, 0.6  # of the picture: all things at least, and one at most


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneJob:
    """A portion of scenes to draw.

    Attributes:
        label: The domain.
        setting: Key of `SETTINGS`.
        number: Of the portion within setting and domain.
        models: What may stand in its scenes.
        folder: The domain's, for ``images/NNNN.png`` and ``masks/NNNN.png``.
        first: Number of the first scene within the domain.
        scenes: How many.
        side: Of the pictures in pixels.
        classes: The background, and those of the models.
    """

    label: str
    setting: str
    number: int
    models: tuple[Model, ...]
    folder: Path
    first: int
    scenes: int
    side: int
    classes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the portion within the domain."""
        return f"{self.setting}-{self.number:02d}"


def portions(
    domain: str,
    total: int,
    models: dict[str, list[Model]],
    *,
    folder: Path,
    side: int,
    classes: tuple[str, ...],
    size: int,
) -> list[SceneJob]:
    """The portions of a domain, each of ``size`` scenes at most, in which every model has its turn.

    Args:
        domain: Its name.
        total: Its scenes, shared out among the settings as `SETTINGS` says.
        models: For each setting, what may stand there.
        folder: The domain's.
        side: Of the pictures in pixels.
        classes: The background, and those of the models.
        size: Scenes of a portion, at most.
    """
    jobs: list[SceneJob] = []
    first, share = 0, 0.0
    for setting, ranges in SETTINGS.items():
        share += ranges.share
        scenes = round(total * share) - first
        number = -(-scenes // size)
        casts = _casts(models[setting], number, random_for(0, "render-scenes", domain, setting))
        for place, cast in enumerate(casts):
            own = scenes // number + (place < scenes % number)
            jobs.append(
                SceneJob(
                    label=domain,
                    setting=setting,
                    number=place,
                    models=tuple(cast),
                    folder=folder,
                    first=first,
                    scenes=own,
                    side=side,
                    classes=classes,
                )
            )
            first += own
    return jobs


def _casts(models: Sequence[Model], number: int, rng: random.Random) -> list[list[Model]]:
    """So many choices of a few models of each class, dealt out in turn."""
    casts: list[list[Model]] = [[] for _ in range(number)]
    for label in sorted({model.label for model in models}):
        own = [model for model in models if model.label == label]
        rng.shuffle(own)
        each = min(len(own), max(_CAST, -(-len(own) // max(number, 1))))
        for place, cast in enumerate(casts):
            cast += [own[(place * each + turn) % len(own)] for turn in range(each)]
    return casts


def draw_scenes(job: SceneJob) -> list[Row]:
    """Draw and save a portion; a row of the manifest for each scene.

    Raises:
        UserError: A model cannot be read.
    """
    labels = {model.name: job.classes.index(model.label) for model in job.models}
    rows: list[Row] = []
    with SceneStage(job.models, side=job.side) as stage:
        sizes = {
            label: [(model.name, stage.sizes[model.name]) for model in job.models if model.label == label]
            for label in job.classes[1:]
        }
        for index in range(job.scenes):
            rng = random_for(0, "render-scenes", job.label, job.setting, job.number, index)
            plan, things_HW = _composed(stage, {label: own for label, own in sizes.items() if own}, job.setting, rng)
            shown = [thing.model for number, thing in enumerate(plan.things, 1) if (things_HW == number).any()]
            mask_HW = np.array([0, *(labels[thing.model] for thing in plan.things)], dtype=np.uint8)[things_HW]
            save_scene(job.folder, job.first + index, (Image.fromarray(stage.picture()), mask_HW), job.classes)
            rows.append(
                {
                    "path": f"{job.label}/images/{job.first + index:04d}.png",
                    "setting": job.setting,
                    "models": " ".join(sorted(shown)),
                    "covered": round(float((mask_HW > 0).mean()), 4),
                }
            )
    return rows


def _composed(
    stage: SceneStage, sizes: dict[str, list[tuple[str, Size]]], setting: str, rng: random.Random
) -> tuple[Plan, np.ndarray]:
    """Set up scenes until one is well composed, else the one of most things; its plan, and what each pixel shows."""
    best: tuple[int, Plan, np.ndarray] | None = None
    for _ in range(_PLANS):
        plan = draw_plan(setting, sizes, rng)
        stage.set_up(plan)
        things_HW = stage.things()
        if well_composed(things_HW):
            return plan, things_HW
        seen = len(np.unique(things_HW))
        if best is None or seen > best[0]:
            best = seen, plan, things_HW
    assert best is not None
    stage.set_up(best[1])
    return best[1], best[2]


def well_composed(things_HW: np.ndarray) -> bool:
    """Whether three things or more are to be seen, none so near that it hides all others, and none of them a speck."""
    shares = np.bincount(things_HW.ravel(), minlength=2)[1:] / things_HW.size
    return bool((shares >= _LEAST).sum() >= _SEEN and shares.sum() >= _COVERED and shares.max() <= _MOST)
