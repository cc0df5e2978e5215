"""MIRO: keep the features informative about the pre-trained ones, with a learned tolerance for each channel; or LDIFS.

For each stage l, with student features f_l and frozen pre-trained features f0_l, and one variance v for each channel::

    miro    1/2 mean[ (f_l - f0_l)^2 / v_l + log v_l ],      v_l = softplus(b_l) + 1e-5, learned, 0.1 at the start
    ldifs   mean[ (n(f_l) - n(f0_l))^2 ],                     n(f) = f / |f| over the channels of each position
    L = CE + lambda * sum_l miro_l        or        L = CE + lambda * mean_l ldifs_l

Means are over pictures, positions and channels. Cha, Lee, Park, Chun: Domain Generalization by Mutual-Information
Regularization with Pre-trained Models, ECCV 2022; its mean encoder is the identity, as in the released code. Mukhoti,
Gal, Torr, Dokania: Fine-tuning can cripple your foundation model, 2023.

Deviations: b_l learns at the head's rate, with its weight decay. LDIFS's code normalises over the tokens of a map and
runs the student a second time; here channels are normalised, which the text says, and the step's own maps are used. Its
mean includes the channels, so on unit vectors it is (2 - 2 cos) / C, and that is what lambda = 10 belongs to.
"""

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from csg_train.data.loaders.batch import Batch
from csg_train.methods.base import Setup
from csg_train.methods.config import STRICT
from csg_train.methods.info import MethodInfo
from csg_train.methods.teacher import Taught
from csg_train.models.network import Output, TaskNetwork

__all__ = ["MIRO", "MIROConfig", "ldifs_distance", "variational_distance"]

_LEAST, _START = 1e-5, 0.1  # of a variance


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MIROConfig:
    """Which distance, how strong, and between which maps."""

    distance: Literal["miro", "ldifs"] = "miro"
    weight: Annotated[float, Field(ge=0)] | None = None
    """lambda. By default 0.1 for ``miro``, whose paper chose 0.1 or 0.01 for each data set, and 10 for ``ldifs``."""
    layers: Literal["all"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all"
    """Stages of the backbone."""

    def __post_init__(self) -> None:
        """Put the published strength in place of none."""
        if self.weight is None:
            object.__setattr__(self, "weight", {"miro": 0.1, "ldifs": 10.0}[self.distance])


def variational_distance(features_NCHW: Tensor, teacher_NCHW: Tensor, free_C: Tensor) -> Tensor:
    """``1/2 mean[(f - f0)^2 / v + log v]`` with ``v = softplus(free) + 1e-5``, a scalar; it may be negative."""
    variance_C11 = (F.softplus(free_C) + _LEAST)[:, None, None]
    return ((features_NCHW - teacher_NCHW).square() / variance_C11 + variance_C11.log()).mean() / 2


def ldifs_distance(features_NCHW: Tensor, teacher_NCHW: Tensor) -> Tensor:
    """Mean squared difference of maps that are unit vectors over channels: ``(2 - 2 cos) / C``, in [0, 4 / C]."""
    return F.mse_loss(F.normalize(features_NCHW, dim=1), F.normalize(teacher_NCHW, dim=1))


class MIRO(Taught):
    """Feature distillation whose strictness is learned channel by channel."""

    info = MethodInfo(
        name="miro",
        title="MIRO (or LDIFS)",
        summary="Keeps every stage's features near the frozen network's, less strictly in channels that have to move.",
        equation="L = CE + lambda * sum_l 1/2 mean[ (f_l - f0_l)^2 / v_l + log v_l ];  "
        "distance: ldifs: lambda * mean_l mean[ (n(f_l) - n(f0_l))^2 ]",
        source="Cha et al., ECCV 2022; ldifs: Mukhoti et al., 2023",
        deviation="the recipe's optimiser (MIRO has Adam, LDIFS AdamW); variances learn at the head's rate; ldifs "
        "normalises channels, its code normalises tokens",
        cost="a forward pass of the teacher, without gradient",
    )
    Config = MIROConfig
    config: MIROConfig

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:
        """Copy the teacher; start every variance at 0.1."""
        super().prepare(model, setup)
        widths = model.backbone.widths
        self.layers = tuple(model.backbone.stage_paths) if self.config.layers == "all" else self.config.layers
        model.backbone.require_stages(self.layers, "method.layers")
        if self.config.distance == "miro":
            start = math.log(math.expm1(_START - _LEAST))
            self.free = nn.ParameterDict({name: torch.full((widths[name],), start) for name in self.layers})

    def loss(self, model: TaskNetwork, batch: Batch, output: Output) -> dict[str, Tensor]:  # noqa: ARG002
        """The weighted distance of each stage."""
        assert self.config.weight is not None
        with torch.no_grad():
            stages = self.teacher(batch.views[0]).stages
        if self.config.distance == "ldifs":
            each = self.config.weight / len(self.layers)
            return {f"ldifs_{name}": each * ldifs_distance(output.stages[name], stages[name]) for name in self.layers}
        return {
            f"miro_{name}": self.config.weight * variational_distance(output.stages[name], stages[name], free_C)
            for name, free_C in self.free.items()
        }
