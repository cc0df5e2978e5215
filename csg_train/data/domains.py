"""From a recipe's domain to its `ImageSet`."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from csg_train.data.demo import demo_domain
from csg_train.data.images import ImageSet, image_folder
from csg_train.data.lists import manifest, visda17
from csg_train.errors import UserError

if TYPE_CHECKING:
    from csg_train.recipe import Data, Domain

__all__ = ["load_domain", "load_split"]

SPLITS = ("source", "validation", "target")


def load_domain(domain: "Domain", classes: Sequence[str] | None = None) -> ImageSet:
    """List the pictures of one domain of a recipe.

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
    parts = [demo_domain(domain.dataset, name) for name in domain.domains]
    for part in parts:
        if part.classes != tuple(classes or parts[0].classes):
            raise UserError(f"{part.root}: classes {part.classes} differ from the source's {classes}")
    return parts[0] if len(parts) == 1 else merge(parts)


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


def load_split(data: "Data", split: str, classes: Sequence[str] | None = None) -> ImageSet:
    """The pictures of ``source``, ``validation`` or ``target``."""
    domain = getattr(data, split)
    if domain is None:
        raise UserError(f"data.{split}: not in this recipe; add it, or choose another split")
    return load_domain(domain, classes)
