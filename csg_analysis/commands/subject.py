"""What the commands measure: a checkpoint, opened, and the pictures of its recipe."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from csg_train.checkpoint import Checkpoint, load_checkpoint
from csg_train.data.domains import load_split
from csg_train.data.images import ImageSet
from csg_train.models.network import Network
from csg_train.recipe import Recipe
from csg_train.records import DataInfo

__all__ = ["Subject", "measured"]


@dataclass(frozen=True)
class Subject:
    """One checkpoint, opened."""

    checkpoint: Checkpoint
    recipe: Recipe
    network: Network

    @classmethod
    def open(cls, path: Path, overrides: tuple[str, ...], device: torch.device) -> "Subject":
        """Load a checkpoint, with ``key=value`` changes to its recipe."""
        checkpoint = load_checkpoint(path)
        return cls(checkpoint, checkpoint.resolved_recipe(overrides), checkpoint.build_network(device))

    def images(self, split: str) -> ImageSet:
        """The pictures of one split."""
        return load_split(self.recipe.data, split, self.checkpoint.classes)

    def data_info(self, images: ImageSet, split: str) -> DataInfo:
        """Pictures and how they are shown, for a record."""
        data = self.recipe.data
        return DataInfo.of(images, split=split, size=data.size, fit=data.fit)

    @property
    def folder(self) -> Path:
        """Where the records of this checkpoint lie."""
        return self.checkpoint.path.parent

    @property
    def label(self) -> str:
        """Method and seed, as tables say it."""
        return f"{self.recipe.method['name']} s{self.recipe.seed}"


def measured(
    checkpoints: Sequence[Path], splits: Sequence[str], overrides: tuple[str, ...], device: torch.device
) -> Iterator[tuple[Subject, str]]:
    """Every checkpoint, opened once, with every split to measure it on."""
    for path in checkpoints:
        subject = Subject.open(path, overrides, device)
        for split in splits or ("source", "target"):
            yield subject, split
