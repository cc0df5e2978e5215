"""Models that others trained, in the place of a checkpoint: by name, with pictures of a folder and no recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from csg_analysis.commands.labels import Named
from csg_train import data as pictures
from csg_train import models, recipes, runs
from csg_train.errors import UserError
from csg_train.runs.versions import installed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = ["IMAGES", "Outside", "require_distinct"]

IMAGES = "images"
"""In the place of a split: pictures that no recipe names."""
_BATCH = 32


@dataclass(frozen=True)
class Outside:
    """One model from outside, opened; it has the members of `Subject` that do not speak of a training.

    Attributes:
        network: Its backbone, with its own classifier, in evaluation mode.
        run: What a record says of it.
        shown: How it is shown pictures: of its own size, cropped.
        source: Where the pictures are.
        folder: Where its records go.
        label: As tables say it.
    """

    network: models.Backbone
    run: runs.OutsideInfo
    shown: recipes.Showing
    source: Path
    folder: Path
    label: str
    method: str = "outside"

    @classmethod
    def open(cls, model: str, images: Path, records: Path, device: torch.device) -> Outside:
        """Build ``NAME`` or ``NAME:FILE``.

        Raises:
            UserError: No such model, its published weights cannot be fetched, or the file does not fit.
        """
        name, separator, file = model.partition(":")
        if separator and not file:
            raise UserError(f"--model {model}: names no file after the colon; leave out both for published weights")
        if Path(name).is_file():
            raise UserError(f"--model {name}: a file; give a checkpoint without --model, and weights as NAME:FILE")
        network, digest = models.build_backbone(name, Path(file) if file else "imagenet")
        return cls(
            network=network.to(device).eval(),
            run=runs.OutsideInfo(model=name, sha256=digest, versions=installed()),
            shown=recipes.Showing(models.own_size(name), "crop", _BATCH),
            source=images,
            folder=records / folder_name(model),
            label=f"{name}:{Path(file).name}" if file else name,
        )

    @property
    def origin(self) -> str:
        """As errors name it."""
        return f"--model {self.label}"

    @property
    def named(self) -> Named:
        """For `labelled`."""
        return Named(self.run, self.label, self.folder)

    @property
    def backbone(self) -> models.Backbone:
        """The network."""
        return self.network

    def images(self, split: str) -> pictures.ImageSet:  # noqa: ARG002
        """The pictures, without labels and classes, so that they are the same for every model."""
        return pictures.unlabelled(self.source, ())

    def data_info(self, images: pictures.AnySet, split: str) -> runs.DataInfo:
        """Pictures and how they are shown, for a record."""
        return runs.data_info(images, split=split, recipe=self.shown)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of its own classifier: numbers, and of 1000 ImageNet's names behind them.

        Raises:
            UserError: It has no classifier.
        """
        if not self.network.classes:
            raise UserError(
                f"{self.origin}: it has no classifier that the network can take, and GradCAM explains a class"
            )
        numbers = tuple(map(str, range(self.network.classes)))
        if len(numbers) != 1000:
            return numbers
        from torchvision.models import ResNet18_Weights

        names = ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
        return tuple(f"{number} {name}" for number, name in zip(numbers, names, strict=True))


def folder_name(model: str) -> str:
    """``timm/resnet18:runs/mine.pth`` as ``timm-resnet18-mine``."""
    name, _, file = model.partition(":")
    return "-".join([*name.split("/"), *([Path(file).stem] if file else [])])


def require_distinct(asked: Sequence[str]) -> None:
    """Refuse models whose records would go into one folder."""
    names = [folder_name(model) for model in asked]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"--model: two would both write {twice[0]}; give them one by one, each its --records")
