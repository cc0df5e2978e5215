"""What any method may be combined with: settings of PASTA and of averages, checked by pydantic; and which a run has."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from csg_train.recipes.domains import Section

__all__ = ["AVERAGES", "EMA", "SWAD", "Pasta", "Settings", "no_yes", "options_of"]


def no_yes(value: Any, where: str = "") -> None:
    """``true`` is no number, though pydantic takes it for 1."""
    for one in value if isinstance(value, list) else (value,):  # no deeper: a damaged checkpoint's lists never end
        if isinstance(one, bool):
            said = "true" if one else "false"
            raise ValueError(f"{where}{said} has no meaning here; what YAML reads so is put in quotes")


def _no_yes_for_one(cls: type[Section], value: Any, info: ValidationInfo) -> Any:
    if cls.model_fields[str(info.field_name)].annotation is not bool:
        no_yes(value)
    return value


class Settings(Section):
    """A section in which every field is looked at so."""

    _looked_at = field_validator("*", mode="before")(classmethod(_no_yes_for_one))


class Pasta(Settings):
    """Strength of ``data.augment: pasta``: ``s = (alpha r / r_max)^k + beta`` (`csg_train.data.views.pasta`).

    The defaults are the published ones for VisDA-17; in a segmentation 3, 0.25 and 2.
    """

    alpha: Annotated[float, Field(ge=0, le=1e6)] = 10.0
    beta: Annotated[float, Field(ge=0, le=1e6)] = 0.5
    k: Annotated[float, Field(gt=0, le=10)] = 1.0
    grid: Literal["exact", "released"] = "exact"
    """How far a frequency is from zero; the released code is off by one."""


class EMA(Section):
    """Exponential moving average of the weights, over every step: ``w <- m w + (1 - m) w_t``."""

    rule: Literal["ema"]
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """m."""
    _looked_at = field_validator("decay", mode="before")(classmethod(_no_yes_for_one))


class SWAD(Section):
    """Mean of the weights over the valley of the loss on ``data.validation`` (`csg_train.methods.swad`)."""

    rule: Literal["swad"]
    every: Annotated[int, Field(ge=1)] = 100
    """Steps between two measurements of that loss; the last step is always measured."""
    n_converge: Annotated[int, Field(ge=1)] = 3
    """Ns: the window starts at a loss that is the lowest of so many."""
    n_tolerance: Annotated[int, Field(ge=1)] = 6
    """Ne: it ends before so many in a row that lie above the threshold."""
    tolerance_ratio: Annotated[float, Field(ge=0)] = 0.3
    """r: the threshold is 1 + r times the mean of the first Ns."""
    _looked_at = field_validator("every", "n_converge", "n_tolerance", "tolerance_ratio", mode="before")(
        classmethod(_no_yes_for_one)
    )


AVERAGES: dict[str, type[BaseModel]] = {"ema": EMA, "swad": SWAD}
"""By ``average.rule``."""


def options_of(recipe: Mapping[str, Any]) -> dict[str, object]:
    """What a run combines its method with, by short names; empty for a plain run.

    Args:
        recipe: The resolved recipe as plain values, of any version.
    """
    train, data, average = recipe["train"], recipe["data"], recipe.get("average")
    found = {name: train[name] for name in ("probe", "frozen") if train.get(name)}
    if data.get("augment") in ("pasta", "pasta+randaugment", "augmix"):
        found["augment"] = data["augment"]
    if data.get("pasta"):
        found |= Pasta(**data["pasta"]).model_dump(exclude_defaults=True)
    if average:
        changed = AVERAGES[average["rule"]](**average).model_dump(exclude_defaults=True)
        found |= {"average" if name == "rule" else name: value for name, value in changed.items()}
    return found
