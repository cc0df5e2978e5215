"""``csg-analyze energy``: hyperspherical energy of checkpoints."""

import math
from pathlib import Path
from typing import Any

import click
import torch

from csg_analysis.commands.options import (
    checkpoints,
    device_option,
    json_option,
    layer_option,
    pool_option,
    set_option,
    splits_option,
)
from csg_analysis.commands.output import print_json, write_csv
from csg_analysis.commands.subject import Subject, measured
from csg_analysis.energy import hyperspherical_energy
from csg_analysis.features import extract
from csg_train.console import console, print_table
from csg_train.records import EnergyRecord, Interval, RunInfo, write_record

__all__ = ["energy"]


@click.command()
@checkpoints
@splits_option
@layer_option
@pool_option
@click.option(
    "--coincident",
    type=click.Choice(["exclude", "infinite"]),
    default="exclude",
    show_default=True,
    help="What a pair of equal directions counts as.",
)
@set_option
@device_option
@json_option
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
    for subject, split in measured(checkpoints, splits, overrides, device):
        record = _energy_record(subject, split, layer=layer, pool=pool, coincident=coincident)
        write_record(subject.folder / f"energy-{split}.json", record)
        rows = [[s, record.paper[s], record.mhe[s], record.coincident, record.data.count] for s in record.mhe]
        write_csv(subject.folder / f"energy-{split}.csv", ["s", "paper", "mhe", "coincident", "images"], rows)
        records.append((subject, record))
    if as_json:
        print_json([record for _, record in records])
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


def _energy_record(subject: Subject, split: str, *, layer: str, pool: Any, coincident: Any) -> EnergyRecord:
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
