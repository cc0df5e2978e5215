"""What the parts of `benchmarks.gpu` share: the clock and the rows, pictures to load, our step."""

import gc
import itertools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

from benchmarks.pictures import jpeg
from csg_train.engine.loop import _Run
from csg_train.engine.precision import training_arithmetic
from csg_train.engine.waiting import Waits
from csg_train.recipes.reading import load_recipe
from csg_train.recipes.sections import Recipe

__all__ = ["Bench", "classified", "our_steps", "recipe_for", "segmented"]


_LOADED = 2.0
"""Seconds of loaded steps between two readings of the clock: the driver gives its load once a second."""


@dataclass
class Bench:
    """The device, the sizes, and the rows so far: what, seconds, and how often the seconds of its peer."""

    device: torch.device
    quick: bool
    keep: Callable[[list[dict[str, Any]]], object] = len
    """Called with the rows after each: a session that is cut short has those before."""
    rows: list[dict[str, Any]] = field(default_factory=list)

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def time(self, act: Callable[[], object], *, warm: int = 2, times: int = 5) -> float:
        """Seconds of one call."""
        taken = []
        for index in range(warm + times):
            self.wait()
            start = time.perf_counter()
            act()
            self.wait()
            if index >= warm:
                taken.append(time.perf_counter() - start)
        return statistics.median(taken)

    def add(self, what: str, seconds: float, peer: str = "", than: float | None = None, **more: object) -> None:
        """Keep and print a row."""
        ratio = None if than is None else seconds / than
        self.rows.append({"what": what, "seconds": seconds, "peer": peer, "ratio": ratio, **more})
        self.keep(self.rows)
        click.echo(f"{what}: {1000 * seconds:.2f} ms" + (f", {ratio:.2f} x {peer}" if ratio else "") + f" {more or ''}")


def classified(root: Path, bench: Bench) -> None:
    """Pictures of twelve classes, as a camera's JPEGs are; so many that starting the loaders is little beside loading.

    Of all files the first are distinct, the others links to them. Those that an earlier part made are kept.
    """
    if root.exists():
        return
    count, distinct = (24, 24) if bench.quick else (1536, 384)
    for index in range(count):
        folder = root / f"class{index % 12:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        if index < distinct:
            jpeg(folder / f"{index}.jpg", index)
        else:
            (folder / f"{index}.jpg").hardlink_to(folder / f"{index % distinct}.jpg")


def segmented(root: Path, width: int, height: int, *, count: int, distinct: int, ending: str) -> None:
    """Pictures of 19 classes in blocks; of ``count`` files the first are ``distinct``, the others links to them."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(count):
        if index >= distinct:
            for name in (f"images/{{}}{ending}", "masks/{}.png"):
                (root / name.format(index)).hardlink_to(root / name.format(index % distinct))
            continue
        small_HW = rng.integers(0, 19, (height // 32, width // 32), dtype=np.uint8)
        mask = Image.fromarray(small_HW).resize((width, height), Image.Resampling.NEAREST)
        mask.save(root / "masks" / f"{index}.png")
        pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8) + 10 * np.asarray(mask)[..., None]
        Image.fromarray(pixels).save(root / "images" / f"{index}{ending}", quality=90)
    (root / "classes.txt").write_text("\n".join(f"class{index}" for index in range(19)))


def recipe_for(name: str, domain: dict[str, Any], bench: Bench, **train: object) -> Recipe:
    plan = load_recipe(name).as_dict()
    plan["data"] |= {"source": domain, "target": dict(domain)}
    plan["model"] |= {"weights": "none"}
    plan["train"] |= {"log_every": 100_000} | train
    if bench.quick:
        plan["data"]["size"], plan["model"]["backbone"], plan["train"]["batch_size"] = 64, "resnet18", 2
        if "queue_size" in plan["method"]:
            plan["method"]["queue_size"] = 64
    return Recipe.model_validate(plan)


def our_steps(recipe: Recipe, bench: Bench, out: Path, number: int) -> dict[str, Any]:
    """Seconds of a step with its loading, and of one on a batch that is there already, in the recipe's arithmetic.

    How busy the GPU was is what a run's own line says. torch's profiler is not used: it slows all that comes after it.
    """
    gc.collect()  # what an earlier run left in cycles is not this one's memory
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    with training_arithmetic(recipe.train, bench.device):
        run = _Run(recipe, out, bench.device)
        waits = Waits(run._batches(), bench.device)
        batches = iter(waits)
        fixed = next(batches).to(bench.device)

        def whole() -> None:
            for batch in itertools.islice(batches, count):
                run._train_step(batch.to(bench.device))
            run.unlogged.clear()

        def alone() -> None:
            for _ in range(number):
                run._train_step(fixed)
            run.unlogged.clear()

        there = bench.time(alone, warm=1, times=3) / number
        count = number
        bench.time(whole, warm=0, times=1)
        count = number if bench.quick else max(number, math.ceil(_LOADED / there))
        waits.loads.clear()  # of the steps that the run's own process loaded, to size its loaders
        waits.asked_load = time.perf_counter()
        loaded = bench.time(whole, warm=0, times=3) / count
    busy = statistics.mean(waits.loads) if waits.loads else None
    peak = torch.cuda.max_memory_allocated(bench.device) if bench.device.type == "cuda" else None
    return {"loaded": loaded, "there": there, "busy": busy, "peak_bytes": peak}
