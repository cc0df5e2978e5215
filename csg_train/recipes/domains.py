"""Where the pictures of a recipe's domains come from: a section for each layout; checked by pydantic."""

import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from csg_train.files import home_expanded
from csg_train.names import unfit

__all__ = [
    "CityscapesDomain",
    "Domain",
    "GTA5Domain",
    "HoldoutDomain",
    "LabelledDomain",
    "MaskedDemoDomain",
    "MaskedDomain",
    "MaskedFolderDomain",
    "MaskedManifestDomain",
    "OwnMaskedDomain",
    "PicturesDomain",
    "Section",
    "SynthiaDomain",
    "Target",
    "Validation",
    "fitting",
    "own_path",
]

_LEAST, _MOST = 1.2e-38, 3.4e38
_Folders = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class Section(BaseModel):
    """A part of a recipe: its fields and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _fitting(cls, value: Any) -> Any:
        return fitting(value)


def fitting(value: Any, where: str = "") -> Any:
    """A value whose texts and paths records and file systems can hold, and whose numbers float32 can, or refuse it.

    Networks compute in float32: torch would refuse what is infinite there, or zero, in the first step.
    """
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, str | Path) and (fault := unfit(str(part))):
            raise ValueError(f"{where}it {fault}; rename it")
        if isinstance(part, float) and part and not _LEAST <= abs(part) <= _MOST:
            raise ValueError(f"{where}it should be a number that float32 holds, from {_LEAST} to {_MOST}")
    return value


def own_path(value: Any) -> Any:
    """A path of a recipe: ``~`` at its start is the home folder, as in a shell."""
    if value == "":
        raise ValueError("it should be a path, and is empty; the working directory is .")
    return home_expanded(Path(value), "a path of the recipe") if isinstance(value, str) else value


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression ({error})") from error
    return text


_Path = Annotated[Path, BeforeValidator(own_path)]


def _below(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{value!r} is no folder below root; write what follows it")
    return str(path)


_Below = Annotated[str, AfterValidator(_below)]


class FolderDomain(Section):
    """Pictures of the user in ``root/CLASS/IMAGE``; a relative ``root`` starts at the working directory."""

    dataset: Literal["folder"]
    root: _Path
    name: str | None = None
    classes: Annotated[dict[str, _Folders], Field(min_length=1)] | None = None
    """Class name to the folders below ``root`` that are read as it; the others are left out. By default each is one."""
    obtain: str | None = None
    """Where the data comes from and where it goes, said where ``root`` is missing."""

    @field_validator("classes")
    @classmethod
    def _one_class_each(cls, value: dict[str, _Folders] | None) -> dict[str, _Folders] | None:
        for folder, number in Counter(folder for own in (value or {}).values() for folder in own).items():
            if number > 1:
                raise ValueError(f"folder {folder!r} is named {number} times; a folder belongs to one class")
        return value

    @model_serializer(mode="wrap")
    def _without_unused(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As it was before there were ``classes`` and ``obtain``, where there are none."""
        return {name: value for name, value in dump(self).items() if value is not None or name == "name"}


class ManifestDomain(Section):
    """Pictures of the user in a CSV file with the columns ``path`` (below ``root``) and ``label``."""

    dataset: Literal["manifest"]
    root: _Path
    file: _Path
    name: str | None = None


class VisdaDomain(Section):
    """VisDA-17 in its official layout; ``root`` holds ``train``, ``validation`` and ``test``."""

    dataset: Literal["visda17"]
    root: _Path
    split: Literal["train", "validation", "test"]


class DemoDomain(Section):
    """One or several domains of a packaged demo (``csg-train data fetch``), merged into one set."""

    dataset: Literal["emoji-photos", "digits", "renders-photos", "renders-caltech101"]
    domains: Annotated[tuple[str, ...], Field(min_length=1)]

    @field_validator("domains")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if twice := [name for name, number in Counter(value).items() if number > 1]:
            raise ValueError(f"{twice[0]!r} is named twice, and its pictures would count twice; name it once")
        return value


class _Mapped(Section):
    """Masks whose ids or colours a mapping file may sort into classes, in place of the layout's own table."""

    mapping: _Path | None = None
    """A file ``classes.yaml``, or the name of one that comes with the package; its ids are those in the mask files."""


class GTA5Domain(_Mapped):
    """GTA5 in its official layout: ``images``, ``labels`` and, where there is one, ``gta5_SPLIT.txt`` in ``root``."""

    dataset: Literal["gta5"]
    root: _Path
    split: Literal["train", "val", "test", "all"] = "train"


class CityscapesDomain(_Mapped):
    """Cityscapes in its official layout: ``leftImg8bit`` and ``gtFine`` in ``root``."""

    dataset: Literal["cityscapes"]
    root: _Path
    split: Literal["train", "val", "test"] = "val"


class SynthiaDomain(_Mapped):
    """SYNTHIA-RAND-CITYSCAPES: ``RGB`` and ``GT/LABELS`` in ``root``; 16 of Cityscapes' 19 classes."""

    dataset: Literal["synthia"]
    root: _Path


class MaskedFolderDomain(_Mapped):
    """Pictures of the user with masks: ``images``, ``masks`` and ``classes.txt`` or ``classes.yaml`` in ``root``."""

    dataset: Literal["masked-folder"]
    root: _Path
    name: str | None = None
    images: _Below = "images"
    """Folder of the pictures below ``root``."""
    masks: _Below = "masks"
    """Folder of the masks below ``root``."""
    ending: str = ""
    """What a mask's name has behind its picture's, before ``.png``: ``_train_id`` of BDD100K."""

    @model_validator(mode="after")
    def _two_folders(self) -> "MaskedFolderDomain":
        if self.images == self.masks:
            raise ValueError(
                f"images and masks are both {self.masks!r}; give the folder of each, or pair what lies in one folder "
                "by a list (masked-manifest)"
            )
        return self


class MaskedManifestDomain(_Mapped):
    """Pictures of the user with masks, paired by a CSV file with the columns ``path`` and ``mask``, below ``root``."""

    dataset: Literal["masked-manifest"]
    root: _Path
    """Where both start, and where ``classes.txt`` or ``classes.yaml`` lies."""
    file: _Path
    name: str | None = None


class MaskedDemoDomain(Section):
    """One domain of a packaged demo with masks (``csg-train data fetch scenes`` or ``render-scenes``)."""

    dataset: Literal["scenes", "render-scenes"]
    domain: str


class PicturesDomain(Section):
    """Pictures of the user without labels, at any depth below ``root``: all but accuracy is measured. Target only."""

    dataset: Literal["pictures"]
    root: _Path
    name: str | None = None


class HoldoutDomain(Section):
    """A share of each class of the source, or of its masked pictures, chosen by name and not trained on."""

    dataset: Literal["holdout"]
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    group: Annotated[str, AfterValidator(_expression)] | None = None
    """A regular expression that is searched in each path below the source's root: the files in which its first group,
    or all of it, finds the same text stay on one side (frames of a sequence, views of a model)."""


LabelledDomain = FolderDomain | ManifestDomain | VisdaDomain | DemoDomain
"""Domains in which every picture has a class."""
OwnMaskedDomain = GTA5Domain | CityscapesDomain | SynthiaDomain | MaskedFolderDomain | MaskedManifestDomain
"""Those that a mapping may go with."""
MaskedDomain = OwnMaskedDomain | MaskedDemoDomain
"""Domains in which every pixel has a class."""
Domain = Annotated[LabelledDomain | MaskedDomain, Field(discriminator="dataset")]
Target = Annotated[LabelledDomain | MaskedDomain | PicturesDomain, Field(discriminator="dataset")]
Validation = Annotated[LabelledDomain | HoldoutDomain | MaskedDomain, Field(discriminator="dataset")]
