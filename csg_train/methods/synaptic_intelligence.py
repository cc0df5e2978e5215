"""Synaptic Intelligence: the distance to the ImageNet weights, each weighted by how much its path lowered the loss."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, optim

from csg_train.data.loaders.batch import Batch
from csg_train.methods.anchored import Anchored, backbone_weights, flatten, split, trained_weights
from csg_train.methods.base import Setup
from csg_train.methods.config import STRICT
from csg_train.methods.info import MethodInfo
from csg_train.models.network import Output, TaskNetwork

__all__ = ["SynapticIntelligence", "SynapticIntelligenceConfig", "path_importance"]


def path_importance(path_K: Tensor, moved_K: Tensor, xi: float) -> Tensor:
    """Synaptic Intelligence's ``Omega = relu(omega / (moved^2 + xi))`` from the path integral omega."""
    return (path_K / (moved_K.square() + xi)).clamp_min(0)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SynapticIntelligenceConfig:
    """Strength and damping, named as in the paper; no value for this use was found published."""

    c: Annotated[float, Field(ge=0)] = 0.1
    xi: Annotated[float, Field(gt=0)] = 1e-3
    update: Literal["proximal", "gradient"] = "proximal"
    """``proximal``: after each step of the optimiser an exact step of the penalty alone, stable for every strength.
    ``gradient``: a term of the loss, which ends in infinity where strength and learning rate are high."""


class SynapticIntelligence(Anchored):
    """Weights matter as much as their path lowered the loss.

    The path integral multiplies the gradient g of the unregularised loss by dw, the movement over the whole step with
    the penalty's pull in it. The penalty's gradient, ``2 c Omega (w - w*)``, is therefore added after g is recorded
    (``update: gradient``), and the proximal pull comes before dw is taken; Omega is that of the step's start in both.
    ImageNet's own training path is not to be had: the integral is accumulated online, while training on the synthetic
    pictures.
    """

    info = MethodInfo(
        name="si",
        title="Synaptic Intelligence",
        summary="Pulls each backbone weight towards its ImageNet value by how much its path lowered the loss.",
        equation="L = CE + c * sum_k relu(omega_k / ((w_k - w*_k)^2 + xi)) (w_k - w*_k)^2,  omega_k -= g_k dw_k",
        source="Zenke et al., ICML 2017, Eqs 3-5",
        deviation="omega online on the synthetic task; an exact proximal step after the optimiser's (update)",
        cost="five copies of the weights",
    )
    Config = SynapticIntelligenceConfig
    config: SynapticIntelligenceConfig
    path_K: Tensor

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:
        """Start the path integral at zero."""
        super().prepare(model, setup)
        self.register_buffer("path_K", torch.zeros_like(self._anchor[0]))

    @property
    def strength(self) -> float:
        """The penalty's c."""
        return self.config.c

    def importance(self, weights_K: Tensor) -> Tensor:
        """What the path so far gives."""
        return path_importance(self.path_K, weights_K - self._anchor[0], self.config.xi)

    @torch.no_grad()
    def loss(self, model: TaskNetwork, batch: Batch, output: Output) -> dict[str, Tensor]:
        """The penalty's value; what it does to the weights follows after the loss's gradient."""
        return super().loss(model, batch, output)

    @torch.no_grad()
    def before_step(self, model: TaskNetwork, optimizer: optim.Optimizer) -> None:
        """Record the loss's gradient and the weights; then prepare the pull, or add the penalty's gradient."""
        super().before_step(model, optimizer)
        trained = trained_weights(model.backbone)
        weights_K = backbone_weights(model)
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in trained]
        self._before = (weights_K, flatten(gradients))
        if self.config.update == "gradient":
            pull_K = 2 * self.strength * self.importance(weights_K) * (weights_K - self._anchor[0])
            pulls = zip(trained, split(pull_K, trained), strict=True)
            pairs = [(weight.grad, pull) for weight, pull in pulls if weight.grad is not None]
            if pairs:
                torch._foreach_add_(*map(list, zip(*pairs, strict=True)))

    @torch.no_grad()
    def after_step(self, model: TaskNetwork) -> None:
        """The pull, then ``omega -= g * dw`` over the whole step."""
        super().after_step(model)
        weights_K, gradient_K = self._before
        self.path_K -= gradient_K * (backbone_weights(model) - weights_K)
