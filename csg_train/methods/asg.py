"""ASG: keep the student's ImageNet predictions near the frozen ImageNet network's."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, optim

from csg_train.data.loaders.batch import Batch
from csg_train.distributed import average
from csg_train.methods.base import Setup
from csg_train.methods.config import STRICT
from csg_train.methods.info import MethodInfo
from csg_train.methods.learned_rates import RatePolicy
from csg_train.methods.pixels import task_loss
from csg_train.methods.teacher import Taught, imagenet_kl
from csg_train.models.network import Output, TaskNetwork, layer_groups

__all__ = ["ASG", "ASGConfig"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ASGConfig:
    """``weight`` is the paper's for VisDA-17; ``window`` and ``policy_rate`` are ours."""

    weight: Annotated[float, Field(ge=0)] = 0.1
    """lambda."""
    rates: Literal["recipe", "learned"] = "recipe"
    """``recipe``: the hand-tuned variant, ``train.lr_backbone`` and ``train.lr_head`` with the recipe's decay.
    ``learned``: multiples of ``train.lr_head`` for each layer group, chosen by a policy (`learned_rates`)."""
    window: Annotated[int, Field(ge=1)] = 10
    """Steps between two actions of the policy."""
    policy_rate: Annotated[float, Field(gt=0)] = 0.1
    """The policy's own learning rate."""


class ASG(Taught):
    """Proxy guidance: the student keeps solving ImageNet through the frozen ImageNet classifier."""

    info = MethodInfo(
        name="asg",
        title="ASG (proxy guidance)",
        summary="Keeps the student's ImageNet predictions near the frozen network's on the same synthetic picture.",
        equation="L = CE + lambda * KL( p_ImageNet(x) || softmax(fc_ImageNet(phi(x))) )",
        source="Chen et al., Automated Synthetic-to-Real Generalization, ICML 2020; rates: hand-tuned or learned",
        deviation="outside the paper's rows the schedule has no floor (in its code 0.2^0.9: train.decay_until 0.8); "
        "learned rates: a linear policy, trained in the run itself",
        cost="a forward pass of the teacher, without gradient",
    )
    Config = ASGConfig
    config: ASGConfig

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:
        """Copy the teacher; make the policy where the rates are learned."""
        setup.require_imagenet("method asg", model.backbone)
        super().prepare(model, setup)
        if self.config.rates == "learned":
            self.policy = RatePolicy(
                [*layer_groups(model), "head"],
                seed=setup.seed,
                steps=setup.steps,
                window=self.config.window,
                rate=self.config.policy_rate,
            )

    def loss(self, model: TaskNetwork, batch: Batch, output: Output) -> dict[str, Tensor]:  # noqa: ARG002
        """The weighted divergence."""
        with torch.no_grad():
            logits = self.teacher(batch.views[0]).imagenet_logits
        term = self.config.weight * imagenet_kl(logits, output.imagenet_logits)
        if self.config.rates == "learned":
            self._ce = task_loss(output.logits.detach(), batch.labels)
            self._loss = self._ce + term.detach()
        return {"asg_kl": term}

    def before_step(self, model: TaskNetwork, optimizer: optim.Optimizer) -> None:
        """Let the policy choose the learning rates."""
        if self.config.rates == "learned":
            average([self._ce, self._loss])
            self.policy.before_step(model, optimizer, ce=self._ce, loss=self._loss)
