"""Weight-space baselines share this: a quadratic pull of every backbone weight towards its ImageNet value.

    penalty = c * sum_k  Omega_k (w_k - w*_k)^2

with w* the starting weights. They differ in the importance Omega: 1 for weight-l2, half the diagonal Fisher information
for EWC, the path integral for Synaptic Intelligence. The anchor w* is rebuilt from the starting weights at a restart;
importances are buffers, so checkpoints hold them.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from csg_train.methods.base import Method, Setup
from csg_train.models.backbones import Backbone
from csg_train.models.network import TaskNetwork

__all__ = ["Anchored", "backbone_weights", "flatten", "quadratic_penalty", "trained_weights"]


def quadratic_penalty(weights_K: Tensor, anchor_K: Tensor, importance_K: Tensor | float) -> Tensor:
    """``sum_k Omega_k (w_k - w*_k)^2``, a scalar."""
    return (importance_K * (weights_K - anchor_K).square()).sum()


def trained_weights(backbone: Backbone) -> list[nn.Parameter]:
    """The weights that training moves, in the order of ``parameters()``."""
    return [weight for weight in backbone.parameters() if weight.requires_grad]


def flatten(tensors: Iterable[Tensor]) -> Tensor:
    """All tensors as one vector ``(K,)``."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def backbone_weights(model: TaskNetwork) -> Tensor:
    """The trained weights of the backbone as one vector ``(K,)``, with gradient."""
    return flatten(trained_weights(model.backbone))


class Anchored(Method):
    """Remembers the starting weights."""

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:  # noqa: ARG002
        """Remember the starting weights of the backbone."""
        self._anchor = (backbone_weights(model).detach().clone(),)
