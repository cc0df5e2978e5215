"""The ``csg-analyze`` command: measure checkpoints, write records beside them."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from csg_analysis import gradcam as cams
from csg_analysis.energy import hyperspherical_energy
from csg_analysis.features import extract
from csg_train import __version__
from csg_train.checkpoint import Checkpoint, load_checkpoint
from csg_train.cli import device_option
from csg_train.console import console, print_table
from csg_train.data.domains import SPLITS, load_split
from csg_train.data.images import ImageSet
from csg_train.errors import UserError
from csg_train.evaluate import accuracy_record
from csg_train.files import atomic_write, write_text
from csg_train.models.network import Network
from csg_train.recipe import Recipe
from csg_train.records import (
    AccuracyRecord,
    Attended,
    AttentionRecord,
    DataInfo,
    EnergyRecord,
    Interval,
    RunInfo,
    write_record,
)

__all__ = ["main"]

_CHECKPOINTS = click.argument("checkpoints", nargs=-1, required=True, type=click.Path(path_type=Path))
_SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a recipe field, e.g. data.target.root."
)
_SPLITS = click.option(
    "--split", "splits", multiple=True, type=click.Choice(SPLITS), help="May be repeated. [default: source and target]"
)
_LAYER = click.option("--layer", default="layer4", show_default=True, help="A stage of the backbone.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the records as JSON instead of a table.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Measure checkpoints: hyperspherical energy, GradCAM, accuracy. Records are written beside each checkpoint."""


@dataclass(frozen=True)
class _Subject:
    """One checkpoint, opened."""

    checkpoint: Checkpoint
    recipe: Recipe
    network: Network

    @classmethod
    def open(cls, path: Path, overrides: tuple[str, ...], device: torch.device) -> "_Subject":
        checkpoint = load_checkpoint(path)
        return cls(checkpoint, checkpoint.resolved_recipe(overrides), checkpoint.build_network(device))

    def images(self, split: str) -> ImageSet:
        return load_split(self.recipe.data, split, self.checkpoint.classes)

    def data_info(self, images: ImageSet, split: str) -> DataInfo:
        data = self.recipe.data
        return DataInfo.of(images, split=split, size=data.size, fit=data.fit)

    @property
    def folder(self) -> Path:
        return self.checkpoint.path.parent

    @property
    def label(self) -> str:
        return f"{self.recipe.method['name']} s{self.recipe.seed}"


def _measured(
    checkpoints: Sequence[Path], splits: Sequence[str], overrides: tuple[str, ...], device: torch.device
) -> Iterator[tuple[_Subject, str]]:
    """Every checkpoint, opened once, with every split to measure it on."""
    for path in checkpoints:
        subject = _Subject.open(path, overrides, device)
        for split in splits or ("source", "target"):
            yield subject, split


@main.command()
@_CHECKPOINTS
@_SPLITS
@_LAYER
@click.option("--pool", type=click.Choice(["average", "attention"]), default="average", show_default=True)
@click.option(
    "--coincident",
    type=click.Choice(["exclude", "infinite"]),
    default="exclude",
    show_default=True,
    help="What a pair of equal directions counts as.",
)
@_SET
@device_option
@_JSON
def energy(
    checkpoints: tuple[Path, ...],
    splits: tuple[str, ...],
    layer: str,
    pool: Any,
    coincident: Any,
    overrides: tuple[str, ...],
    device: torch.device,
    as_json: bool,
) -> None:
    """Hyperspherical energy E_0, E_1, E_2 of each checkpoint's features (lower = more diverse)."""
    records = []
    for subject, split in _measured(checkpoints, splits, overrides, device):
        record = _energy_record(subject, split, layer=layer, pool=pool, coincident=coincident)
        write_record(subject.folder / f"energy-{split}.json", record)
        rows = [[s, record.paper[s], record.mhe[s], record.coincident, record.data.count] for s in record.mhe]
        _write_csv(subject.folder / f"energy-{split}.csv", ["s", "paper", "mhe", "coincident", "images"], rows)
        records.append((subject, record))
    if as_json:
        _print_json([record for _, record in records])
        return
    columns = ["checkpoint", "split", "images", "coincident", "E_0 paper", "E_0 mhe", "+-", "E_1", "E_2"]
    table = [
        [
            subject.label,
            record.data.split,
            str(record.data.count),
            str(record.coincident),
            _energy_text(record.paper["0"]),
            _energy_text(record.mhe["0"]),
            _half(record.interval.get("0")),
            _energy_text(record.mhe["1"]),
            _energy_text(record.mhe["2"]),
        ]
        for subject, record in records
    ]
    first = records[0][1]
    print_table(f"energy, mean over pairs, {first.pool} pool of {first.layer}, d = {first.dim}", columns, table)
    console.print("+-: half the 95 % jackknife interval over pictures of E_0 mhe; E_1, E_2 agree in both conventions")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _energy_text(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.4f}"


def _half(interval: Interval | None) -> str:
    return "none" if interval is None else f"{(interval.high - interval.low) / 2:.4f}"


def _energy_record(subject: _Subject, split: str, *, layer: str, pool: Any, coincident: Any) -> EnergyRecord:
    images = subject.images(split)
    features = extract(subject.network, images, subject.recipe, layer=layer, pool=pool)
    result = hyperspherical_energy(features, s=(0, 1, 2), coincident=coincident)
    return EnergyRecord(
        run=RunInfo.of(subject.checkpoint),
        data=subject.data_info(images, split),
        layer=layer,
        pool=pool,
        dim=result.d,
        pairs=result.pairs,
        coincident=result.coincident_pairs,
        coincident_rule=result.coincident,
        paper={f"{s:g}": _finite(estimate.value) for s, estimate in result.paper.items()},
        mhe={f"{s:g}": _finite(estimate.value) for s, estimate in result.mhe.items()},
        interval={
            f"{s:g}": Interval(low=estimate.low, high=estimate.high, level=0.95, kind="jackknife over pictures")
            for s, estimate in result.mhe.items()
            if math.isfinite(estimate.standard_error)
        },
        uniform={f"{s:g}": _finite(estimate.uniform) for s, estimate in result.mhe.items()},
    )


@main.command()
@_CHECKPOINTS
@_SPLITS
@_SET
@device_option
@_JSON
def accuracy(
    checkpoints: tuple[Path, ...],
    splits: tuple[str, ...],
    overrides: tuple[str, ...],
    device: torch.device,
    as_json: bool,
) -> None:
    """Per-class, mean-per-class and overall accuracy, with a bootstrap interval and the confusion matrix."""
    records = []
    for subject, split in _measured(checkpoints, splits, overrides, device):
        images = subject.images(split)
        record = accuracy_record(subject.checkpoint, subject.network, images, split=split, recipe=subject.recipe)
        write_record(subject.folder / f"accuracy-{split}.json", record)
        confusion = [[name, *row] for name, row in zip(record.classes, record.confusion, strict=True)]
        _write_csv(subject.folder / f"confusion-{split}.csv", ["true \\ predicted", *record.classes], confusion)
        records.append((f"{subject.label} {split}", record))
    if as_json:
        _print_json([record for _, record in records])
        return
    print_table("accuracy in %, last step", ["", *(name for name, _ in records)], _accuracy_rows(records))
    console.print(f"interval: {records[0][1].interval.kind}; flip averaging {records[0][1].flip}")


def _accuracy_rows(records: Sequence[tuple[str, AccuracyRecord]]) -> list[list[str]]:
    def row(name: str, cell: Callable[[AccuracyRecord], str]) -> list[str]:
        return [name, *(cell(record) for _, record in records)]

    def one(position: int) -> Callable[[AccuracyRecord], str]:
        return lambda record: _percent(record.per_class[position])

    return [
        row("images", lambda record: str(record.data.count)),
        *(row(name, one(position)) for position, name in enumerate(records[0][1].classes)),
        row("mean per class", lambda record: _percent(record.mean_per_class)),
        row("95 % bootstrap", lambda r: f"{_percent(r.interval.low)} - {_percent(r.interval.high)}"),
        row("overall", lambda record: _percent(record.overall)),
    ]


def _percent(value: float | None) -> str:
    return "no images" if value is None else f"{100 * value:.1f}"


@main.command()
@_CHECKPOINTS
@click.option("--images", "where", default="target", show_default=True, help="A file, a folder, or a split.")
@click.option("--per-class", default=2, show_default=True, help="Pictures of each class taken from a split.")
@click.option("--explain", default="predicted", show_default=True, help="predicted, label, or a class name.")
@_LAYER
@click.option("--out", type=click.Path(path_type=Path), default=Path("gradcam"), show_default=True)
@_SET
@device_option
def gradcam(
    checkpoints: tuple[Path, ...],
    where: str,
    per_class: int,
    explain: str,
    layer: str,
    out: Path,
    overrides: tuple[str, ...],
    device: torch.device,
) -> None:
    """GradCAM of the same pictures under each checkpoint: overlays side by side in --out, raw maps in each run."""
    columns: list[list[tuple[str, np.ndarray]]] = []
    for path in checkpoints:
        subject = _Subject.open(path, overrides, device)
        images = cams.pick(subject.images(where), per_class) if where in SPLITS else _own(where, subject)
        _check_explained(explain, where, images)
        maps = cams.attend(subject.network, images, subject.recipe, layer=layer, explain=explain)
        split = where if where in SPLITS else "images"
        record = _attention_record(subject, images, maps, split=split, layer=layer, explain=explain)
        arrays = {"maps": maps.maps_NHW, "images": maps.images_NHWC}
        atomic_write(subject.folder / record.arrays, lambda stream, a=arrays: np.savez_compressed(stream, **a))  # type: ignore[misc]
        write_record(subject.folder / "attention.json", record)
        captions = [picture.label or "picture" for picture in record.pictures]
        columns = columns or [[pair] for pair in zip(captions, maps.images_NHWC, strict=True)]
        for row, picture, shown, cam in zip(columns, record.pictures, maps.images_NHWC, maps.maps_NHW, strict=True):
            caption = f"{subject.label}: {picture.predicted}" + (" (flat map)" if picture.flat else "")
            row.append((caption, cams.overlay(shown, cam)))
    for index, row in enumerate(columns):
        cams.side_by_side(out / f"{index:04d}.png", row)
    names = [f"{index:04d}.png\t{images.files[index]}" for index in range(len(columns))]
    write_text(out / "index.tsv", "\n".join(names) + "\n")
    console.print(f"{len(columns)} pictures under {len(checkpoints)} checkpoints: {out}", highlight=False)


def _own(where: str, subject: _Subject) -> ImageSet:
    return cams.unlabelled(Path(where), subject.checkpoint.classes)


def _check_explained(explain: str, where: str, images: ImageSet) -> None:
    if explain == "label" and where not in SPLITS:
        raise UserError(f"--explain label: {where} has no labels; use predicted or a class name")
    if explain not in ("predicted", "label", *images.classes):
        raise UserError(f"--explain {explain}: allowed: predicted, label, {', '.join(images.classes)}")


def _attention_record(
    subject: _Subject, images: ImageSet, maps: cams.Maps, *, split: str, layer: str, explain: str
) -> AttentionRecord:
    names = images.classes
    pictures = [
        Attended(
            file=file,
            label=names[label] if split in SPLITS else None,
            predicted=names[predicted],
            target=names[explained],
            flat=not bool(cam.any()),
        )
        for file, label, predicted, explained, cam in zip(
            images.files, images.labels, maps.predicted, maps.explained, maps.maps_NHW, strict=True
        )
    ]
    return AttentionRecord(
        run=RunInfo.of(subject.checkpoint),
        data=subject.data_info(images, split),
        layer=layer,
        explained=explain,
        arrays="attention.npz",
        pictures=pictures,
    )


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    write_text(path, text.getvalue())


def _print_json(records: Sequence[Any]) -> None:
    click.echo(json.dumps([record.model_dump(mode="json") for record in records], indent=1, sort_keys=True))
