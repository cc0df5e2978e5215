"""``csg-analyze sphere``: features of checkpoints on one circle."""

from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from csg_analysis.commands.options import checkpoints, device_option, layer_option, pool_option, set_option
from csg_analysis.commands.subject import on_same_pictures
from csg_analysis.energy import hyperspherical_energy
from csg_analysis.features import extract
from csg_analysis.report.style import published_style
from csg_analysis.report.svg import to_png, to_svg
from csg_analysis.sphere_figure import Panel, draw
from csg_analysis.sphere_record import sphere_records
from csg_train.console import console
from csg_train.data.domains import SPLITS
from csg_train.data.images import ImageSet
from csg_train.errors import UserError
from csg_train.files import atomic_write, write_text
from csg_train.records import RunInfo, write_record

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
    if out.suffix not in (".png", ".svg"):
        raise UserError(f"--out {out}: give a name that ends in .png or .svg")
    panels: list[Panel] = []
    folders: list[Path] = []
    runs: list[RunInfo] = []
    subjects = on_same_pictures(
        checkpoints,
        overrides,
        device,
        lambda subject: subject.images(split),
        what=f"pictures in split {split}",
        advice="draw them in two figures",
    )
    for subject, images in subjects:
        features_ND = extract(subject.network, images, subject.recipe, layer=layer, pool=pool)
        energy = hyperspherical_energy(features_ND, s=0).mhe[0].value
        folders.append(subject.folder)
        runs.append(RunInfo.of(subject.checkpoint))
        panels.append(
            Panel(
                title=subject.label,
                features=features_ND,
                labels=np.array(images.labels) if isinstance(images, ImageSet) else np.zeros(len(images), dtype=int),
                energy=energy,
                colour=published_style(subject.recipe.method["name"]).colour,
            )
        )
    classes = images.classes if isinstance(images, ImageSet) else ("pictures with masks",)
    what = f"{len(images)} pictures of {images.name} ({split}), {layer}, {pool} pool"
    records = sphere_records(
        [panel.features for panel in panels],
        runs,
        data=subject.data_info(images, split),
        layer=layer,
        pool=pool,
        energies=[panel.energy for panel in panels],
    )
    if out.suffix == ".png":
        drawn = to_png(lambda: draw(panels, classes, what))
        atomic_write(out, lambda stream: stream.write(drawn))
    else:
        alt = f"Features on a circle: {', '.join(panel.title for panel in panels)}; {what}"
        write_text(out, to_svg(lambda: draw(panels, classes, what), "sphere", alt) + "\n")
    for folder, record in zip(folders, records, strict=True):
        write_record(folder / f"sphere-{split}.json", record)
    console.print(f"{out}: {len(panels)} panels, {what}", highlight=False, markup=False)
