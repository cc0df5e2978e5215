"""From a recipe's domain to its `ImageSet`."""

import dataclasses
import hashlib
from collections.abc import Sequence

from csg_train.data.cityscapes import cityscapes, gta5, synthia
from csg_train.data.demo import demo_domain, masked_demo_domain
from csg_train.data.images import ImageSet, image_folder
from csg_train.data.lists import manifest, visda17
from csg_train.data.masks import MaskedSet, masked_folder
from csg_train.errors import UserError
from csg_train.recipe import Data, LabelledDomain, MaskedDomain

__all__ = ["AnySet", "hold_out", "load_domain", "load_masked_domain", "load_split"]

SPLITS = ("source", "validation", "target")
AnySet = ImageSet | MaskedSet
"""Pictures with a class each, or with a mask each."""


def load_domain(domain: LabelledDomain, classes: Sequence[str] | None = None) -> ImageSet:
    """List the pictures of one domain of a recipe of classification.

    Args:
        domain: From the recipe.
        classes: The source's class names, which every other domain must share.

    Raises:
        UserError: Folders or demo data are missing or empty, or the classes differ.
    """
    if domain.dataset == "folder":
        return image_folder(domain.root, name=domain.name or domain.root.name, classes=classes)
    if domain.dataset == "manifest":
        return manifest(domain.root, domain.file, name=domain.name or domain.file.stem, classes=classes)
    if domain.dataset == "visda17":
        return visda17(domain.root, domain.split)
    parts = [demo_domain(domain.dataset, name, classes) for name in domain.domains]
    return parts[0] if len(parts) == 1 else merge(parts)


def load_masked_domain(domain: MaskedDomain, classes: Sequence[str] | None = None) -> MaskedSet:
    """List the pictures and masks of one domain of a recipe of segmentation; arguments and errors as `load_domain`."""
    if domain.dataset == "gta5":
        return gta5(domain.root, domain.split, classes=classes)
    if domain.dataset == "cityscapes":
        return cityscapes(domain.root, domain.split, classes=classes)
    if domain.dataset == "synthia":
        return synthia(domain.root, classes=classes)
    if domain.dataset == "masked-folder":
        return masked_folder(domain.root, name=domain.name, classes=classes)
    return masked_demo_domain(domain.dataset, domain.domain, classes)


def merge(parts: Sequence[ImageSet]) -> ImageSet:
    """Several domains of the same classes as one set, files relative to their common parent folder."""
    root = parts[0].root.parent
    files = tuple(part.path(i).relative_to(root).as_posix() for part in parts for i in range(len(part)))
    return dataclasses.replace(
        parts[0],
        name="+".join(part.name for part in parts),
        root=root,
        files=files,
        labels=tuple(label for part in parts for label in part.labels),
        licence="; ".join(dict.fromkeys(part.licence for part in parts)),
    )


def hold_out(images: ImageSet, fraction: float) -> tuple[ImageSet, ImageSet]:
    """Split a set in two: what is left, and the share of every class that is held out.

    The files of a class with the smallest hashes of their names are held out, so neither the order of the list nor a
    seed matters, and a picture more or less moves few others. Renders of one object may fall on both sides.

    Args:
        images: The whole set.
        fraction: Share of each class's files, of 0 to 1; at least one file goes to either side.

    Raises:
        UserError: A class has fewer than two files.
    """
    held: set[tuple[int, str]] = set()
    for label, name in enumerate(images.classes):
        own = {file for file, other in zip(images.files, images.labels, strict=True) if other == label}
        if len(own) < 2:
            raise UserError(
                f"{images.root}: class {name} has {len(own)} picture(s), and holding some out takes two; add pictures "
                "or choose another data.validation"
            )
        ordered = sorted(own, key=lambda file: hashlib.sha256(file.encode()).digest())
        held |= {(label, file) for file in ordered[: min(max(round(fraction * len(own)), 1), len(own) - 1)]}
    sides = [(label, file) in held for label, file in zip(images.labels, images.files, strict=True)]
    return _part(images, sides, False, images.name), _part(images, sides, True, f"{images.name} held out")


def _part(images: ImageSet, sides: Sequence[bool], side: bool, name: str) -> ImageSet:
    chosen = images.part([index for index, other in enumerate(sides) if other == side])
    return dataclasses.replace(chosen, name=name, expected=None)  # the official counts are those of the whole set


def load_split(data: Data, split: str, classes: Sequence[str] | None = None) -> AnySet:
    """The pictures of ``source``, ``validation`` or ``target``; what is held out of the source is not in it.

    Raises:
        UserError: The recipe has no such split, or its files are missing, unreadable or do not fit.
    """
    if getattr(data, split) is None:
        raise UserError(f"data.{split}: not in this recipe; add it, or choose another split")
    try:
        images = _load_split(data, split, classes)
    except OSError as error:  # of a folder without permission, or too long a name
        raise UserError(f"data.{split}: {error}; check its paths") from error
    return dataclasses.replace(images, shorter_side=data.shorter_side) if isinstance(images, ImageSet) else images


def _load_split(data: Data, split: str, classes: Sequence[str] | None) -> AnySet:
    domain = getattr(data, split)
    if isinstance(domain, MaskedDomain):
        return load_masked_domain(domain, classes)
    if split != "target" and data.validation is not None and data.validation.dataset == "holdout":
        whole = load_split(data.model_copy(update={"validation": None}), "source", classes)
        assert isinstance(whole, ImageSet)
        rest, held = hold_out(whole, data.validation.fraction)
        return held if split == "validation" else rest
    return load_domain(domain, classes)
