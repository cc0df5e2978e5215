"""The command ``csg-train data render``: a user's own 3-D models as a data set of pictures."""

from pathlib import Path
from typing import Literal

import click

__all__ = ["render"]


def _range(low: float, high: float) -> click.Tuple:
    return click.Tuple([click.FloatRange(low, high)] * 2)


@click.command()
@click.argument("models", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder for CLASS/MODEL-00.png.")
@click.option("--views", type=click.IntRange(min=1), required=True, help="Pictures per model.")
@click.option("--size", type=click.IntRange(16, 2048), default=160, show_default=True, help="Picture side in pixels.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of poses and light.")
@click.option(
    "--elevation", type=_range(-90, 90), default=(-10.0, 60.0), show_default=True, help="Camera's range, in degrees."
)
@click.option(
    "--roll", type=_range(-180, 180), default=(-15.0, 15.0), show_default=True, help="Camera's range, in degrees."
)
@click.option("--light", type=_range(0, 10), default=(0.5, 1.0), show_default=True, help="Key light's intensity range.")
@click.option("--up", type=click.Choice(["y", "z"]), default="y", show_default=True, help="The models' upward axis.")
@click.option("--skip-broken", is_flag=True, help="Leave out models that cannot be drawn, and count them.")
def render(
    models: Path,
    out: Path,
    views: int,
    size: int,
    seed: int,
    elevation: tuple[float, float],
    roll: tuple[float, float],
    light: tuple[float, float],
    up: Literal["y", "z"],
    skip_broken: bool,
) -> None:
    """Draw the 3-D models MODELS/CLASS/*.obj (gltf, glb, ply, stl) as pictures with transparent background.

    The alpha channel is the mask; manifest.csv holds class, model, pose and light of each picture.
    """
    from csg_train.console import console
    from csg_train.demos.render_tree import render_tree
    from csg_train.demos.views import Poses

    counts, broken = render_tree(
        models,
        out,
        views=views,
        size=size,
        seed=seed,
        poses=Poses(elevation=elevation, roll=roll, light=light),
        up=up,
        skip_broken=skip_broken,
        report=console.print,
    )
    for line in broken:
        click.echo(f"left out: {line}", err=True)
    shown = ", ".join(f"{label} {number}" for label, number in sorted(counts.items()))
    total = f"{sum(counts.values())} pictures ({shown}), {len(broken)} models left out: {out}"
    console.print(total)
