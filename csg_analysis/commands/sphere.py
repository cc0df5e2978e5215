"""``csg-analyze sphere``: features of checkpoints on one circle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from csg_analysis import drawing, features
from csg_analysis import energy as engine
from csg_analysis import sphere as circle
from csg_analysis.commands.options import checkpoints, device_option, layer_option, pool_option, set_option
from csg_analysis.commands.subject import on_same_pictures
from csg_train import data as pictures
from csg_train import runs
from csg_train.console import console
from csg_train.errors import UserError
from csg_train.files import atomic_write, write_text
from csg_train.splits import SPLITS

if TYPE_CHECKING:
    import torch

__all__ = ["sphere"]


@click.command()
@checkpoints
@click.option("--split", type=click.Choice(SPLITS), default="target", show_default=True)
@layer_option
@pool_option
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("sphere.png"), show_default=True, help="A .png or .svg file."
)
@set_option
@device_option
def sphere(
    checkpoints: tuple[Path, ...],
    split: str,
    layer: str,
    pool: Any,
    out: Path,
    overrides: tuple[str, ...],
    device: torch.device,
) -> None:
    """Features of the same pictures on a circle, one panel a checkpoint: how spread each model's are.

    The densities are also written beside each checkpoint, for the report.
    """
    import numpy as np

    if out.suffix not in (".png", ".svg"):
        raise UserError(f"--out {out}: give a name that ends in .png or .svg")
    panels: list[circle.Panel] = []
    folders: list[Path] = []
    infos: list[runs.RunInfo] = []
    subjects = on_same_pictures(
        checkpoints,
        overrides,
        device,
        lambda subject: subject.images(split),
        what=f"pictures in split {split}",
        advice="draw them in two figures",
    )
    for subject, images in subjects:
        features_ND = features.extract(subject.network, images, subject.recipe, layer=layer, pool=pool)
        energy = engine.hyperspherical_energy(features_ND, s=0).mhe[0].value
        folders.append(subject.folder)
        infos.append(runs.run_info(subject.checkpoint))
        panels.append(
            circle.Panel(
                title=subject.label,
                features=features_ND,
                labels=np.array(images.labels)
                if isinstance(images, pictures.ImageSet)
                else np.zeros(len(images), dtype=int),
                energy=energy,
                colour=drawing.published_style(subject.recipe.method["name"]).colour,
            )
        )
    if isinstance(images, pictures.ImageSet):
        classes = images.classes if images.labelled else ("pictures without labels",)
    else:
        classes = ("pictures with masks",)
    what = f"{len(images)} pictures of {images.name} ({split}), {layer}, {pool} pool"
    records = circle.sphere_records(
        [panel.features for panel in panels],
        infos,
        data=subject.data_info(images, split),
        layer=layer,
        pool=pool,
        energies=[panel.energy for panel in panels],
    )
    if out.suffix == ".png":
        drawn = drawing.to_png(lambda: circle.draw(panels, classes, what))
        atomic_write(out, lambda stream: stream.write(drawn))
    else:
        alt = f"Features on a circle: {', '.join(panel.title for panel in panels)}; {what}"
        write_text(out, drawing.to_svg(lambda: circle.draw(panels, classes, what), "sphere", alt) + "\n")
    for folder, record in zip(folders, records, strict=True):
        runs.write_record(folder / f"sphere-{split}.json", record)
    console.print(f"{out}: {len(panels)} panels, {what}", highlight=False, markup=False)
