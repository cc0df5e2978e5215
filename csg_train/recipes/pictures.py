"""From a recipe's domain to its `AnySet`."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from csg_train.data.readers.class_map import ClassMap, mapped, read_class_map
from csg_train.data.readers.driving import cityscapes, gta5, synthia
from csg_train.data.readers.images import ImageSet, image_folder
from csg_train.data.readers.lists import manifest, visda17
from csg_train.data.readers.mask_folders import masked_folder, masked_manifest
from csg_train.data.readers.masks import MaskedSet
from csg_train.data.readers.sets import AnySet, hold_out, merge, unlabelled
from csg_train.demos.table import demo_domain, masked_demo_domain
from csg_train.errors import UserError
from csg_train.files import lies_in
from csg_train.recipes.domains import (
    CityscapesDomain,
    FolderDomain,
    GTA5Domain,
    HoldoutDomain,
    LabelledDomain,
    MaskedDemoDomain,
    MaskedDomain,
    MaskedFolderDomain,
    OwnMaskedDomain,
    PicturesDomain,
    SynthiaDomain,
)
from csg_train.recipes.sections import Data
from csg_train.splits import SPLITS

__all__ = ["load_background", "load_domain", "load_masked_domain", "load_split", "require_outside_data"]


def load_domain(domain: LabelledDomain, classes: Sequence[str] | None = None) -> ImageSet:
    """List the pictures of one domain of a recipe of classification.

    Args:
        domain: From the recipe.
        classes: The source's class names, which every other domain must share.

    Raises:
        UserError: Folders or demo data are missing or empty, or the classes differ.
    """
    if domain.dataset == "folder":
        return image_folder(
            domain.root,
            name=domain.name or domain.root.resolve().name,
            classes=classes,
            class_map=domain.classes,
            obtain=domain.obtain,
        )
    if domain.dataset == "manifest":
        return manifest(domain.root, domain.file, name=domain.name or domain.file.stem, classes=classes)
    if domain.dataset == "visda17":
        return visda17(domain.root, domain.split)
    parts = [demo_domain(domain.dataset, name, classes) for name in domain.domains]
    return parts[0] if len(parts) == 1 else merge(parts)


def load_masked_domain(domain: MaskedDomain, classes: Sequence[str] | None = None) -> MaskedSet:
    """List the pictures and masks of one domain of a recipe of segmentation; arguments and errors as `load_domain`."""
    if isinstance(domain, MaskedDemoDomain):
        return masked_demo_domain(domain.dataset, domain.domain, classes)
    mapping = _class_map(domain)
    images = _masked(domain, classes if mapping is None else None, mapping)
    return images if mapping is None else mapped(images, mapping, classes)


def _class_map(domain: OwnMaskedDomain) -> ClassMap | None:
    """The mapping of a domain, in the recipe or among the user's own files; None where the layout has its table."""
    if domain.mapping is not None or not domain.dataset.startswith("masked-"):
        return None if domain.mapping is None else read_class_map(domain.mapping)
    path, other = (domain.root / name for name in ("classes.yaml", "classes.txt"))
    if not path.exists():
        return None
    if other.exists():
        raise UserError(f"{path}: beside {other.name}, and only one of them can say what the ids are; remove one")
    return read_class_map(path)


def _masked(domain: OwnMaskedDomain, classes: Sequence[str] | None, mapping: ClassMap | None) -> MaskedSet:
    if domain.dataset == "gta5":
        return gta5(domain.root, domain.split, classes=classes)
    if domain.dataset == "cityscapes":
        return cityscapes(domain.root, domain.split, classes=classes, train_ids=mapping is None)
    if domain.dataset == "synthia":
        return synthia(domain.root, classes=classes)
    listed = None if mapping is None else mapping.classes
    if domain.dataset == "masked-manifest":
        name = domain.name or domain.file.stem
        return masked_manifest(domain.root, domain.file, name=name, classes=classes, listed=listed)
    return masked_folder(
        domain.root,
        name=domain.name,
        classes=classes,
        images=domain.images,
        masks=domain.masks,
        ending=domain.ending,
        listed=listed,
    )


def load_split(data: Data, split: str, classes: Sequence[str] | None = None) -> AnySet:
    """The pictures of ``source``, ``validation`` or ``target``; what is held out of the source is not in it.

    Raises:
        UserError: The recipe has no such split, or its files are missing, unreadable or do not fit.
    """
    if split not in SPLITS or getattr(data, split) is None:
        raise UserError(f"data.{split}: not in this recipe; add it, or choose another split")
    holdout = data.validation if split != "target" and isinstance(data.validation, HoldoutDomain) else None
    listed = split if holdout is None else "source"
    domain = getattr(data, listed)
    try:
        images = _load(domain, classes)
    except OSError as error:  # of a folder without permission, or too long a name
        raise UserError(f"data.{listed}: {error}; check its paths") from error
    except UserError as error:
        root = getattr(domain, "root", None)
        if root is None or os.path.lexists(root):  # Path.exists raises where a name is too long
            raise
        raise UserError(f"{error.message} (--set data.{listed}.root=FOLDER, where it lies elsewhere)") from error
    if holdout is not None:
        rest, held = hold_out(images, holdout.fraction, holdout.group)
        images = held if split == "validation" else rest
    if not isinstance(images, ImageSet):
        return images
    return dataclasses.replace(images, shorter_side=data.shorter_side)


def load_background(data: Data) -> Literal["plain", "varied"] | ImageSet:
    """What lies under transparent pictures in training: a word, or the photographs of a folder.

    Raises:
        UserError: No such folder, one that cannot be read, or one without pictures.
    """
    if not isinstance(data.background, Path):
        return data.background
    try:
        images = unlabelled(data.background, (), name="background")
    except UserError as error:
        raise UserError(f"data.background (plain, varied or a folder of photographs): {error.message}") from error
    return dataclasses.replace(images, shorter_side=data.shorter_side)


def require_outside_data(out: Path, data: Data, *, drawn: bool = False) -> None:
    """Refuse a folder to write whose pictures, or which itself as a class, a split would take from then on.

    Args:
        out: The folder.
        data: Of the recipe.
        drawn: Whether pictures are written there; else it must only be no class.

    Raises:
        UserError: It lies in a class's folder, or where every folder is a class; with ``drawn``, where a split reads.
    """
    for name in (*SPLITS, "background"):
        domain = getattr(data, name)
        if drawn or isinstance(domain, FolderDomain):
            for folder in _read_folders(domain):
                if lies_in(out, folder):
                    raise UserError(f"{out}: in {folder}, from which data.{name} reads; choose another")


def _read_folders(
    domain: LabelledDomain | MaskedDomain | PicturesDomain | HoldoutDomain | Path | str | None,
) -> list[Path]:
    """The folders in which every picture counts; lists and demos name theirs."""
    if isinstance(domain, Path):
        return [domain]
    if isinstance(domain, FolderDomain):
        return [domain.root / name for names in (domain.classes or {"": (".",)}).values() for name in names]
    if isinstance(domain, PicturesDomain):
        return [domain.root]
    if isinstance(domain, MaskedFolderDomain):
        return [domain.root / domain.images, domain.root / domain.masks]
    if isinstance(domain, GTA5Domain):
        return [domain.root / "images", domain.root / "labels"]
    if isinstance(domain, CityscapesDomain):
        return [domain.root / "leftImg8bit", domain.root / "gtFine"]
    return [domain.root / "RGB", domain.root / "GT"] if isinstance(domain, SynthiaDomain) else []


def _load(domain: LabelledDomain | MaskedDomain | PicturesDomain, classes: Sequence[str] | None) -> AnySet:
    if isinstance(domain, PicturesDomain):
        return unlabelled(domain.root, classes or (), name=domain.name)
    if isinstance(domain, MaskedDomain):
        return load_masked_domain(domain, classes)
    return load_domain(domain, classes)
