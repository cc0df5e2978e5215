"""Energies, training steps and measuring on a GPU, each beside the least that the same card needs, in one run.

    bash benchmarks/gpu_session.sh                    # the CUDA tests, then this, into $OUT
    python -m benchmarks.gpu --out gpu.json           # this alone
    python -m benchmarks.gpu --quick --device cpu     # tiny sizes on a CPU: shows that it runs

Every time is the median of its repetitions after some that do not count, the device waited for before each reading of
the clock. What is complete is written after each part, so that a session that is cut off keeps it.
"""

import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch.profiler import ProfilerActivity, profile

from benchmarks.clouds import clusters
from benchmarks.tables import table
from benchmarks.test_throughput import _jpeg
from csg_analysis.attention.gradcam import grad_cam
from csg_analysis.energy.energy import hyperspherical_energy, sampled_energy
from csg_analysis.features.pooled import extract
from csg_train.devices import arithmetic, full_float32
from csg_train.engine.loop import _Run
from csg_train.engine.precision import training_arithmetic
from csg_train.evaluate.accuracy import confusion_of
from csg_train.files import write_json
from csg_train.recipes.reading import load_recipe
from csg_train.recipes.sections import Recipe

_BLOCK = 4096


@dataclass
class Bench:
    """The device, the sizes, and the rows so far: what, seconds, and how often the seconds of its peer."""

    device: torch.device
    quick: bool
    rows: list[dict[str, Any]] = field(default_factory=list)

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

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
        click.echo(f"{what}: {1000 * seconds:.2f} ms" + (f", {ratio:.2f} x {peer}" if ratio else "") + f" {more or ''}")


def _blocks(rows_ND: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor, bool]]:
    """Pairs of blocks of the upper triangle; whether one is on the diagonal."""
    parts = rows_ND.split(_BLOCK)
    for first, second in itertools.combinations_with_replacement(range(len(parts)), 2):
        yield parts[first], parts[second], first == second


def _product(rows_ND: torch.Tensor) -> None:
    for left, right, _ in _blocks(rows_ND):
        left @ right.T


def _naive(rows_ND: torch.Tensor) -> torch.Tensor:
    """Three energies from float32 products, without a look at near pairs."""
    unit_ND, sums = F.normalize(rows_ND), torch.zeros(3, device=rows_ND.device)
    for left, right, diagonal in _blocks(unit_ND):
        squared = (2 - 2 * (left @ right.T)).clamp_min_(1e-12)
        if diagonal:
            squared.fill_diagonal_(1)
        inverse = squared.rsqrt()
        sums += torch.stack([inverse.log().sum(), inverse.sum(), inverse.square().sum()])
    return sums


def energies(bench: Bench) -> None:
    sizes, d = ((600,), 32) if bench.quick else ((5_000, 20_000, 55_388), 2048)
    for n in sizes:
        for name, spread, count in (("spread out", 1.0, 1), ("12 clusters", 1e-3, 12)):
            rows_ND = torch.from_numpy(clusters(n, d, spread, count)).to(bench.device)
            with full_float32():
                product = bench.time(lambda rows=rows_ND: _product(rows))
                naive = bench.time(lambda rows=rows_ND: _naive(rows))
            ours = bench.time(lambda rows=rows_ND: hyperspherical_energy(rows, s=(0, 1, 2)), times=3)
            title = f"energies, N = {n}, d = {d}, {name}"
            bench.add(title, ours, "bare float32 product", product, naive=naive, over_naive=ours / naive)
            for block in () if bench.quick else (1024, 4096, 8192):  # beside the default, 2048 at most
                wide = bench.time(lambda rows=rows_ND, b=block: hyperspherical_energy(rows, block_rows=b), times=3)
                bench.add(f"{title}, tiles of {block} rows", wide, "bare float32 product", product)
            pairs = 10 * n
            sampled = bench.time(lambda rows=rows_ND, m=pairs: sampled_energy(rows, pairs=m, seed=0), times=3)
            bench.add(f"{title}, {pairs} sampled pairs", sampled, "all pairs", ours)
            del rows_ND


def _classified(root: Path, bench: Bench) -> None:
    """Pictures of twelve classes, as a camera's JPEGs are."""
    for index in range(24 if bench.quick else 384):
        path = root / f"class{index % 12:02d}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        _jpeg(path, index)


def _segmented(root: Path, bench: Bench) -> None:
    """Pictures of GTA5's size and 19 classes, in blocks."""
    width, height = (96, 64) if bench.quick else (1914, 1052)
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(6 if bench.quick else 24):
        small_HW = rng.integers(0, 19, (height // 32, width // 32), dtype=np.uint8)
        mask = Image.fromarray(small_HW).resize((width, height), Image.Resampling.NEAREST)
        mask.save(root / "masks" / f"{index}.png")
        pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8) + 10 * np.asarray(mask)[..., None]
        Image.fromarray(pixels).save(root / "images" / f"{index}.jpg", quality=90)
    (root / "classes.txt").write_text("\n".join(f"class{index}" for index in range(19)))


def _recipe(name: str, domain: dict[str, Any], bench: Bench, **train: object) -> Recipe:
    plan = load_recipe(name).as_dict()
    plan["data"] |= {"source": domain, "target": dict(domain)}
    plan["model"] |= {"weights": "none"}
    plan["train"] |= {"log_every": 100_000} | train
    if bench.quick:
        plan["data"]["size"], plan["model"]["backbone"], plan["train"]["batch_size"] = 64, "resnet18", 2
        if "queue_size" in plan["method"]:
            plan["method"]["queue_size"] = 64
    return Recipe.model_validate(plan)


def _busy(bench: Bench, act: Callable[[], object], steps: int) -> float | None:
    """Share of the time in which a kernel ran, by torch's profiler, which costs a little itself."""
    if bench.device.type != "cuda":
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        bench.wait()
        start = time.perf_counter()
        for _ in range(steps):
            act()
        bench.wait()
        taken = time.perf_counter() - start
    return sum(event.self_device_time_total for event in seen.key_averages()) / 1e6 / taken


def _bare_step(recipe: Recipe, bench: Bench) -> Callable[[], object]:
    """A torchvision loop on tensors already there: forward, backward and SGD, BatchNorm frozen."""
    builder = getattr(torchvision.models, recipe.model.backbone)
    network = builder(num_classes=12).to(bench.device, memory_format=torch.channels_last).eval()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)
    shape = (recipe.train.batch_size, 3, recipe.data.size, recipe.data.size)
    pictures = torch.randn(shape, device=bench.device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(12, shape[:1], device=bench.device)
    lowered = recipe.train.precision == "bfloat16"

    def step() -> None:
        with torch.autocast(bench.device.type, torch.bfloat16) if lowered else contextlib.nullcontext():
            loss = F.cross_entropy(network(pictures).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _our_steps(recipe: Recipe, bench: Bench, out: Path, number: int) -> dict[str, Any]:
    """Seconds of a step with its loading, and of one on a batch that is there already."""
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    run = _Run(recipe, out, bench.device)
    batches = run._batches()
    fixed = next(batches).to(bench.device)

    def whole() -> None:
        for batch in itertools.islice(batches, number):
            run._train_step(batch.to(bench.device))
        run.unlogged.clear()

    def alone() -> None:
        for _ in range(number):
            run._train_step(fixed)
        run.unlogged.clear()

    there = bench.time(alone, warm=1, times=3) / number
    loaded = bench.time(whole, warm=1, times=3) / number
    busy = _busy(bench, alone, 1)
    peak = torch.cuda.max_memory_allocated() if bench.device.type == "cuda" else None
    return {"loaded": loaded, "there": there, "busy": busy, "peak_bytes": peak}


def steps(bench: Bench, folder: Path) -> None:
    """Of VisDA-17's recipes in each precision: the baseline beside the bare loop, CSG beside the baseline."""
    _classified(folder / "classified", bench)
    domain = {"dataset": "folder", "root": str(folder / "classified")}
    precisions = ["float32", "bfloat16"] if bench.device.type == "cpu" else ["float32", "tf32", "bfloat16"]
    number = 2 if bench.quick else 12
    seconds: dict[tuple[str, str], float] = {}
    for precision in precisions:
        for method in ("baseline", "csg"):
            recipe = _recipe(f"visda17-resnet101-{method}", domain, bench, precision=precision)
            with training_arithmetic(recipe.train, bench.device):
                bare = bench.time(_bare_step(recipe, bench), warm=3, times=10) if method == "baseline" else 0.0
                ours = _our_steps(recipe, bench, folder / "run", number)
            seconds[method, precision] = ours["loaded"]
            title = f"step of visda17-resnet101-{method}, {precision}"
            if method == "baseline":
                bench.add(title, ours["loaded"], "bare torchvision loop", bare, **ours)
            else:
                bench.add(title, ours["loaded"], "baseline", seconds["baseline", precision], **ours)
    for method in ("baseline", "csg"):
        title = f"float32 step of visda17-resnet101-{method}"
        bench.add(title, seconds[method, "float32"], "its bfloat16 step", seconds[method, "bfloat16"])


def scenes(bench: Bench, folder: Path) -> None:
    """Steps of GTA5's recipes, and whole pictures measured."""
    _segmented(folder / "segmented", bench)
    domain = {"dataset": "masked-folder", "root": str(folder / "segmented")}
    for backbone in ("resnet50", "resnet101"):
        base = None
        for method in ("baseline", "csg"):
            recipe = _recipe(f"gta5-{backbone}-{method}", domain, bench)
            with training_arithmetic(recipe.train, bench.device):
                ours = _our_steps(recipe, bench, folder / "run", 2 if bench.quick else 5)
            bench.add(f"step of gta5-{backbone}-{method}", ours["loaded"], "baseline" if base else "", base, **ours)
            base = ours["loaded"]


def measures(bench: Bench, folder: Path) -> None:
    """Accuracy with flip, features and GradCAM, each beside the bare passes that it needs, pictures already there."""
    if not (folder / "classified").exists():
        _classified(folder / "classified", bench)
    recipe = _recipe("visda17-resnet101", {"dataset": "folder", "root": str(folder / "classified")}, bench)
    run = _Run(recipe, folder / "run", bench.device)
    network, images = run.network.eval(), run.images
    shape = (recipe.train.batch_size, 3, recipe.data.size, recipe.data.size)
    batch = torch.rand(shape, device=bench.device).contiguous(memory_format=torch.channels_last)
    number = -(-len(images) // recipe.train.batch_size)
    with full_float32(), torch.no_grad():
        forward = number * bench.time(lambda: network(batch), times=5)
    title = f"of {len(images)} pictures"
    accuracy = bench.time(lambda: confusion_of(network, images, recipe), warm=1, times=2)
    bench.add(f"accuracy with flip {title}", accuracy, "two bare forward passes", 2 * forward)
    features = bench.time(lambda: extract(network, images, recipe), warm=1, times=2)
    bench.add(f"features {title}", features, "a bare forward pass", forward)

    def backward() -> None:
        maps = network.backbone(batch).stages["layer4"]
        network.head(maps.mean(dim=(2, 3))).sum().backward()

    with full_float32():
        both = bench.time(backward)
    classes = torch.zeros(len(batch), dtype=torch.int64, device=bench.device)
    maps = bench.time(lambda: grad_cam(network, batch, classes, layer="layer4"))
    bench.add(f"GradCAM of {len(batch)} pictures", maps, "a bare forward and backward pass", both)


PARTS: dict[str, Callable[[Bench, Path], None]] = {
    "energies": lambda bench, _folder: energies(bench),
    "steps": steps,
    "scenes": scenes,
    "measures": measures,
}


@click.command(help=__doc__.splitlines()[0])
@click.option("--device", default="cuda", show_default=True)
@click.option("--quick", is_flag=True, help="Tiny sizes.")
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Parts; all by default.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("gpu.json"), show_default=True)
def main(device: str, quick: bool, only: tuple[str, ...], out: Path) -> None:
    bench = Bench(torch.device(device), quick)
    card = torch.cuda.get_device_name() if bench.device.type == "cuda" else "no GPU"
    about = {"card": card, "torch": torch.__version__, "cudnn": torch.backends.cudnn.version(), "quick": quick}
    with tempfile.TemporaryDirectory() as folder, arithmetic(benchmark=True):
        for name in only or PARTS:
            start = time.perf_counter()
            PARTS[name](bench, Path(folder))
            write_json(out, about | {"rows": bench.rows})
            click.echo(f"-- {name}: {time.perf_counter() - start:.0f} s")
    cells = [
        [
            row["what"],
            f"{1000 * row['seconds']:.1f} ms",
            "" if row["ratio"] is None else f"{row['ratio']:.2f} x {row['peer']}",
            f"{row['busy']:.0%}" if row.get("busy") else "",
        ]
        for row in bench.rows
    ]
    click.echo(f"\n{card}, torch {torch.__version__}\n{table(['what', 'time', 'ratio', 'GPU busy'], cells)}")


if __name__ == "__main__":
    main()
