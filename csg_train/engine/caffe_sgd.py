"""SGD whose momentum buffer holds steps, not gradients: the learning rate is applied before the buffer."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import optim

__all__ = ["CaffeSGD"]


class CaffeSGD(optim.Optimizer):
    """SGD with momentum as Caffe and the official CSG code have it.

    With the gradient g of a weight w::

        v <- m v + lr (g + wd w);   w <- w - v

    `torch.optim.SGD` multiplies the whole buffer by the present rate, so a change of rate acts on past gradients too;
    here they keep the rate of their own step. At a constant rate both are equal.

    Args:
        params: Weights or parameter groups.
        lr: Learning rate, for groups without their own.
        momentum: m, in [0, 1).
        weight_decay: wd, per step and in units of the gradient.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]] | Iterable[torch.Tensor],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Move every weight that has a gradient; a group at a time, which on a GPU is a kernel for each operation.

        Gradients take the decay in, so that no second copy of them is made; they are of no use afterwards.
        """
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
            buffers = [self.state[weight]["momentum_buffer"] for weight in weights]
            gradients = [weight.grad for weight in weights]
            torch._foreach_add_(gradients, weights, alpha=group["weight_decay"])
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, gradients, alpha=group["lr"])
            torch._foreach_sub_(weights, buffers)
