"""``csg-analyze energy``: hyperspherical energy of checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from csg_analysis import energy as engine
from csg_analysis import features
from csg_analysis.commands.labels import Named, labelled
from csg_analysis.commands.options import (
    device_option,
    images_option,
    json_option,
    layer_option,
    model_option,
    pool_option,
    records_option,
    set_option,
    some_checkpoints,
    splits_option,
)
from csg_analysis.commands.output import warn_unstable
from csg_analysis.commands.outside import Outside
from csg_analysis.commands.subject import Asked, Subject, require_record_folders
from csg_train import data as pictures
from csg_train import runs
from csg_train.console import console, print_json, print_table
from csg_train.errors import UserError, within
from csg_train.files import together, write_csv

if TYPE_CHECKING:
    import torch

__all__ = ["energy"]


@click.command()
@some_checkpoints
@model_option
@images_option
@records_option
@click.option(
    "--features",
    "files",
    multiple=True,
    type=click.Path(),
    metavar="FILE[:NAME]",
    help="A file of csg-analyze features, or a .npy, .npz or .safetensors matrix, a row a picture. May be repeated.",
)
@splits_option
@layer_option
@pool_option
@click.option(
    "--coincident",
    type=click.Choice(["exclude", "infinite"]),
    default="exclude",
    show_default=True,
    help="Pairs of pictures with equal features: leave them out, or count their energy as infinite.",
)
@set_option
@device_option
@json_option
@click.pass_context
def energy(
    context: click.Context,
    checkpoints: tuple[Path, ...],
    models: tuple[str, ...],
    folder: Path | None,
    records: Path | None,
    files: tuple[str, ...],
    splits: tuple[str, ...],
    layer: str,
    pool: Any,
    coincident: Any,
    overrides: tuple[str, ...],
    device: torch.device,
    as_json: bool,
) -> None:
    """Hyperspherical energy E_0, E_1, E_2 of each checkpoint's features (lower = more diverse)."""
    if bool(files) == bool(checkpoints or models):
        raise UserError("energy: give checkpoints, --model or --features FILE, and only one of the three")
    found: list[tuple[str, runs.EnergyRecord]] = []
    if files:
        _refuse_options(context)
        written = set[Path]()
        found = [_of_file(file, written, coincident=coincident, device=device) for file in files]
        names = [name for name, _ in found]
        found = [
            (f"{name} ({file})" if names.count(name) > 1 else name, record)
            for file, (name, record) in zip(files, found, strict=True)
        ]
    else:
        measured: list[tuple[Named, runs.EnergyRecord]] = []
        require_record_folders(checkpoints)
        asked = Asked(checkpoints, models, folder, records, overrides, splits, device)
        for subject, split in asked.measured("source", "target"):
            record = _of_subject(subject, split, layer=layer, pool=pool, coincident=coincident)
            rows = [[s, record.paper[s], record.mhe[s], record.coincident, record.data.count] for s in record.mhe]
            with together(subject.folder) as kept:
                write_csv(kept / f"energy-{split}.csv", ["s", "paper", "mhe", "coincident", "images"], rows)
                runs.write_record(kept / f"energy-{split}.json", record)
            measured.append((subject.named, record))
        found = labelled(measured)
    if as_json:
        print_json([record for _, record in found])
        return
    _print_energies(found)


def _refuse_options(context: click.Context) -> None:
    """A feature file says these itself; an option that would be ignored is an error."""
    ignored = {"splits": "--split", "layer": "--layer", "pool": "--pool", "overrides": "--set"}
    for name, option in (ignored | {"folder": "--images", "records": "--records"}).items():
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise UserError(f"{option}: the feature file fixes it; leave it out, or extract other features")


def _of_file(file: str, written: set[Path], *, coincident: Any, device: torch.device) -> tuple[str, runs.EnergyRecord]:
    path, name = features.split_name(file)
    own: features.FeatureFile | features.Matrix
    if path.suffix == ".npy" and name is None and (path.parent / features.DEFINITION).exists():
        rows_ND, own = features.open_features(path)
        out = path.with_suffix(".energy.json")
    else:
        own = features.open_matrix(path, name)
        rows_ND, out = own.rows_ND, path.with_name(f"{own.file_name}.energy.json")
    if out in written:
        raise UserError(f"--features {file}: would take the place of another one's {out.name}; give it by itself")
    written.add(out)
    with within(str(file)):
        result = engine.hyperspherical_energy(rows_ND, s=(0, 1, 2), coincident=coincident, device=device)
    fields = {name: getattr(own, name) for name in ("layer", "pool", "dtype", "stability")}
    record = _record(result, own.run, own.data, **fields)
    runs.write_record(out, record)
    return path.stem if name is None else f"{path.stem}:{name}", record


def _of_subject(subject: Subject | Outside, split: str, *, layer: str, pool: Any, coincident: Any) -> runs.EnergyRecord:
    images = subject.images(split)
    seen = features.Stability()
    features_ND = features.extract(subject.network, images, subject.shown, layer=layer, pool=pool, stability=seen)
    labels = images.labels if isinstance(images, pictures.ImageSet) and images.labelled else None
    with within(f"{subject.folder}: {layer} of {images.name}"):
        result = engine.hyperspherical_energy(features_ND, s=(0, 1, 2), coincident=coincident, labels=labels)
    own = {"layer": layer, "pool": pool, "dtype": "float32", "stability": seen.of(layer)}
    return _record(result, subject.run, subject.data_info(images, split), **own)


def _print_energies(records: Sequence[tuple[str, runs.EnergyRecord]]) -> None:
    columns = ["checkpoint", "split", "images", "coincident", "E_0 paper", "E_0 mhe", "+-", "E_1", "E_2"]
    table = [
        [
            label,
            record.data.split,
            str(record.data.count),
            str(record.coincident),
            _energy_text(record.paper["0"]),
            _energy_text(record.mhe["0"]),
            _half(record.interval.get("0")),
            _energy_text(record.mhe["1"]),
            _energy_text(record.mhe["2"]),
        ]
        for label, record in records
    ]
    spaces = dict.fromkeys(
        f"{record.pool} pool of {record.layer}, d = {record.dim}{_half_precision(record)}" for _, record in records
    )
    print_table(f"energy, mean over pairs, {'; '.join(spaces)}", columns, table)
    console.print("+-: half the 95 % jackknife interval over pictures of E_0 mhe; E_1, E_2 agree in both conventions")
    for dim, record in {record.dim: record for _, record in records}.items():
        values = ", ".join(f"E_{s} {_energy_text(value)}" for s, value in record.uniform.items())
        console.print(f"uniform directions in {dim} dimensions, mhe: {values}")
    for label, record in records:
        warn_unstable(f"{label} {record.data.split}", {record.layer: record.stability}, record.data.count)


def _half_precision(record: runs.EnergyRecord) -> str:
    return ", float16" if record.dtype == "float16" else ""


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _by_order(estimates: dict[float, engine.Estimate], part: str) -> dict[str, Any]:
    """One part of the estimates, of the orders that have it."""
    values = {f"{s:g}": getattr(estimate, part) for s, estimate in estimates.items()}
    return {s: _finite(value) for s, value in values.items() if value is not None}


def _energy_text(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.4f}"


def _half(interval: runs.Interval | None) -> str:
    return "none" if interval is None else f"{(interval.high - interval.low) / 2:.4f}"


def _record(
    result: engine.Energy, run: runs.RunInfo | runs.OutsideInfo, data: runs.DataInfo, **own: Any
) -> runs.EnergyRecord:
    """A result and what its features are: layer, pool, precision, stability."""
    return runs.EnergyRecord(
        run=run,
        data=data,
        **own,
        dim=result.d,
        pairs=result.pairs,
        coincident=result.coincident_pairs,
        coincident_rule=result.coincident,
        paper=_by_order(result.paper, "value"),
        mhe=_by_order(result.mhe, "value"),
        interval={
            f"{s:g}": runs.Interval(low=estimate.low, high=estimate.high, level=0.95, kind="jackknife over pictures")
            for s, estimate in result.mhe.items()
            if math.isfinite(estimate.standard_error)
        },
        uniform=_by_order(result.mhe, "uniform"),
        simplex=_by_order(result.mhe, "simplex"),
        within=_by_order(result.mhe, "within"),
        between=_by_order(result.mhe, "between"),
    )
