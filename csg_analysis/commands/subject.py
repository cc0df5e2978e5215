"""What the commands measure: a checkpoint, opened, and the pictures of its recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from csg_train import data as pictures
from csg_train import models, recipes, runs
from csg_train.errors import UserError

if TYPE_CHECKING:
    import torch

__all__ = ["Subject", "measured", "on_same_pictures"]

_Set = TypeVar("_Set", bound="pictures.AnySet")


@dataclass(frozen=True)
class Subject:
    """One checkpoint, opened."""

    checkpoint: runs.Checkpoint
    recipe: recipes.Recipe
    network: models.TaskNetwork

    @classmethod
    def open(cls, path: Path, overrides: tuple[str, ...], device: torch.device) -> Subject:
        """Load a checkpoint, with ``key=value`` changes to its recipe."""
        checkpoint = runs.load_checkpoint(path)
        return cls(checkpoint, checkpoint.resolved_recipe(overrides), checkpoint.build_network(device))

    def images(self, split: str) -> pictures.AnySet:
        """The pictures of one split."""
        return recipes.load_split(self.recipe.data, split, self.checkpoint.classes)

    def masked(self, split: str) -> pictures.MaskedSet:
        """The pictures of one split, each with a mask.

        Raises:
            UserError: They have one class each instead.
        """
        images = self.images(split)
        if not isinstance(images, pictures.MaskedSet):
            raise UserError(f"{self.checkpoint.path}: a classification; this command shows masks, see gradcam")
        return images

    def data_info(self, images: pictures.AnySet, split: str) -> runs.DataInfo:
        """Pictures and how they are shown, for a record."""
        return runs.data_info(images, split=split, recipe=self.recipe)

    @property
    def folder(self) -> Path:
        """Where the records of this checkpoint lie."""
        return self.checkpoint.path.parent

    @property
    def label(self) -> str:
        """Method and seed, as tables say it; and the step, where nobody chose it and it is not the last."""
        done = self.checkpoint.step
        before_the_end = self.checkpoint.selection == "last" and done < self.recipe.train.steps
        step = f" step {done}" if before_the_end else ""
        rule = self.checkpoint.averaged.get("rule")
        return f"{self.recipe.method['name']} s{self.recipe.seed}" + (f" {rule}" if rule else step)


def measured(
    checkpoints: Sequence[Path], splits: Sequence[str], overrides: tuple[str, ...], device: torch.device
) -> Iterator[tuple[Subject, str]]:
    """Every checkpoint, opened once, with every split to measure it on."""
    for path in checkpoints:
        subject = Subject.open(path, overrides, device)
        for split in splits or ("source", "target"):
            yield subject, split


def on_same_pictures(
    checkpoints: Sequence[Path],
    overrides: tuple[str, ...],
    device: torch.device,
    images_of: Callable[[Subject], _Set],
    *,
    what: str,
    advice: str,
) -> Iterator[tuple[Subject, _Set]]:
    """Every checkpoint, opened in turn, with its pictures, which have to be the same for all.

    Raises:
        UserError: They are not; ``what`` differs, and ``advice`` says what to do instead.
    """
    shown = ""
    for path in checkpoints:
        subject = Subject.open(path, overrides, device)
        images = images_of(subject)
        if shown and images.identity != shown:
            raise UserError(f"{path}: other {what} than {checkpoints[0]}; {advice}")
        shown = images.identity
        yield subject, images
