"""``csg-analyze features``: pooled features of checkpoints as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from csg_analysis import features as kept
from csg_analysis.commands.options import (
    device_option,
    images_option,
    model_option,
    pool_option,
    set_option,
    some_checkpoints,
    split_option,
)
from csg_analysis.commands.output import warn_unstable
from csg_analysis.commands.outside import folder_name
from csg_analysis.commands.subject import Asked, Subject
from csg_train import recipes
from csg_train.console import console
from csg_train.errors import UserError, printable
from csg_train.files import require_new, sha256_file, together

if TYPE_CHECKING:
    import torch

__all__ = ["features"]


@click.command()
@some_checkpoints
@model_option
@images_option
@click.option("--layer", "layers", multiple=True, default=("layer4",), help="May be repeated. [default: layer4]")
@pool_option
@split_option
@click.option("--half", is_flag=True, help="Keep float16: half the space, numbers rounded to 11 bits and labelled so.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder.")
@set_option
@device_option
def features(
    checkpoints: tuple[Path, ...],
    models: tuple[str, ...],
    folder: Path | None,
    layers: tuple[str, ...],
    pool: Any,
    split: str | None,
    half: bool,
    out: Path,
    overrides: tuple[str, ...],
    device: torch.device,
) -> None:
    """Pooled features of every picture of a split as memory-mappable .npy files, with index and definition."""
    import numpy as np

    require_new(out, "--out")
    layers = tuple(dict.fromkeys(layers))
    asked = Asked(checkpoints, models, folder, None, overrides, (split,) if split else (), device)
    names = _names(checkpoints) or [folder_name(model) for model in models]
    dtype: Any = "float16" if half else "float32"
    files = {}
    with together(out, new_for="--out") as work:
        for name, (subject, shown) in zip(names, asked.measured("target"), strict=True):
            if isinstance(subject, Subject):
                recipes.require_outside_data(out, subject.recipe.data)
            images = subject.images(shown)
            backbone = subject.backbone
            seen, copies = kept.Stability(), kept.Copies()
            how = {"layers": layers, "pool": pool, "stability": seen, "copies": copies}
            batches = kept.pooled_batches(backbone, images, subject.shown, **how)
            backbone.require_stages(layers, "--layer")
            widths = {layer: backbone.widths[layer] for layer in layers}
            digest = kept.write_rows(work, name, images, widths, batches, dtype=dtype)
            for layer in layers:
                path = work / f"{name}-{layer}.npy"
                copies.unify(np.load(path, mmap_mode="r+"))
                files[path.name] = kept.FeatureFile(
                    run=subject.run,
                    data=subject.data_info(images, shown),
                    layer=layer,
                    pool=pool,
                    dtype=dtype,
                    count=len(images),
                    dim=widths[layer],
                    stability=seen.of(layer),
                    index=f"{name}.csv",
                    index_sha256=digest,
                    sha256=sha256_file(path),
                )
        kept.Definitions(files=files).write(work)
    for name, file in files.items():
        console.print(f"{out / name}: {file.count} x {file.dim} {file.dtype}, {pool} pool")
        warn_unstable(name, {file.layer: file.stability}, file.count)


def _names(checkpoints: Sequence[Path]) -> list[str]:
    """The folder of each checkpoint, and its own name unless that is ``ckpt.pt``; the start of its files' names."""
    names = []
    for path in checkpoints:
        folder = printable(path.resolve().parent.name) or "run"
        names.append(folder if path.stem == "ckpt" else f"{folder}-{path.stem}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"two checkpoints would both write {twice[0]}-LAYER.npy; give them one by one, each its --out")
    return names
