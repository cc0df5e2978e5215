"""Weight-space baselines share this: a quadratic pull of every backbone weight towards its ImageNet value.

    penalty = c * sum_k  Omega_k (w_k - w*_k)^2

with w* the starting weights. They differ in the importance Omega: 1 for weight-l2, the diagonal Fisher information for
EWC (c is half of its lambda), the path integral for Synaptic Intelligence. The anchor w* is rebuilt from the starting
weights at a restart; importances are buffers, so checkpoints hold them.

How the penalty moves the weights is the field ``update``:

``proximal``
    The penalty gives no gradient, only its value to the logged loss. The optimiser steps on the rest of the loss, to w;
    then each weight moves to the exact minimiser w' of ``penalty(w') + |w' - w|^2 / (2 eta)``, eta being the learning
    rate of the weight's group at this step over (1 - momentum), which is how far momentum takes a gradient in all::

        w_k <- w*_k + (w_k - w*_k) / (1 + 2 eta c Omega_k)

    A share of the way to the anchor for every strength and rate: the pull cannot diverge (Parikh and Boyd, Proximal
    Algorithms, 2014, section 4.2). The momentum buffer holds the rest of the loss alone: the pull is decoupled, as
    AdamW's weight decay is. The weights come to rest where the equation says, as in the other form.
``gradient``
    The penalty is a term of the loss, and its gradient passes through the optimiser. It ends in infinity where
    ``eta c Omega_k`` is larger than 1 + momentum.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn, optim

from csg_train.data.loaders.batch import Batch
from csg_train.methods.base import Method, Setup
from csg_train.models.backbones import Backbone
from csg_train.models.network import Output, TaskNetwork

__all__ = ["Anchored", "backbone_weights", "flatten", "proximal_share", "quadratic_penalty", "split", "trained_weights"]


def quadratic_penalty(weights_K: Tensor, anchor_K: Tensor, importance_K: Tensor | float) -> Tensor:
    """``sum_k Omega_k (w_k - w*_k)^2``, a scalar."""
    return (importance_K * (weights_K - anchor_K).square()).sum()


def proximal_share(coefficient: Tensor, rate: float) -> Tensor:
    """Share of the way to the anchor that minimises ``coefficient (w' - w*)^2 + (w' - w)^2 / (2 rate)``.

    It is ``x / (1 + x)`` with ``x = 2 rate coefficient``, in a form that is exact for zero and infinity.
    """
    return 1 / (1 + 1 / (2 * rate * coefficient))


def trained_weights(backbone: Backbone) -> list[nn.Parameter]:
    """The weights that training moves, in the order of ``parameters()``."""
    return [weight for weight in backbone.parameters() if weight.requires_grad]


def flatten(tensors: Iterable[Tensor]) -> Tensor:
    """All tensors as one vector ``(K,)``."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def split(vector_K: Tensor, weights: list[nn.Parameter]) -> list[Tensor]:
    """The inverse of `flatten`: a part of the shape of each weight."""
    parts = torch.split(vector_K, [weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


def backbone_weights(model: TaskNetwork) -> Tensor:
    """The trained weights of the backbone as one vector ``(K,)``, with gradient."""
    return flatten(trained_weights(model.backbone))


class Anchored(Method):
    """Remembers the starting weights, and pulls towards them; a subclass says how strongly."""

    @property
    def strength(self) -> float:
        """The penalty's c."""
        raise NotImplementedError

    def importance(self, weights_K: Tensor) -> Tensor:
        """Omega of each weight, ``(K,)``, held constant within a step."""
        raise NotImplementedError

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:  # noqa: ARG002
        """Remember the starting weights of the backbone."""
        self._anchor = (backbone_weights(model).detach().clone(),)

    def penalty(self, model: TaskNetwork) -> Tensor:
        """A scalar; it has a gradient in the form that moves the weights by it."""
        weights_K = backbone_weights(model)
        penalty = self.strength * quadratic_penalty(weights_K, self._anchor[0], self.importance(weights_K))
        return penalty if self.config.update == "gradient" else penalty.detach()

    def loss(self, model: TaskNetwork, batch: Batch, output: Output) -> dict[str, Tensor]:  # noqa: ARG002
        """The penalty, under the method's name."""
        return {self.info.name.replace("-", "_"): self.penalty(model)}

    @torch.no_grad()
    def before_step(self, model: TaskNetwork, optimizer: optim.Optimizer) -> None:
        """Note each weight's share of the way to its anchor; the optimiser's groups begin with the backbone's."""
        if self.config.update == "proximal":
            trained = trained_weights(model.backbone)
            coefficient_K = self.strength * self.importance(flatten(trained))
            shares, start = [], 0
            for group in optimizer.param_groups:
                stop = start + sum(weight.numel() for weight in group["params"])
                shares.append(proximal_share(coefficient_K[start:stop], group["lr"] / (1 - group["momentum"])))
                start = stop
            self._share_K = torch.cat(shares)

    @torch.no_grad()
    def after_step(self, model: TaskNetwork) -> None:
        """The proximal pull, from where the optimiser's step has ended."""
        if self.config.update == "proximal":
            trained = trained_weights(model.backbone)
            parts = split(self._anchor[0], trained), split(self._share_K, trained)
            torch._foreach_lerp_(trained, *parts)  # type: ignore[arg-type]  # its stub knows numbers as shares alone
