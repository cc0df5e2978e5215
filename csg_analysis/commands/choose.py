"""``csg-analyze choose``: which of several runs to use on real pictures, of which no label is known."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from csg_analysis import choosing
from csg_analysis.commands.labels import Named, labelled
from csg_analysis.commands.options import checkpoints, device_option, json_option, layer_option, set_option
from csg_analysis.commands.subject import Subject, require_record_folders
from csg_train import data as pictures
from csg_train import recipes, runs
from csg_train.console import console, print_json, print_table, progress
from csg_train.errors import UserError

if TYPE_CHECKING:
    import torch

__all__ = ["choose"]


@click.command()
@checkpoints
@click.option(
    "--target",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Real pictures at any depth, without labels. [default: the recipe's target, its labels ignored]",
)
@layer_option
@set_option
@device_option
@json_option
def choose(
    checkpoints: tuple[Path, ...],
    target: Path | None,
    layer: str,
    overrides: tuple[str, ...],
    device: torch.device,
    as_json: bool,
) -> None:
    """Rank runs by measures that need no real label; a star marks the run that each measure chooses.

    Every run also needs held-out synthetic pictures that it was not trained on (data.validation).
    """
    names = _names(checkpoints)
    require_record_folders(checkpoints)
    if target is not None:
        root = target.absolute() if str(target).startswith("~") else target  # in a recipe the home
        overrides = (f"data.target={json.dumps({'dataset': 'pictures', 'root': str(root)})}", *overrides)
    found: list[tuple[Named, choosing.Candidate]] = []
    first: tuple[Subject, pictures.ImageSet, pictures.ImageSet] | None = None
    opened: dict[str, Path] = {}
    with progress("measured", len(checkpoints)) as report:
        for path in checkpoints:
            subject = Subject.open(path, overrides, device)
            if (other := opened.setdefault(subject.checkpoint.sha256, path)) is not path:
                raise UserError(
                    f"{path}: the same checkpoint as {other}, which would agree with itself; give one of them"
                )
            held_out, real = _pictures(subject)
            if first is None:
                first = subject, held_out, real
            _require_alike((subject, held_out, real), first)
            how: dict[str, Any] = {"held_out": held_out, "target": real, "recipe": subject.recipe, "layer": layer}
            found.append((subject.named, choosing.measure_run(subject.checkpoint, subject.network, **how)))
            report(len(found), {})
    records = choosing.choosing_records([candidate for _, candidate in found])
    for path, record in zip(checkpoints, records, strict=True):
        runs.write_record(path.parent / "choosing-target.json", record)
    if as_json:
        print_json(records)
        return
    _print_table(names, [label for label, _ in labelled(found)], records)


def _names(paths: Sequence[Path]) -> list[str]:
    """The folder of each checkpoint, below the folder that all share.

    Raises:
        UserError: There is one alone, or two would write one record.
    """
    folders = [path.parent.resolve() for path in paths]
    if len(folders) < 2:
        raise UserError(f"{paths[0]}: nothing to choose from; give two checkpoints or more, as runs/*/ckpt.pt")
    if twice := next((folder for folder in folders if folders.count(folder) > 1), None):
        raise UserError(f"{twice}: two checkpoints would both write its choosing-target.json; give one of them")
    shared = Path(os.path.commonpath(folders))
    above = shared.parent if shared in folders else shared  # a run beside its own snapshots
    return [folder.relative_to(above).as_posix() for folder in folders]


def _pictures(subject: Subject) -> tuple[pictures.ImageSet, pictures.ImageSet]:
    """Held-out synthetic pictures and the target.

    Raises:
        UserError: A segmentation; no such split; or the run was trained on what is called held out.
    """
    data, path = subject.recipe.data, subject.checkpoint.path
    if subject.recipe.segmentation is not None:
        raise UserError(f"{path}: a segmentation checkpoint; choose ranks classification runs only")
    if data.validation is None:
        raise UserError(
            f"{path}: data.validation: not in its recipe, and held-out synthetic pictures are half of what choose "
            "measures; name some that it was not trained on (--set 'data.validation={dataset: folder, root: FOLDER}')"
        )
    trained = subject.checkpoint.resolved_recipe().data.validation
    if data.validation.dataset == "holdout" and data.validation != trained:
        raise UserError(f"{path}: data.validation: holdout names pictures that the run was trained on; name a folder")
    held_out, real = subject.images("validation"), subject.images("target")
    assert isinstance(held_out, pictures.ImageSet)
    if count := recipes.shared_files(held_out, real):
        raise UserError(f"{path}: data.validation: {count} of its pictures are the target's; name synthetic ones")
    if held_out.identity == subject.checkpoint.data["identity"]:  # a copy
        raise UserError(f"{path}: data.validation: the run was trained on {len(held_out)} of its pictures; name others")
    assert isinstance(real, pictures.ImageSet)
    return held_out, real


def _require_alike(
    own: tuple[Subject, pictures.ImageSet, pictures.ImageSet],
    first: tuple[Subject, pictures.ImageSet, pictures.ImageSet],
) -> None:
    subject, other = own[0], first[0]
    if subject.checkpoint.classes != other.checkpoint.classes:
        differing = sorted({*subject.checkpoint.classes} ^ {*other.checkpoint.classes})
        what = f"other classes ({', '.join(differing)})" if differing else "the classes in another order"
        raise UserError(f"{subject.origin}: {what} than {other.origin}; choose among runs of the same classes")
    for name, images, others in zip(("validation", "target"), own[1:], first[1:], strict=True):
        if images.identity != others.identity:
            raise UserError(
                f"{subject.origin}: other pictures in data.{name} than {other.origin} (by names, labels or file "
                "sizes); choose among runs that share them, or name the same for all (--set)"
            )


def _print_table(names: Sequence[str], methods: Sequence[str], records: Sequence[runs.ChoosingRecord]) -> None:
    first = records[0]
    chosen = {name: choosing.best_runs(records, name) for name in first.measures}
    rows = [
        [label, method, *(_cell(one.value, index in chosen[name]) for name, one in record.measures.items())]
        for index, (label, method, record) in enumerate(zip(names, methods, records, strict=True))
    ]
    title = (
        f"without real labels: {first.data.count} pictures of {first.data.name}, {first.held_out.count} held-out ones "
        f"of {first.held_out.name}; average pool of {first.layer}, d = {first.dim}; *: the run that is chosen"
    )
    print_table(title, ["run", "method", *first.measures], rows)
    for name, one in first.measures.items():
        best = ", ".join(names[index] for index in chosen[name]) or "none"
        better = "higher" if one.higher_is_better else "lower"
        console.print(f"{name}, {better} is better: {best}. {one.definition}")
    without: dict[tuple[str, str], list[str]] = {}
    for label, record in zip(names, records, strict=True):
        for name, one in record.measures.items():
            if one.value is None:
                without.setdefault((name, one.undefined), []).append(label)
    for (name, reason), labels in without.items():
        console.print(f"no {name} of {', '.join(labels)}: {reason}")
    if oracles := [label for label, record in zip(names, records, strict=True) if _chosen_by_labels(record)]:
        console.print(f"warning: labels of a target chose the step of {', '.join(oracles)} (oracle)")
    console.print("to see which of these to trust, run csg-report build on runs whose real accuracy is known")


def _cell(value: float | None, best: bool) -> str:
    return "undefined" if value is None else f"{'* ' if best else ''}{value:.4f}"


def _chosen_by_labels(record: runs.ChoosingRecord) -> bool:
    return isinstance(record.run, runs.RunInfo) and record.run.selection == "oracle"
