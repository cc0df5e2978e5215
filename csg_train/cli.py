"""The ``csg-train`` command."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import torch
from pydantic import TypeAdapter

from csg_train import __version__
from csg_train.checkpoint import load_checkpoint
from csg_train.commands.render import render
from csg_train.completion import complete_override, complete_recipe
from csg_train.console import Commands, console, json_option, print_json, print_table, progress
from csg_train.data import demo
from csg_train.data.cache import build_cache
from csg_train.data.check import Check
from csg_train.data.check import check as check_images
from csg_train.data.domains import SPLITS, AnySet, load_split
from csg_train.data.mask_check import MaskCheck, check_masks
from csg_train.data.mask_sheet import mask_sheet
from csg_train.data.masks import MaskedSet
from csg_train.data.sheet import contact_sheet
from csg_train.engine import train
from csg_train.errors import UserError
from csg_train.importing import import_command
from csg_train.measure import measure
from csg_train.methods import METHODS
from csg_train.recipe import DEFAULT_RECIPE, Recipe, load_recipe
from csg_train.records import ScoreRecord, only_prediction, write_record
from csg_train.selection import rule_title
from csg_train.sweep import load_sweep, shard
from csg_train.tensorboard import tensorboard_command

__all__ = ["device_option", "main"]

_SET = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_override,
    help="Change one field of the recipe.",
)


def _device(_context: click.Context, _parameter: click.Parameter, name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: not usable here ({str(error).splitlines()[0]})") from error
    return device


device_option = click.option(
    "--device", default="auto", show_default=True, callback=_device, help="cpu, cuda, cuda:1 ..."
)
_BLIND = click.option("--blind", is_flag=True, help="Do not measure the target: for trials that choose a strength.")
_RECIPE = click.argument("recipe_name", metavar="[RECIPE]", default=DEFAULT_RECIPE, shell_complete=complete_recipe)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Train and evaluate synthetic-to-real methods."""


main.add_command(import_command)
main.add_command(tensorboard_command)


@main.command()
@_RECIPE
@_SET
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run. [default: runs/NAME/METHOD-sSEED]")
@click.option("--weights", type=click.Path(path_type=Path), help="State-dict file of starting weights.")
@device_option
@click.option("--resume", is_flag=True, help="Continue the run in the folder.")
@click.option("--overwrite", is_flag=True, help="Replace the run in the folder.")
@_BLIND
@json_option
def run(
    recipe_name: str,
    overrides: tuple[str, ...],
    out: Path | None,
    weights: Path | None,
    device: torch.device,
    resume: bool,
    overwrite: bool,
    blind: bool,
    as_json: bool,
) -> None:
    """Train RECIPE (a name or a YAML file; the demo by default), then measure its accuracy on every split."""
    if weights is not None:
        overrides = (*overrides, f"model.weights={weights}")
    recipe = load_recipe(recipe_name, overrides)
    method = str(recipe.method["name"])
    out = out or Path("runs") / recipe.name / f"{method}-s{recipe.seed}"
    title = f"{method} seed {recipe.seed}"
    records = _run(recipe, out, title, device, resume=resume, overwrite=overwrite, blind=blind)
    if as_json:
        print_json(records)


def _run(
    recipe: Recipe, out: Path, title: str, device: torch.device, *, resume: bool, overwrite: bool = False, blind: bool
) -> list[ScoreRecord]:
    if blind and recipe.evaluate.select == "oracle":
        raise UserError("--blind: evaluate.select oracle measures the target while it trains; choose another rule")
    with progress(title, recipe.train.steps) as report:
        path = train(recipe, out, device=device, resume=resume, overwrite=overwrite, report=report)
    return _evaluate(path, recipe, device, [split for split in SPLITS if not (blind and split == "target")])


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for one folder of each run.")
@click.option("--shard", "part", default="1/1", show_default=True, metavar="I/N", help="This machine's part.")
@_BLIND
@device_option
@json_option
def sweep(file: Path, out: Path, part: str, blind: bool, device: torch.device, as_json: bool) -> None:
    """Train every run of a sweep FILE: finished runs are skipped, interrupted ones continue.

    --json prints the records of the runs that this call trained.
    """
    runs = shard(load_sweep(file), part)
    waiting = [run for run in runs if not run.finished(out, "validation" if blind else "target")]
    console.print(f"{file}: {len(runs)} runs, {len(runs) - len(waiting)} finished", highlight=False)
    records = []
    for number, planned in enumerate(waiting, start=len(runs) - len(waiting) + 1):
        title = f"[{number}/{len(runs)}] {planned.name}"
        records += _run(planned.recipe, out / planned.name, title, device, resume=True, blind=blind)
    if as_json:
        print_json(records)


@main.command()
@json_option
def methods(as_json: bool) -> None:
    """List every method: what it is, its equation, its source."""
    fields = {name: TypeAdapter(method.Config).json_schema().get("properties", {}) for name, method in METHODS.items()}
    if as_json:
        print_json([asdict(method.info) | {"fields": fields[name]} for name, method in METHODS.items()])
        return
    for method in METHODS.values():
        info = method.info
        console.print(f"[bold]{info.name}[/bold]  {info.title}\n  {info.summary}", highlight=False)
        console.print(f"  {info.equation}\n  {info.source}", highlight=False, markup=False)
        own = [f"{name}={field.get('default', 'required')}" for name, field in fields[info.name].items()]
        console.print(f"  fields: {', '.join(own) or 'none'}\n", highlight=False, markup=False)


@main.group()
def data() -> None:
    """Fetch demo data; check data of any recipe."""


data.add_command(render)


@data.command()
@click.argument("name", type=click.Choice(list(demo.DEMOS)))
def fetch(name: str) -> None:
    """Fetch and build the demo data NAME through the package clients, once."""
    folder = demo.fetch(name, lambda line: console.print(line, highlight=False, markup=False))
    console.print(f"{name}: {folder}", highlight=False, markup=False)


@data.command()
@_RECIPE
@_SET
@click.option("--sheet", type=click.Path(path_type=Path), help="Also write a contact sheet of each split there.")
@json_option
def check(recipe_name: str, overrides: tuple[str, ...], sheet: Path | None, as_json: bool) -> None:
    """Count pictures by class and split; find duplicates and bad files; name the licence. Exit 2 on a bad file."""
    recipe = load_recipe(recipe_name, overrides)
    splits = [split for split in SPLITS if getattr(recipe.data, split) is not None]
    classes = load_split(recipe.data, "source").classes
    sets = {split: load_split(recipe.data, split, classes) for split in splits}
    found: dict[str, Check | MaskCheck] = {
        split: check_masks(images) if isinstance(images, MaskedSet) else check_images(images)
        for split, images in sets.items()
    }
    if as_json:
        print_json(found)
    else:
        rows = [[name, *(str(result.counts[name]) for result in found.values())] for name in classes]
        rows.append(["total", *(str(len(images)) for images in sets.values())])
        print_table(f"{recipe.name}: pictures by class", ["class", *splits], rows)
        _print_findings(found)
    if sheet is not None:
        _write_sheets(sets, sheet)
    bad = [file for result in found.values() for file in result.bad]
    if bad:
        raise UserError(f"{bad[0].message} ({len(bad)} bad files in all)")


@data.command()
@_RECIPE
@_SET
def cache(recipe_name: str, overrides: tuple[str, ...]) -> None:
    """Decode every picture and mask of RECIPE once; training, evaluation and analysis then read them from the cache."""
    recipe = load_recipe(recipe_name, overrides)
    classes = load_split(recipe.data, "source").classes
    for split in (split for split in SPLITS if getattr(recipe.data, split) is not None):
        images = load_split(recipe.data, split, classes)
        store = build_cache(images, functools.partial(_print_line, split))
        _print_line(split, f"{len(images)} pictures, {len(store.pixels) / 1e6:.1f} MB in {store.path}")


def _print_line(split: str, line: str) -> None:
    console.print(f"{split}: {line}", highlight=False, markup=False)


def _print_findings(found: Mapping[str, Check | MaskCheck]) -> None:
    for split, result in found.items():
        for line in result.lines():
            _print_line(split, line)


def _write_sheets(sets: Mapping[str, AnySet], folder: Path) -> None:
    for split, images in sets.items():
        path = folder / f"{split}.png"
        if isinstance(images, MaskedSet):
            mask_sheet(images, path)
        else:
            contact_sheet(images, path)
        _print_line(split, f"contact sheet {path}")


def _evaluate(path: Path, recipe: Recipe, device: torch.device, splits: Sequence[str]) -> list[ScoreRecord]:
    checkpoint = load_checkpoint(path)
    network = checkpoint.build_network(device)
    rows, records = [], []
    for split in splits:
        if getattr(recipe.data, split) is None:
            continue
        images = load_split(recipe.data, split, checkpoint.classes)
        record = measure(checkpoint, network, images, split=split, recipe=recipe)
        write_record(path.parent / f"{record.kind}-{split}.json", record)
        records.append(record)
        interval = f"{100 * record.interval.low:.1f} - {100 * record.interval.high:.1f}"
        rows.append([split, str(len(images)), f"{100 * record.score:.1f}", interval, f"{100 * record.overall:.1f}"])
    columns = ["split", "images", f"{record.score_name} %", "95 % bootstrap", "overall %"]
    print_table(f"accuracy of {rule_title(checkpoint)}, {path}", columns, rows)
    for record in records:
        if (name := only_prediction(record)) is not None:
            _print_line(record.data.split, f"only {name} was predicted; lower the learning rates if training diverged")
    return records
