"""What a recipe needs before its first step; ``csg-train data check`` and every run ask the same."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch

from csg_train.data.readers.images import file_size
from csg_train.data.readers.masks import MaskedSet, mismatches
from csg_train.data.readers.sets import AnySet
from csg_train.distributed import process_count
from csg_train.errors import UserError
from csg_train.methods.base import Method, Setup
from csg_train.methods.frozen import freeze
from csg_train.models.network import TaskNetwork
from csg_train.recipes.network import build_network, start_network
from csg_train.recipes.pictures import load_split
from csg_train.recipes.sections import Recipe
from csg_train.splits import SPLITS

__all__ = ["load_splits", "require_fitting", "require_ready", "require_trainable", "require_weights"]

_FEW_PIXELS = 1 << 26
"""Masks of no more are decoded before the first step: a second's work."""


def load_splits(recipe: Recipe, splits: Sequence[str] = SPLITS) -> dict[str, AnySet]:
    """The pictures of each of these splits that the recipe has, all of the source's classes.

    Raises:
        UserError: As `load_split`.
    """
    classes = load_split(recipe.data, "source").classes
    chosen = [split for split in splits if getattr(recipe.data, split) is not None]
    return {split: load_split(recipe.data, split, classes) for split in chosen}


def require_ready(recipe: Recipe, splits: Sequence[str] = SPLITS) -> None:
    """Refuse what would end a run later, without decoding many pictures.

    Args:
        recipe: What is to be trained.
        splits: Those that training or measuring will read.

    Raises:
        UserError: A split lacks files or other classes than the source, a mask has another size than its picture or an
            id without a class, or the settings give a network that cannot train.
    """
    sets = load_splits(recipe, splits)
    for images in sets.values():
        for file in images.stored_files:
            if not file_size(path := images.root / file):
                raise UserError(f"{path}: empty, 0 bytes; replace it or remove it")
        if isinstance(images, MaskedSet):
            require_fitting(images)
    require_trainable(recipe, classes=len(next(iter(sets.values())).classes))


def require_fitting(images: MaskedSet) -> None:
    """Refuse masks of another size than their pictures and, of a small set, ids without a class.

    Raises:
        UserError: For the first of them.
    """
    if pairs := mismatches(images):
        raise UserError(f"{images.root}: {pairs[0].line()} ({len(pairs)} such pairs)")
    first_HW = images.mask(0)
    if len(images) * first_HW.size <= _FEW_PIXELS:
        for index in range(1, len(images)):
            images.mask(index)


def require_trainable(recipe: Recipe, *, classes: int) -> None:
    """Refuse settings that torch would refuse in the first step: a step of one or two pictures without any numbers.

    Raises:
        UserError: It names the field.
    """
    method = recipe.build_method()
    if method.styles() is not None and recipe.segmentation is None:
        raise UserError(f"method {method.info.name}: restyles crops of a segmentation; add that section")
    with torch.device("meta"):
        network = build_network(recipe, classes=classes)
        method.rewrite(network.backbone)
        freeze(network.backbone, recipe.train.frozen)
        _prepare(method, network, recipe)
        network.set_training(batch_norm=recipe.model.batch_norm)
        pictures = min(2, max(1, recipe.train.batch_size // process_count()))  # more change nothing
        _pass(network, recipe, pictures, recipe.data.size, "data.size")
        if recipe.segmentation is not None and recipe.segmentation.longest_side is not None:
            network.eval()
            _pass(network, recipe, 1, recipe.segmentation.longest_side, "segmentation.longest_side")


def require_weights(recipe: Recipe, *, classes: int) -> None:
    """Refuse a file of starting weights that a run would refuse as it starts; those of packages are not fetched.

    Raises:
        UserError: The file is missing or of another network.
    """
    if isinstance(recipe.model.weights, Path):
        start_network(recipe, recipe.build_method(), classes=classes)


class _EnoughError(Exception):
    """A method's own checks are over: it asks for pictures."""


def _prepare(method: Method, network: TaskNetwork, recipe: Recipe) -> None:
    def no_pictures() -> NoReturn:
        raise _EnoughError

    weights = "none" if recipe.model.weights == "none" else "given"
    setup = Setup(seed=recipe.seed, source=no_pictures, steps=recipe.train.steps, weights=weights)
    with contextlib.suppress(_EnoughError, NotImplementedError):  # what needs numbers is none of the settings
        method.prepare(network, setup)


def _pass(network: TaskNetwork, recipe: Recipe, pictures: int, side: int, field: str) -> None:
    try:
        network(torch.empty(pictures, 3, side, side, dtype=torch.uint8))
    except UserError:
        raise
    except ValueError as error:  # of torch's BatchNorm and InstanceNorm
        if "spatial" in str(error):
            raise UserError(
                f"{field}: {side} pixels leave maps of one position, which the InstanceNorm of method "
                f"{recipe.method['name']} cannot normalise; use more, for instance {2 * side}"
            ) from error
        raise UserError(
            f"train.batch_size: one picture of {field} {side} leaves one value a channel, which model.batch_norm: "
            "train cannot normalise; use 2 pictures or more, a larger size, or batch_norm: frozen"
        ) from error
