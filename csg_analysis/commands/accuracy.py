"""``csg-analyze accuracy``: accuracy of checkpoints, by class and overall."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from csg_analysis.commands.labels import Named, labelled
from csg_analysis.commands.options import checkpoints, device_option, json_option, set_option, splits_option
from csg_analysis.commands.subject import measured
from csg_train import evaluate, runs
from csg_train.console import console, print_json, print_table

if TYPE_CHECKING:
    import torch

__all__ = ["accuracy"]


@click.command()
@checkpoints
@splits_option
@set_option
@device_option
@json_option
def accuracy(
    checkpoints: tuple[Path, ...],
    splits: tuple[str, ...],
    overrides: tuple[str, ...],
    device: torch.device,
    as_json: bool,
) -> None:
    """Accuracy or IoU by class, their mean and overall, with a bootstrap interval and the confusion matrix."""
    found: list[tuple[Named, runs.ScoreRecord | runs.UnlabelledRecord]] = []
    rules = []
    for subject, split in measured(checkpoints, splits, overrides, device):
        images = subject.images(split)
        record = evaluate.measure(subject.checkpoint, subject.network, images, split=split, recipe=subject.recipe)
        runs.write_score(subject.folder, record)
        found.append((subject.named, record))
        if isinstance(record, runs.UnlabelledRecord):
            continue
        rules.append(runs.rule_title(subject.checkpoint))
    shown = [(f"{label} {record.data.split}", record) for label, record in labelled(found)]
    scores = [(label, record) for label, record in shown if not isinstance(record, runs.UnlabelledRecord)]
    unknown = [(label, record) for label, record in shown if isinstance(record, runs.UnlabelledRecord)]
    if as_json:
        print_json([record for _, record in (*scores, *unknown)])
        return
    alike: dict[tuple[object, ...], list[tuple[str, runs.ScoreRecord, str]]] = {}
    for (label, record), rule in zip(scores, rules, strict=True):
        flip = record.flip if isinstance(record, runs.AccuracyRecord) else None
        alike.setdefault((record.score_name, flip, *record.classes), []).append((label, record, rule))
    for group in alike.values():  # a table of each task and list of classes
        _print_scores([(label, record) for label, record, _ in group], [rule for _, _, rule in group])
    for label, record in unknown:
        console.print(f"{label}: {record.sentence}")


def _print_scores(records: Sequence[tuple[str, runs.ScoreRecord]], rules: Sequence[str]) -> None:
    title = f"accuracy in %, {'; '.join(dict.fromkeys(rules))}"
    print_table(title, ["", *(name for name, _ in records)], _accuracy_rows(records))
    first = records[0][1]
    shown = f"flip averaging {first.flip}" if isinstance(first, runs.AccuracyRecord) else "IoU by class, pixels overall"
    kind = next(
        (record.interval.kind for _, record in records if record.interval),
        "none, since resampling cannot vary it (one picture in a class or in all, or every class all right or wrong)",
    )
    console.print(f"interval: {kind}; {shown}")


def _accuracy_rows(records: Sequence[tuple[str, runs.ScoreRecord]]) -> list[list[str]]:
    def row(name: str, cell: Callable[[runs.ScoreRecord], str]) -> list[str]:
        return [name, *(cell(record) for _, record in records)]

    def one(position: int) -> Callable[[runs.ScoreRecord], str]:
        return lambda record: _percent(record.per_class[position])

    return [
        row("images", lambda record: str(record.data.count)),
        *(row(name, one(position)) for position, name in enumerate(records[0][1].classes)),
        row(records[0][1].score_name, lambda record: _percent(record.score)),
        row("95 % bootstrap", lambda record: "none" if record.interval is None else record.interval.percent),
        row("overall", lambda record: _percent(record.overall)),
    ]


def _percent(value: float | None) -> str:
    return "absent" if value is None else f"{100 * value:.1f}"
