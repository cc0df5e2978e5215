"""Whole epochs and validation sets: pictures a second, and the hours of a run from them."""

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from benchmarks.bench import Bench, our_steps, recipe_for, segmented
from csg_train.data.loaders.workers import spare_cores
from csg_train.data.readers.lists import VISDA_CLASSES, VISDA_COUNTS, visda17
from csg_train.devices import full_float32
from csg_train.engine.batches import batches_of
from csg_train.engine.loop import _Run
from csg_train.engine.precision import training_arithmetic
from csg_train.evaluate.accuracy import confusion_of
from csg_train.evaluate.segmentation import count_masks
from csg_train.recipes.sections import Recipe

__all__ = ["epoch", "streets"]

_VISDA = "visda17-resnet101-csg"


def _render(path: Path, seed: int) -> None:
    """A shaded body on white, 384 x 216 pixels: what a renderer leaves."""
    light = Image.radial_gradient("L").resize((384, 216))
    tinted = Image.merge("RGB", [light.point(lambda level, c=c: level * (seed * c % 97) // 97) for c in (31, 57, 83)])
    body = Image.new("L", light.size)
    ImageDraw.Draw(body).polygon([(40 + seed % 50, 20), (330, 60 + seed % 90), (300, 200), (90, 180)], fill=255)
    white = Image.new("RGB", light.size, (255, 255, 255))
    white.paste(tinted, mask=body)
    white.save(path)


def _visda(root: Path, count: int, distinct: int) -> None:
    """VisDA-17's layout; of ``count`` pictures the first are ``distinct``, the others links to them."""
    for split in ("train", "validation"):
        lines = []
        for index in range(count):
            label = index % len(VISDA_CLASSES)
            name = f"{VISDA_CLASSES[label]}/{index:06d}.png"
            path, first = root / split / name, root / split / VISDA_CLASSES[label] / f"{index % distinct:06d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            _render(path, index) if index < distinct else path.hardlink_to(first)
            lines.append(f"{name} {label}")
        (root / split / "image_list.txt").write_text("\n".join(lines) + "\n")


def _once(bench: Bench, act: Callable[[], object]) -> float:
    return bench.time(act, warm=0, times=1)


def _peak(bench: Bench) -> int | None:
    return torch.cuda.max_memory_allocated(bench.device) if bench.device.type == "cuda" else None


def epoch(bench: Bench, folder: Path) -> None:
    """VisDA-17's layout, 10,008 pictures: validation with flip, loading and training with views from either place."""
    count, distinct = (24, 12) if bench.quick else (10_008, 504)
    root = folder / "visda17"
    _visda(root, count, distinct)
    recipe = recipe_for(_VISDA, {"dataset": "visda17", "root": str(root), "split": "train"}, bench)
    run = _Run(recipe, folder / "run", bench.device)
    network, images = run.network.eval(), visda17(root, "validation")
    measured = _once(bench, lambda: confusion_of(network, images, recipe))
    bench.add(f"validation with flip of {count} pictures", measured, pictures_per_second=count / measured)
    for place in ("loader", "device"):
        data = recipe.data.model_copy(update={"augment_on": place})
        step = _trained(bench, folder / "run", recipe.model_copy(update={"data": data}), count)
        whole = recipe.train.steps * step + sum(VISDA_COUNTS["validation"]) * measured / count
        what = f"{_VISDA}, views from the {place}, {recipe.train.steps} such steps and VisDA-17's validation set"
        bench.add(what, whole, hours=whole / 3600)


def _trained(bench: Bench, out: Path, recipe: Recipe, count: int) -> float:
    """Seconds of a step with its loading; a row of it, and one of loading alone."""
    size, place = recipe.train.batch_size, recipe.data.augment_on
    workers = spare_cores() if bench.device.type == "cuda" else 0
    with training_arithmetic(recipe.train, bench.device):
        run = _Run(recipe, out, bench.device)

        def load() -> None:
            pictures = recipe, run.images, run.method, run.styles
            for batch in batches_of(*pictures, start=0, stop=count // size, workers=workers):
                batch.to(bench.device)

        alone = _once(bench, load)
    ours = our_steps(recipe, bench, out, 2 if bench.quick else 60)
    title = f"loading {count // size * size} renders, two views from the {place}, {workers} loader processes"
    bench.add(title, alone, pictures_per_second=count // size * size / alone)
    rate, title = size / ours["loaded"], f"step of {_VISDA}, renders, views from the {place}"
    bench.add(title, ours["loaded"], pictures_per_second=rate, **ours)
    return float(ours["loaded"])


def streets(bench: Bench, folder: Path) -> None:
    """Whole pictures of Cityscapes' validation set: the network of gta5-resnet50-csg on each, and its counts."""
    width, height, count, distinct = (96, 64, 4, 2) if bench.quick else (2048, 1024, 500, 20)
    root = folder / "streets"
    segmented(root, width, height, count=count, distinct=distinct, ending=".png")
    recipe = recipe_for("gta5-resnet50-csg", {"dataset": "masked-folder", "root": str(root)}, bench)
    run = _Run(recipe, folder / "run", bench.device)
    network, images = run.network.eval(), run.images
    picture = torch.randint(256, (1, 3, height, width), dtype=torch.uint8, device=bench.device)
    with full_float32(), torch.no_grad():
        forward = count * bench.time(lambda: network(picture))
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    ours = _once(bench, lambda: count_masks(network, images, recipe))
    title = f"mean IoU of {count} pictures of {height} x {width}"
    more = {"pictures_per_second": count / ours, "peak_bytes": _peak(bench)}
    bench.add(title, ours, "a bare forward pass", forward, **more)
