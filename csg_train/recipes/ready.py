"""What a recipe needs before its first step; ``csg-train data check`` and every run ask the same."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

from csg_train.data.loaders.batch import Batch
from csg_train.data.readers.images import ImageSet, decode, file_size, file_status
from csg_train.data.readers.masks import IGNORE, MaskedSet, mismatches, picture_and_mask
from csg_train.data.readers.sets import AnySet
from csg_train.data.views.segmentation_views import evaluated_size
from csg_train.distributed import process_count
from csg_train.errors import UserError
from csg_train.methods.base import Method, Setup
from csg_train.methods.frozen import freeze
from csg_train.models.network import Output, TaskNetwork
from csg_train.models.outline import outline
from csg_train.recipes.domains import FolderDomain
from csg_train.recipes.network import build_network, start_network
from csg_train.recipes.pictures import load_background, load_split
from csg_train.recipes.sections import Recipe
from csg_train.splits import SPLITS

__all__ = ["load_splits", "require_ready", "require_trainable", "require_weights", "shared_files"]

_FEW_PIXELS, _FEW_FILES = 1 << 26, 1 << 12
"""So many of each split, its first files in order, are decoded before the first step: a second's work."""
_trainable: set[tuple[str, int, int]] = set()
"""Settings, classes and processes that were found to train: of a sweep many runs differ in the seed alone."""


def load_splits(recipe: Recipe, splits: Sequence[str] = SPLITS) -> dict[str, AnySet]:
    """The pictures of each of these splits that the recipe has, all of the source's classes.

    Raises:
        UserError: As `load_split`.
    """
    source = load_split(recipe.data, "source")
    chosen = [split for split in splits if getattr(recipe.data, split) is not None]
    return {split: source if split == "source" else load_split(recipe.data, split, source.classes) for split in chosen}


def require_ready(recipe: Recipe, sets: Mapping[str, AnySet]) -> None:
    """Refuse what would end a run later; of a large set not every file is decoded.

    Args:
        recipe: What is to be trained.
        sets: The splits that training or measuring will read, by `load_splits`.

    Raises:
        UserError: A split has pictures of the source, a step would be chosen on those of the target, a file is empty,
            a file does not decode, a mask has another size than its picture or an id without a class, or the settings
            give a network that cannot train.
    """
    _require_apart(recipe, sets)
    for split, images in sets.items():
        for file in images.stored_files:
            if not file_size(path := images.root / file):
                raise UserError(f"{path}: empty, 0 bytes; replace it or remove it")
        if isinstance(images, MaskedSet) and (pairs := mismatches(images)):
            raise UserError(f"{images.root}: {pairs[0].line()} ({len(pairs)} such pairs)")
        _require_readable(images, trained=split == "source")
    if isinstance(background := load_background(recipe.data), ImageSet):
        _require_readable(background, trained=True)
    require_trainable(recipe, classes=len(next(iter(sets.values())).classes))
    if (styles := recipe.build_method().styles()) is not None:
        for path in styles.files[:_FEW_FILES]:
            decode(path)


def _require_apart(recipe: Recipe, sets: Mapping[str, AnySet]) -> None:
    """Refuse to measure what is trained on, and to choose a step on the target under the name of another rule."""
    trained = {name: sets[name] for name in ("source",) if name in sets}
    if isinstance(background := load_background(recipe.data), ImageSet):
        trained["background"] = background
    for split in ("validation", "target"):
        for name, images in trained.items():
            if split in sets and (count := shared_files(sets[split], images)):
                raise UserError(
                    f"data.{split}: {count} of its pictures are data.{name}'s, which are trained on; take them out of "
                    "one of the two, and list a file once"
                )
    if (
        recipe.chosen_on == "validation"
        and {"validation", "target"} <= sets.keys()
        and (count := shared_files(sets["validation"], sets["target"]))
    ):
        raise UserError(
            f"data.validation: {count} of its pictures are data.target's, on which a step would be chosen; hold out "
            "synthetic pictures, or say so: evaluate.select oracle"
        )


def shared_files(one: AnySet, other: AnySet) -> int:
    """How many files two sets share, whatever links lead to them."""
    found = ((file_status(images.path(index)) for index in range(len(images))) for images in (one, other))
    return len(set.intersection(*({(file.st_dev, file.st_ino) for file in own} for own in found)))


def _require_readable(images: AnySet, *, trained: bool) -> None:
    """Refuse files that do not decode, ids without a class, and masks that label nothing, among a set's first files.

    Masks to train on that show one class of several are refused too, where they are few enough to be looked at whole.

    Raises:
        UserError: For the first of them.
    """
    pixels = number = 0
    ids: set[int] = set()
    while number < min(len(images), _FEW_FILES) and pixels < _FEW_PIXELS:
        if isinstance(images, MaskedSet):
            picture, mask_HW = picture_and_mask(images, number)
            ids |= set(np.unique(mask_HW).tolist()) - {IGNORE}
            pixels += mask_HW.size
        else:
            picture = images.picture(number)
        pixels += picture.width * picture.height
        number += 1
    if not isinstance(images, MaskedSet):
        return
    if trained and len(ids) == 1 < len(images.classes) and number == len(images):
        advice = f"{IGNORE} is ignored: where it is a class, say so in a mapping (classes.yaml, docs/data.md)"
        raise UserError(
            f"{images.root}: every pixel of its masks is {images.classes[ids.pop()]} or ignored, which trains nothing; "
            + (f"check what {images.class_map} ignores" if images.class_map else advice)
        )
    if not ids:
        raise UserError(
            f"{images.root}: every pixel of its masks is ignored, in {number} of {len(images)}; check their ids, and "
            "what the mapping ignores"
        )


def require_trainable(recipe: Recipe, *, classes: int) -> None:
    """Refuse what torch would refuse in the first step: one or two pictures pass without any numbers. And one class.

    Raises:
        UserError: It names the field.
    """
    if classes < 2:
        root = " (root is the folder of the folders of classes)" if isinstance(recipe.data.source, FolderDomain) else ""
        raise UserError(f"data.source: one class alone, of which nothing is learned; give two or more{root}")
    settings = recipe.model_dump_json(exclude={"name": True, "seed": True, "data": set(SPLITS)})
    if (asked := (settings, classes, process_count())) in _trainable:
        return
    method = recipe.build_method()
    if method.styles() is not None and recipe.segmentation is None:
        raise UserError(f"method {method.info.name}: restyles crops of a segmentation; add that section")
    network = outline(lambda: build_network(recipe, classes=classes))
    with torch.device("meta"):
        method.rewrite(network.backbone)
        freeze(network.backbone, recipe.train.frozen)
        prepared = _prepare(method, network, recipe)
        network.set_training(batch_norm=recipe.model.batch_norm)
        pictures = min(2, max(1, recipe.train.batch_size // process_count()))  # more change nothing
        output = _pass(network, recipe, pictures, recipe.data.size, "data.size")
        if prepared and process_count() == 1:  # several would exchange their terms, which are no numbers here
            _lose(method, network, output, pictures, recipe)
        if recipe.segmentation is not None and recipe.segmentation.longest_side is not None:
            network.eval()
            square = (recipe.segmentation.longest_side,) * 2
            side, _ = evaluated_size(square, None, network.backbone.spec.grid)
            _pass(network, recipe, 1, side, "segmentation.longest_side")
    _trainable.add(asked)


def require_weights(recipe: Recipe, *, classes: int) -> None:
    """Refuse a file of starting weights that a run would refuse as it starts; those of packages are not fetched.

    Raises:
        UserError: The file is missing or of another network.
    """
    if isinstance(recipe.model.weights, Path):
        start_network(recipe, recipe.build_method(), classes=classes)


class _EnoughError(Exception):
    """A method's own checks are over: it asks for pictures."""


def _prepare(method: Method, network: TaskNetwork, recipe: Recipe) -> bool:
    """Whether the method could be prepared to the end without any number."""

    def no_pictures(_: int | None) -> NoReturn:
        raise _EnoughError

    weights = "none" if recipe.model.weights == "none" else "given"
    setup = Setup(seed=recipe.seed, source=no_pictures, steps=recipe.train.steps, weights=weights)
    with contextlib.suppress(_EnoughError, NotImplementedError):  # what needs numbers is none of the settings
        method.prepare(network, setup)
        return True
    return False


def _lose(method: Method, network: TaskNetwork, output: Output, pictures: int, recipe: Recipe) -> None:
    """The method's terms of the loss, which refuse what does not fit the maps (patches that do not divide them)."""
    side = recipe.data.size
    view = torch.empty(pictures, 3, side, side, dtype=torch.uint8)
    shape = (pictures,) if recipe.segmentation is None else (pictures, side, side)
    batch = Batch((view,) * len(method.views[:2]), torch.zeros(shape, dtype=torch.int64))
    with contextlib.suppress(NotImplementedError):  # of an operation that is no number's
        method.loss(network, batch, output)


def _pass(network: TaskNetwork, recipe: Recipe, pictures: int, side: int, field: str) -> Output:
    try:
        output: Output = network(torch.empty(pictures, 3, side, side, dtype=torch.uint8))
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
    except RuntimeError as error:  # of a kernel that is larger than its map, or of more memory than numbers count
        raise UserError(
            f"{field}: {side} pixels do not go through {recipe.model.backbone} ({error}); use another size"
        ) from error
    return output
