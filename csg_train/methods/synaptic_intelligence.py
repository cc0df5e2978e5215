"""Synaptic Intelligence: the distance to the ImageNet weights, each weighted by how much its path lowered the loss."""

from typing import Annotated

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, optim

from csg_train.data.loaders.batch import Batch
from csg_train.methods.anchored import Anchored, backbone_weights, flatten, quadratic_penalty, trained_weights
from csg_train.methods.base import Setup
from csg_train.methods.info import MethodInfo
from csg_train.models.network import Output, TaskNetwork

__all__ = ["SynapticIntelligence", "SynapticIntelligenceConfig", "path_importance"]


def path_importance(path_K: Tensor, moved_K: Tensor, xi: float) -> Tensor:
    """Synaptic Intelligence's ``Omega = relu(omega / (moved^2 + xi))`` from the path integral omega."""
    return (path_K / (moved_K.square() + xi)).clamp_min(0)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SynapticIntelligenceConfig:
    """Strength and damping, named as in the paper."""

    c: Annotated[float, Field(ge=0)] = 0.1
    xi: Annotated[float, Field(gt=0)] = 1e-3


class SynapticIntelligence(Anchored):
    """Weights matter as much as their path lowered the loss.

    The path integral needs the gradient of the unregularised loss, so the penalty's gradient, ``2 c Omega (w - w*)``,
    is added after that gradient is recorded; the logged term carries the penalty's value. ImageNet's own training path
    is not to be had: the integral is accumulated online, while training on the synthetic pictures.
    """

    info = MethodInfo(
        name="si",
        title="Synaptic Intelligence",
        summary="Pulls each backbone weight towards its ImageNet value by how much its path lowered the loss.",
        equation="L = CE + c * sum_k relu(omega_k / ((w_k - w*_k)^2 + xi)) (w_k - w*_k)^2,  omega_k -= g_k dw_k",
        source="Zenke et al., ICML 2017, Eqs 3-5; omega online on the synthetic task (a deviation)",
    )
    Config = SynapticIntelligenceConfig
    config: SynapticIntelligenceConfig
    path_K: Tensor

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:
        """Start the path integral at zero."""
        super().prepare(model, setup)
        self.register_buffer("path_K", torch.zeros_like(self._anchor[0]))

    def _importance(self, weights_K: Tensor) -> Tensor:
        return path_importance(self.path_K, weights_K - self._anchor[0], self.config.xi)

    @torch.no_grad()
    def loss(self, model: TaskNetwork, batch: Batch, output: Output) -> dict[str, Tensor]:  # noqa: ARG002
        """The penalty's value; its gradient follows in `before_step`."""
        weights_K = backbone_weights(model)
        return {"si": self.config.c * quadratic_penalty(weights_K, self._anchor[0], self._importance(weights_K))}

    @torch.no_grad()
    def before_step(self, model: TaskNetwork, optimizer: optim.Optimizer) -> None:  # noqa: ARG002
        """Record the loss's gradient and the weights, then add the penalty's gradient."""
        trained = trained_weights(model.backbone)
        weights_K = backbone_weights(model)
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in trained]
        self._before = (weights_K, flatten(gradients))
        pull_K = 2 * self.config.c * self._importance(weights_K) * (weights_K - self._anchor[0])
        pulls = torch.split(pull_K, [weight.numel() for weight in trained])
        for weight, pull in zip(trained, pulls, strict=True):
            if weight.grad is not None:
                weight.grad += pull.view_as(weight)

    @torch.no_grad()
    def after_step(self, model: TaskNetwork) -> None:
        """``omega -= g * dw`` over the step just made."""
        weights_K, gradient_K = self._before
        self.path_K -= gradient_K * (backbone_weights(model) - weights_K)
