"""``csg-train run`` and ``csg-train sweep``: train, then measure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from csg_train import data, engine, evaluate, recipes, runs
from csg_train.commands.options import device_option, records_option
from csg_train.commands.recipe_options import recipe_argument, set_option
from csg_train.console import console, print_json, print_table, progress
from csg_train.data.readers.listing import left_out_line
from csg_train.errors import BusyError, UserError, within
from csg_train.splits import SPLITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from csg_train.data import AnySet

__all__ = ["run", "sweep"]

_blind = click.option("--blind", is_flag=True, help="Do not measure the target: for hyperparameter trials.")


def _as_it_is(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """A path that a recipe reads as no other: ``./none`` is a file, and a ``~`` that no shell replaced is a letter."""
    words = ("imagenet", "none")
    if value is None or value in words:
        return value
    path = Path(value)
    return str(path.absolute() if str(path) in words or str(path).startswith("~") else path)


@click.command()
@recipe_argument
@set_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run. [default: runs/NAME/METHOD-sSEED]")
@click.option(
    "--weights",
    type=click.Path(),
    callback=_as_it_is,
    help="Starting weights: imagenet, none (random), a state-dict file or a checkpoint. [default: the recipe's]",
)
@device_option
@click.option("--resume", is_flag=True, help="Continue the run in the folder.")
@click.option("--overwrite", is_flag=True, help="Replace the run in the folder.")
@_blind
@click.option(
    "--profile",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Profile this many steps, after the first few, into profile.json; open it in ui.perfetto.dev.",
)
@records_option
def run(
    recipe_name: str,
    overrides: tuple[str, ...],
    out: Path | None,
    weights: str | None,
    device: torch.device,
    resume: bool,
    overwrite: bool,
    blind: bool,
    profile: int | None,
    as_json: bool,
) -> None:
    """Train RECIPE (a name or a YAML file; default renders-photos), then measure accuracy or IoU on every split."""
    recipe = recipes.load_recipe(recipe_name, overrides, weights=weights)
    method = str(recipe.method["name"])
    out = out or Path("runs") / recipe.name / f"{method}-s{recipe.seed}"
    title = f"{method} seed {recipe.seed}"
    records = _run(recipe, out, title, device, resume=resume, overwrite=overwrite, blind=blind, profile=profile or 0)
    if as_json:
        print_json(records)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for one folder of each run.")
@click.option("--shard", "part", default="1/1", show_default=True, metavar="I/N", help="This machine's part.")
@_blind
@device_option
@records_option
def sweep(file: Path, out: Path, part: str, blind: bool, device: torch.device, as_json: bool) -> None:
    """Train every run of a sweep FILE: finished runs are skipped, interrupted ones continue.

    A run that fails is reported, the others are still trained, and the exit code is 2. Several calls may use the same
    --out at the same time: each skips the runs that another is training.
    --json prints the records of the runs that this call trained.
    """
    from csg_train.distributed import require_one_run

    planned = recipes.shard(recipes.load_sweep(file), part)
    waiting = [one for one in planned if not one.finished(out, _last_measured(one.recipe, blind))]
    require_one_run(len(waiting))
    console.print(f"{file}: {len(planned)} runs, {len(planned) - len(waiting)} finished")
    classes: dict[str, int] = {}
    for one in waiting:  # a fault of the last one, hours before its turn
        with within(f"{file}: {one.name}"):
            _require_blindness(one.recipe, blind)
            data = one.recipe.data.model_dump_json()
            if data not in classes:
                classes[data] = len(recipes.load_splits(one.recipe, _measured(blind))["source"].classes)
            recipes.require_trainable(one.recipe, classes=classes[data])
    records, failed = [], []
    for number, one in enumerate(waiting, start=len(planned) - len(waiting) + 1):
        title = f"[{number}/{len(planned)}] {one.name}"
        try:
            if one.finished(out, _last_measured(one.recipe, blind)):  # meanwhile, by another call
                continue
            records += _run(one.recipe, out / one.name, title, device, resume=True, blind=blind)
        except BusyError:
            console.print(f"{one.name}: left to another csg-train, which is writing it")
        except UserError as error:
            failed.append(f"{one.name}: {error.message}")
            console.print(f"failed: {failed[-1]}")
    if as_json:
        print_json(records)
    if failed:
        raise UserError(f"{file}: {len(failed)} of {len(waiting)} runs failed: {'; '.join(failed)}")


def _run(
    recipe: recipes.Recipe,
    out: Path,
    title: str,
    device: torch.device,
    *,
    resume: bool,
    overwrite: bool = False,
    blind: bool,
    profile: int = 0,
) -> list[runs.ScoreRecord | runs.UnlabelledRecord]:
    _require_blindness(recipe, blind)
    sets = recipes.load_splits(recipe, _measured(blind))  # as they are before training: none may get lost
    for root, left_out in dict.fromkeys((images.root, images.left_out) for images in sets.values() if images.left_out):
        console.print(f"{root}: left out: {left_out_line(left_out)}")
    for split, images in sets.items():
        counts = images.counts() if isinstance(images, data.ImageSet) else {}
        if absent := [name for name, count in counts.items() if not count]:
            console.print(f"{split}: no picture is of {', '.join(absent)}")
    with progress(title, recipe.train.steps) as report:
        path = engine.train(
            recipe,
            out,
            device=device,
            resume=resume,
            overwrite=overwrite,
            splits=[*sets],
            profile=profile,
            report=report,
        )
    with engine.locked(path.parent):  # a sweep that shares the folder leaves it to this process
        return _evaluate(path, recipe, device, sets)


def _require_blindness(recipe: recipes.Recipe, blind: bool) -> None:
    if blind and recipe.evaluate.select == "oracle":
        raise UserError("--blind: evaluate.select oracle measures the target while it trains; choose another rule")


def _measured(blind: bool) -> list[str]:
    return [split for split in SPLITS if not (blind and split == "target")]


def _last_measured(recipe: recipes.Recipe, blind: bool) -> str:
    if not blind:
        return "target"
    return "source" if recipe.data.validation is None else "validation"


def _evaluate(
    path: Path, recipe: recipes.Recipe, device: torch.device, sets: Mapping[str, AnySet]
) -> list[runs.ScoreRecord | runs.UnlabelledRecord]:
    checkpoint = runs.load_checkpoint(path)
    network = checkpoint.build_network(device)
    rows: list[list[str]] = []
    records: list[runs.ScoreRecord | runs.UnlabelledRecord] = []
    for split, images in sets.items():
        record = evaluate.measure(checkpoint, network, images, split=split, recipe=recipe)
        runs.write_score(path.parent, record)
        records.append(record)
        cells = ["unknown", "", "unknown"]
        if not isinstance(record, runs.UnlabelledRecord):
            interval = "none" if record.interval is None else record.interval.percent
            cells = [f"{100 * record.score:.1f}", interval, f"{100 * record.overall:.1f}"]
            score = record.score_name
        rows.append([split, str(len(images)), *cells])
    columns = ["split", "images", f"{score} %", "95 % bootstrap", "overall %"]
    print_table(f"accuracy of {runs.rule_title(checkpoint)}, {path}", columns, rows)
    for record in records:
        if isinstance(record, runs.UnlabelledRecord):
            console.print(f"{record.data.split}: {record.sentence}")
            continue
        if isinstance(record, runs.SegmentationRecord) and (absent := runs.absent_classes(record)):
            console.print(f"{record.data.split}: no mask shows {', '.join(absent)}")
        if (name := runs.only_prediction(record)) is not None:
            line = f"only {name} was predicted; lower the learning rates if training diverged"
            console.print(f"{record.data.split}: {line}")
    return records
