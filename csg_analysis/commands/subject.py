"""What the commands measure: a checkpoint, opened, and the pictures of its recipe; or a model from outside."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from csg_analysis.commands.labels import Named
from csg_analysis.commands.outside import IMAGES, Outside, require_distinct
from csg_train import data as pictures
from csg_train import models, recipes, runs
from csg_train.errors import UserError

if TYPE_CHECKING:
    import torch

__all__ = ["Asked", "Subject", "measured", "on_same_pictures", "require_record_folders"]

_Set = TypeVar("_Set", bound="pictures.AnySet")
_Measured = TypeVar("_Measured", bound="Subject | Outside")


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

    @property
    def origin(self) -> str:
        """As errors name it."""
        return str(self.checkpoint.path)

    @property
    def backbone(self) -> models.Backbone:
        """Of its network."""
        return self.network.backbone

    @property
    def shown(self) -> recipes.Recipe:
        """How pictures are shown."""
        return self.recipe

    @property
    def run(self) -> runs.RunInfo:
        """Where it comes from, for a record."""
        return runs.run_info(self.checkpoint)

    @property
    def method(self) -> str:
        """That it was trained with."""
        return str(self.recipe.method["name"])

    def images(self, split: str) -> pictures.AnySet:
        """The pictures of one split."""
        return runs.load_measured(self.checkpoint, self.recipe, split)

    def masked(self, split: str) -> pictures.MaskedSet:
        """The pictures of one split, each with a mask.

        Raises:
            UserError: They have one class each instead, or none.
        """
        images = self.images(split)
        if isinstance(images, pictures.MaskedSet):
            return images
        if self.recipe.segmentation is None:
            raise UserError(f"{self.checkpoint.path}: a classification checkpoint; this shows masks, see gradcam")
        raise UserError(f"{images.root}: pictures without masks; show --images source, or use csg-train predict")

    def data_info(self, images: pictures.AnySet, split: str) -> runs.DataInfo:
        """Pictures and how they are shown, for a record."""
        return runs.data_info(images, split=split, recipe=self.recipe)

    @property
    def folder(self) -> Path:
        """Where the records of this checkpoint lie."""
        return self.checkpoint.path.parent

    @property
    def named(self) -> Named:
        """For `labelled`; with the step, where nobody chose it, it is not the last, and nothing was averaged."""
        own = self.checkpoint
        before_the_end = own.selection == "last" and own.step < own.recipe["train"]["steps"] and not own.averaged
        return Named(self.run, f"s{self.run.seed}" + (f" step {own.step}" if before_the_end else ""), own.path)


@dataclass(frozen=True)
class Asked:
    """Which checkpoints a command was asked to measure, or which models from outside.

    Raises:
        UserError: Both or neither, or an option that only one of them takes.
    """

    checkpoints: tuple[Path, ...]
    models: tuple[str, ...]
    folder: Path | None
    records: Path | None
    overrides: tuple[str, ...]
    splits: tuple[str, ...]
    device: torch.device

    def __post_init__(self) -> None:
        if bool(self.checkpoints) == bool(self.models):
            raise UserError("give checkpoints, or --model NAME with --images FOLDER, and not both")
        if not self.models and self.folder is not None:
            raise UserError("--images: only with --model; for a checkpoint use --set data.target.root=FOLDER")
        if not self.models:
            if self.records is not None:
                raise UserError("--records: only with --model; the records of a checkpoint go beside it")
            return
        if self.folder is None:
            raise UserError("--model: give the pictures to measure it on, --images FOLDER")
        for option, given in {"--split": self.splits, "--set": self.overrides}.items():
            if given:
                raise UserError(f"{option}: is about a recipe, and --model has none; leave it out")
        require_distinct(self.models)
        if self.records is not None and self.records.exists() and not self.records.is_dir():
            raise UserError(f"--records {self.records}: a file; give a folder")
        pictures.unlabelled(self.folder, ())  # before a model's weights are fetched

    def subjects(self) -> Iterator[Subject | Outside]:
        """Each, opened in turn."""
        for path in self.checkpoints:
            yield Subject.open(path, self.overrides, self.device)
        for model in self.models:
            assert self.folder is not None
            yield Outside.open(model, self.folder, self.records or Path("outside"), self.device)

    def measured(self, *default: str) -> Iterator[tuple[Subject | Outside, str]]:
        """Each, opened once, with every split to measure it on; ``default`` without ``--split``."""
        for subject in self.subjects():
            for split in (IMAGES,) if self.models else self.splits or default:
                yield subject, split


def require_record_folders(checkpoints: Sequence[Path]) -> None:
    """Refuse, before hours of measuring, what leaves no record: two checkpoints of one folder, or one that is not ours.

    Raises:
        UserError: One would write over the records of another, a folder cannot be written, or one is not there.
    """
    seen: dict[Path, Path] = {}
    for path in checkpoints:
        folder = path.parent.resolve()
        if (other := seen.setdefault(folder, path)) is not path:
            raise UserError(f"{path}: its records would replace those of {other} beside it; give one, or each a folder")
        if os.access(path, os.R_OK) and not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(
                f"{folder}: cannot write there, where the records of {path.name} go; copy the folder to one of yours"
            )
    for path in checkpoints:
        if not path.is_file():
            runs.load_checkpoint(path)  # says what is wrong


def measured(
    checkpoints: Sequence[Path], splits: Sequence[str], overrides: tuple[str, ...], device: torch.device
) -> Iterator[tuple[Subject, str]]:
    """Every checkpoint, opened once, with every split to measure it on."""
    require_record_folders(checkpoints)
    for path in checkpoints:
        subject = Subject.open(path, overrides, device)
        for split in splits or ("source", "target"):
            yield subject, split


def on_same_pictures(
    subjects: Iterator[_Measured], images_of: Callable[[_Measured], _Set], *, what: str, advice: str
) -> Iterator[tuple[_Measured, _Set]]:
    """Every subject, opened in turn, with its pictures, which have to be the same for all.

    Raises:
        UserError: They are not; ``what`` differs, and ``advice`` says what to do instead.
    """
    shown, first = "", ""
    for subject in subjects:
        images = images_of(subject)
        if shown and images.identity != shown:
            raise UserError(f"{subject.origin}: other {what} than {first} (by names, labels or file sizes); {advice}")
        shown, first = images.identity, first or subject.origin
        yield subject, images
