"""``csg-analyze sphere``: features of checkpoints on one circle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from csg_analysis import drawing, features
from csg_analysis import energy as engine
from csg_analysis import sphere as circle
from csg_analysis.commands.labels import Named, labelled
from csg_analysis.commands.options import (
    device_option,
    images_option,
    layer_option,
    model_option,
    pool_option,
    records_option,
    set_option,
    some_checkpoints,
    split_option,
)
from csg_analysis.commands.outside import IMAGES
from csg_analysis.commands.subject import Asked, Subject, on_same_pictures, require_record_folders
from csg_train import data as pictures
from csg_train import recipes, runs
from csg_train.console import console
from csg_train.errors import UserError, within
from csg_train.files import atomic_write, require_outside, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import torch
    from matplotlib.figure import Figure

    from csg_analysis.commands.outside import Outside
    from csg_train.data import AnySet

__all__ = ["sphere"]


@click.command()
@some_checkpoints
@model_option
@images_option
@records_option
@split_option
@layer_option
@pool_option
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("sphere.png"), show_default=True, help="A .png or .svg file."
)
@set_option
@device_option
def sphere(
    checkpoints: tuple[Path, ...],
    models: tuple[str, ...],
    folder: Path | None,
    records: Path | None,
    split: str | None,
    layer: str,
    pool: Any,
    out: Path,
    overrides: tuple[str, ...],
    device: torch.device,
) -> None:
    """Features of the same pictures on a circle, one panel a checkpoint: how spread each model's are.

    The densities are also written beside each checkpoint, for the report.
    """
    if out.suffix not in (".png", ".svg"):
        raise UserError(f"--out {out}: give a name that ends in .png or .svg")
    require_record_folders(checkpoints)
    asked = Asked(checkpoints, models, folder, records, overrides, (split,) if split else (), device)
    split = IMAGES if models else split or "target"
    subjects = on_same_pictures(
        asked.subjects(),
        lambda subject: subject.images(split),
        what=f"pictures in split {split}",
        advice="draw them in two figures",
    )
    shown = []
    for subject, images in subjects:
        if isinstance(subject, Subject):
            recipes.require_outside_data(out, subject.recipe.data, drawn=True)
        elif images.root == subject.source:  # a folder, of which every picture counts
            require_outside(out, images.root)
        shown.append(_shown(subject, images, split, layer, pool))
    panels = [replace(panel, title=label) for label, panel in labelled([(one.named, one.panel) for one in shown])]
    what = f"{len(images)} pictures of {images.name} ({split}), {layer}, {pool} pool"
    shared = circle.on_circle([one.features_ND for one in shown])
    densities = circle.sphere_records(
        shared,
        [one.run for one in shown],
        data=[one.data for one in shown],
        layer=layer,
        pool=pool,
        energies=[panel.energy for panel in panels],
    )
    classes: Sequence[str] = ("pictures with masks",)
    if isinstance(images, pictures.ImageSet):
        classes = images.classes if images.labelled else ("pictures without labels",)
    alt = f"Features on a circle: {', '.join(panel.title for panel in panels)}; {what}"
    _draw(out, lambda: circle.draw(panels, shared, classes, what), alt)
    for one, record in zip(shown, densities, strict=True):
        runs.write_record(one.folder / f"sphere-{split}.json", record)
    console.print(f"{out}: {len(panels)} panel{'s' * (len(panels) != 1)}, {what}")


@dataclass(frozen=True)
class _Shown:
    """What is drawn and recorded of one checkpoint; the panel has no title yet."""

    named: Named
    folder: Path
    run: runs.RunInfo | runs.OutsideInfo
    data: runs.DataInfo
    panel: circle.Panel
    features_ND: np.ndarray


def _shown(subject: Subject | Outside, images: AnySet, split: str, layer: str, pool: Any) -> _Shown:
    import numpy as np

    features_ND = features.extract(subject.network, images, subject.shown, layer=layer, pool=pool)
    with within(f"{subject.folder}: {layer} of {images.name}"):
        energy = engine.hyperspherical_energy(features_ND, s=0).mhe[0].value
    labels = images.labels if isinstance(images, pictures.ImageSet) else [0] * len(images)
    colour = drawing.published_style(subject.method).colour
    return _Shown(
        subject.named,
        subject.folder,
        subject.run,
        subject.data_info(images, split),
        circle.Panel(title="", labels=np.array(labels, dtype=int), energy=energy, colour=colour),
        features_ND,
    )


def _draw(out: Path, figure: Callable[[], Figure], alt: str) -> None:
    if out.suffix == ".png":
        drawn = drawing.to_png(figure)
        atomic_write(out, lambda stream: stream.write(drawn))
    else:
        write_text(out, drawing.to_svg(figure, "sphere", alt) + "\n")
