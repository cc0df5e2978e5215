"""Many models at once: a few processes that draw, and a user's own tree of models as a data set of pictures.

A picture's pose and light depend on the seed, the model's class and name, and the number of the view, and on nothing
else: other models and the number of processes do not change it.
"""

import contextlib
import multiprocessing
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from PIL import Image

from csg_train.data.readers.listing import reason_by_name
from csg_train.demos.render import Stage, covered, require_renderer, well_filled
from csg_train.demos.views import POSES, Poses
from csg_train.errors import UserError
from csg_train.files import csv_text, require_new, together, write_text
from csg_train.program import usable_cores

__all__ = ["SUFFIXES", "Job", "Row", "draw_model", "drawn", "manifest_text", "processes", "render_tree"]

SUFFIXES = (".obj", ".gltf", ".glb", ".ply", ".stl")
_SEEN = 0.001
"""Of a picture: less is a line or a speck, not a surface."""
Row = dict[str, str | float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One model to draw.

    Attributes:
        model: The mesh file.
        label: Its class.
        name: Its name within the class, of which the pictures' names are made.
        folder: Where ``LABEL/NAME-00.png`` and so on go.
        views: Number of pictures.
        size: Their side in pixels.
        seed: Of pose and light.
        poses: What those are drawn from.
        up: The model's upward axis, ``y`` or ``z``.
        only: Names of its parts to show; all of them by default.
    """

    model: Path
    label: str
    name: str
    folder: Path
    views: int
    size: int
    seed: int = 0
    poses: Poses = POSES
    up: str = "y"
    only: tuple[str, ...] = ()


def draw_model(job: Job) -> list[Row]:
    """Draw and save every view of a model; a row of the manifest for each.

    Raises:
        UserError: The model cannot be read, or nothing is seen of it; then no picture of it is left.
    """
    rows: list[Row] = []
    (job.folder / job.label).mkdir(parents=True, exist_ok=True)
    with Stage(job.model, size=job.size, up=job.up, only=job.only) as stage:
        for index in range(job.views):
            rng = random.Random(f"{job.seed}/{job.label}/{job.name}/{index}")  # noqa: S311 - a pose, not a secret
            view, image_HW4 = well_filled(stage, rng, job.poses)
            filled = round(covered(image_HW4), 4)
            if filled < _SEEN:
                for row in rows:
                    (job.folder / str(row["path"])).unlink()
                raise UserError(f"{job.model}: nothing of the model is to be seen; fix or remove it")
            path = f"{job.label}/{job.name}-{index:02d}.png"
            Image.fromarray(image_HW4).save(job.folder / path)
            rows.append({"path": path, "label": job.label, "model": job.name, **asdict(view), "covered": filled})
    return rows


def _draw_whole(job: Job) -> list[Row]:
    """`draw_model`, of a model of a user's."""
    from csg_train.demos.model_files import require_whole  # of the extra, as all that draws

    require_whole(job.model)
    return draw_model(job)


def processes() -> int:
    """How many draw at once: one for each processor that we may use, four at most, for each holds a model."""
    return min(4, usable_cores())


def _worker() -> None:
    """Set up a process that draws: Mesa's software renderer on one processor, and an end that the parent decides."""
    os.environ.setdefault("LP_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot tell its processes, which would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _Named(Protocol):
    """A job, as an error names it."""

    @property
    def label(self) -> str: ...

    @property
    def name(self) -> str: ...


_Job = TypeVar("_Job", bound=_Named)


def drawn(
    jobs: Sequence[_Job], workers: int, draw: Callable[[Any], list[Row]] = draw_model
) -> Generator[tuple[_Job, list[Row] | UserError], None, None]:
    """Do jobs in processes of their own; each comes back with its rows, or the error, as soon as it ends.

    Args:
        jobs: What to draw.
        workers: Processes.
        draw: Does one job; a function of a module, for it is sent by its name. By default a model is drawn.

    Raises:
        UserError: A process died, as OpenGL's drivers can make it do.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_worker) as pool:
        waiting = {pool.submit(draw, job): job for job in jobs}
        try:
            for future in as_completed(waiting):
                job, error = waiting[future], future.exception()
                if error is not None and not isinstance(error, UserError):
                    raise error
                yield job, error or future.result()
        except BrokenProcessPool as error:
            left = [f"{job.label}/{job.name}" for future, job in waiting.items() if future.exception()]
            names = ", ".join(left[:workers])  # they are begun in order
            raise UserError(
                f"a process died while it drew one of: {names}; check the OpenGL driver, then repeat"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def manifest_text(rows: Sequence[Row]) -> str:
    """The rows, sorted by path, as CSV: a manifest (columns ``path`` and ``label``) that also holds the views."""
    columns = list(rows[0])
    return csv_text(columns, [[row[name] for name in columns] for row in sorted(rows, key=lambda row: row["path"])])


def _models(root: Path) -> dict[tuple[str, str], Path]:
    """Class and name of each model below ``root/CLASS``, at any depth."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(root.glob("*/**/*")):
        left_out = any(map(reason_by_name, path.relative_to(root).parts))  # as of pictures
        if left_out or path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        label, *inner = path.relative_to(root).with_suffix("").parts
        key = (label, "-".join(inner))
        if key in found:
            raise UserError(f"{path}: its pictures would be named as those of {found[key]}; rename one of them")
        found[key] = path
    if not found:
        raise UserError(f"{root}: no models; expected {root}/CLASS/MODEL with {', '.join(SUFFIXES)}")
    return found


def render_tree(
    models: Path,
    out: Path,
    *,
    views: int,
    size: int = 160,
    seed: int = 0,
    poses: Poses = POSES,
    up: str = "y",
    skip_broken: bool = False,
    workers: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Counter[str], list[str]]:
    """Draw ``models/CLASS/**/MODEL`` to ``out/CLASS/MODEL-00.png`` and so on, with ``out/manifest.csv``.

    Args:
        models: The tree of models (`SUFFIXES`).
        out: A folder that does not exist or is empty; it appears when it is complete.
        views: Pictures of each model.
        size: Side of the pictures in pixels.
        seed: Of poses and light.
        poses: What those are drawn from.
        up: The models' upward axis, ``y`` or ``z``.
        skip_broken: Leave out a model that cannot be drawn, and go on.
        workers: Processes; by default `processes`.
        report: Receives a line for each model.

    Returns:
        Number of pictures of each class, and the errors of the models that were left out.

    Raises:
        UserError: No models, a folder that is not empty, no renderer, or (unless skipped) a bad model.
    """
    require_renderer()
    found = _models(models)
    require_new(out, "--out")
    with together(out, new_for="--out") as folder:
        jobs = [
            Job(
                model=path, label=label, name=name, folder=folder, views=views, size=size, seed=seed, poses=poses, up=up
            )
            for (label, name), path in found.items()
        ]
        rows, broken = _draw_all(jobs, workers or processes(), report, skip_broken=skip_broken)
        write_text(folder / "manifest.csv", manifest_text(rows))
    return Counter(str(row["label"]) for row in rows), broken


def _draw_all(
    jobs: Sequence[Job], workers: int, report: Callable[[str], None], *, skip_broken: bool
) -> tuple[list[Row], list[str]]:
    """The rows of all models that could be drawn, and the errors of the others."""
    rows: list[Row] = []
    broken: list[str] = []
    with contextlib.closing(drawn(jobs, workers, _draw_whole)) as results:
        for number, (job, result) in enumerate(results, start=1):
            if isinstance(result, UserError):
                if not skip_broken:
                    raise UserError(f"{result.message}, or leave it out with --skip-broken")
                broken.append(result.message)
            else:
                rows += result
            report(f"{number} of {len(jobs)}: {job.label}/{job.name}")
    if not rows:
        raise UserError(f"not one of {len(jobs)} models could be drawn; first: {broken[0]}")
    return rows, sorted(broken)
