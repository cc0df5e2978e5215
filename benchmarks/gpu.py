"""Energies, training steps and measuring on a GPU, each beside the least that the same card needs, in one run.

    bash benchmarks/gpu_session.sh                    # the CUDA tests, then this, into $OUT
    python -m benchmarks.gpu --out gpu.json           # this alone
    python -m benchmarks.gpu --quick --device cpu     # tiny sizes on a CPU: shows that it runs

Every time is the median of its repetitions after some that do not count, the device waited for before each reading of
the clock. What there is gets written after each row: one that fails, or a session cut short, costs no other.
"""

import contextlib
import itertools
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import torch
import torch.nn.functional as F
import torchvision

from benchmarks.bench import Bench, classified, our_steps, recipe_for, segmented
from benchmarks.clouds import clusters
from benchmarks.epochs import epoch, streets
from benchmarks.gpu_section import machine, shown
from csg_analysis.attention.gradcam import grad_cam
from csg_analysis.attention.measure import scored_pictures
from csg_analysis.energy.energy import hyperspherical_energy, sampled_energy
from csg_analysis.features.pooled import extract
from csg_train.devices import arithmetic, full_float32
from csg_train.engine.loop import _Run
from csg_train.engine.precision import training_arithmetic
from csg_train.evaluate.accuracy import confusion_of
from csg_train.files import write_json
from csg_train.predictions.classes import predicted_classes
from csg_train.recipes.sections import Recipe

_BLOCK = 4096


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


def steps(bench: Bench, folder: Path) -> None:
    """Of VisDA-17's recipes in each precision: the baseline beside the bare loop, CSG beside the baseline."""
    classified(folder / "classified", bench)
    domain = {"dataset": "folder", "root": str(folder / "classified")}
    precisions = ["float32", "bfloat16"] if bench.device.type == "cpu" else ["float32", "tf32", "bfloat16"]
    number = 2 if bench.quick else 12
    seconds: dict[tuple[str, str], float] = {}
    for precision in precisions:
        for method in ("baseline", "csg"):
            recipe = recipe_for(f"visda17-resnet101-{method}", domain, bench, precision=precision)
            with training_arithmetic(recipe.train, bench.device):
                bare = bench.time(_bare_step(recipe, bench), warm=3, times=10) if method == "baseline" else 0.0
            ours = our_steps(recipe, bench, folder / "run", number)
            seconds[method, precision] = ours["loaded"]
            title = f"step of visda17-resnet101-{method}, {precision}"
            if method == "baseline":
                bench.add(title, ours["loaded"], "bare torchvision loop", bare, **ours)
            else:
                bench.add(title, ours["loaded"], "baseline", seconds["baseline", precision], **ours)
    recipe = recipe_for("visda17-resnet101-csg", domain, bench, precision="float32", no_grad_precision="bfloat16")
    ours = our_steps(recipe, bench, folder / "run", number)
    title = "step of visda17-resnet101-csg, float32, bfloat16 without gradients"
    bench.add(title, ours["loaded"], "baseline", seconds["baseline", "float32"], **ours)
    for method in ("baseline", "csg"):
        title = f"float32 step of visda17-resnet101-{method}"
        bench.add(title, seconds[method, "float32"], "its bfloat16 step", seconds[method, "bfloat16"])


def graphs(bench: Bench, folder: Path) -> None:
    """VisDA-17's bfloat16 steps compiled and captured as CUDA graphs, beside uncompiled ones."""
    classified(folder / "classified", bench)
    domain = {"dataset": "folder", "root": str(folder / "classified")}
    for method in ("baseline", "csg"):
        name, ours = f"visda17-resnet101-{method}", {}
        for captured in (False, True):
            chosen = {"precision": "bfloat16", "compile": captured, "cuda_graphs": captured}
            recipe = recipe_for(name, domain, bench, **chosen)
            ours[captured] = our_steps(recipe, bench, folder / "run", 2 if bench.quick else 12)
        title = f"step of {name}, bfloat16, CUDA graphs"
        bench.add(title, ours[True]["loaded"], "uncompiled", ours[False]["loaded"], **ours[True])


def scenes(bench: Bench, folder: Path) -> None:
    """Steps of GTA5's recipes, and the hours of a run of CSG from them."""
    width, height, count = (96, 64, 6) if bench.quick else (1914, 1052, 24)
    segmented(folder / "segmented", width, height, count=count, distinct=count, ending=".jpg")
    domain = {"dataset": "masked-folder", "root": str(folder / "segmented")}
    for backbone in ("resnet50", "resnet101"):
        base = None
        for method in ("baseline", "csg"):
            recipe = recipe_for(f"gta5-{backbone}-{method}", domain, bench)
            ours = our_steps(recipe, bench, folder / "run", 2 if bench.quick else 5)
            rate = recipe.train.batch_size / ours["loaded"]
            title, peer = f"step of gta5-{backbone}-{method}", "baseline" if base else ""
            bench.add(title, ours["loaded"], peer, base, pictures_per_second=rate, **ours)
            base = ours["loaded"]
        whole = recipe.train.steps * base
        bench.add(f"gta5-{backbone}-csg, {recipe.train.steps} such steps", whole, hours=whole / 3600)


def measures(bench: Bench, folder: Path) -> None:
    """All that counts pictures, each beside the bare passes that it needs, pictures already there."""
    classified(folder / "classified", bench)
    recipe = recipe_for("visda17-resnet101", {"dataset": "folder", "root": str(folder / "classified")}, bench)
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
    table_of = bench.time(lambda: [*predicted_classes(network, images, recipe, top=1)], warm=1, times=2)
    bench.add(f"predictions with flip {title}", table_of, "two bare forward passes", 2 * forward)
    features = bench.time(lambda: extract(network, images, recipe), warm=1, times=2)
    bench.add(f"features {title}", features, "a bare forward pass", forward)

    def back_to_the_map() -> None:
        maps = network.backbone(batch).stages["layer4"]
        torch.autograd.grad(network.head(maps.mean(dim=(2, 3))).sum(), maps)

    with full_float32():
        both = bench.time(back_to_the_map)
    classes = torch.zeros(len(batch), dtype=torch.int64, device=bench.device)
    maps = bench.time(lambda: grad_cam(network, batch, classes, layer="layer4"))
    least = "a bare forward pass and one back to the map"
    bench.add(f"GradCAM of {len(batch)} pictures already there", maps, least, both)
    how = {"layer": "layer4", "explain": "predicted"}
    scored = bench.time(lambda: [*scored_pictures(network, images, recipe, steps=None, **how)], warm=1, times=2)
    bench.add(f"attention {title}", scored, f"{least}, and a forward pass for the class", number * both + forward)


PARTS: dict[str, Callable[[Bench, Path], None]] = {
    "energies": lambda bench, _folder: energies(bench),
    "steps": steps,
    "graphs": graphs,
    "scenes": scenes,
    "measures": measures,
    "epoch": epoch,
    "streets": streets,
}


@click.command(help=__doc__.splitlines()[0])
@click.option("--device", default="cuda", show_default=True)
@click.option("--quick", is_flag=True, help="Tiny sizes.")
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Parts; all by default.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("gpu.json"), show_default=True)
def main(device: str, quick: bool, only: tuple[str, ...], out: Path) -> None:
    about, failed = machine(torch.device(device)) | {"quick": quick}, []
    bench = Bench(torch.device(device), quick, lambda rows: write_json(out, about | {"rows": rows}))
    with tempfile.TemporaryDirectory() as folder, arithmetic(benchmark=True):
        for name in only or PARTS:
            start = time.perf_counter()
            try:
                PARTS[name](bench, Path(folder))
            except Exception:  # whatever it is: the card is lent for minutes
                failed.append(name)
                traceback.print_exc()
            click.echo(f"-- {name}: {time.perf_counter() - start:.0f} s")
    click.echo(f"\n{shown(about | {'rows': bench.rows})}")
    if failed:
        raise click.ClickException(f"not whole: {', '.join(failed)}")


if __name__ == "__main__":
    main()
