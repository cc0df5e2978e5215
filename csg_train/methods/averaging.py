"""Weight averaging: one network from the weights of many, of the steps of a run or of several runs.

With w_t the weights after step t, an average is one of::

    ema       w <- m w + (1 - m) w_t, from the start on                           a run's own, ``average.rule: ema``
    swad      w = mean of w_t over t_s <= t <= t_e                                a run's own, ``average.rule: swad``
    wise-ft   w = (1 - a) w_0 + a w_1, of a start and an end                      ``csg-train average --alpha a``
    soup      w = mean of w_i over finished runs                                  ``csg-train average``

`swad` finds t_s and t_e. Ruppert 1988 and Polyak, Juditsky 1992 (ema); Wortsman et al., Robust fine-tuning of zero-shot
models, CVPR 2022 (wise-ft), and Model soups, ICML 2022 (the uniform soup). Parameters are averaged, never buffers:
where BatchNorm trained with statistics of the batch they are measured again, else they are equal in all.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["EMA", "Average", "mixed"]


def mixed(states: Sequence[dict[str, Tensor]], shares: Sequence[float], names: set[str]) -> dict[str, Tensor]:
    """``sum_i share_i w_i`` of the tensors ``names``, in float64, rounded once; all else is the last state's.

    States of share 0 count for nothing, so at the ends of WiSE-FT the result is one state, bit for bit.
    """
    parts = [(state, share) for state, share in zip(states, shares, strict=True) if share]
    last = parts[-1][0]
    if len(parts) == 1:
        return dict(last)
    sums = {name: torch.stack([state[name].double() * share for state, share in parts]).sum(dim=0) for name in names}
    return {name: sums[name].to(value.dtype) if name in names else value for name, value in last.items()}


class Average(nn.Module):
    """The average that a run keeps of the weights it trains; all of it in buffers, so that checkpoints hold it.

    Args:
        weights: What the run trains, in the order of every later call.
        slots: How many means are kept; the first is the result.
    """

    means_SK: Tensor
    counts_S: Tensor
    span: Tensor  # first and last step of the result

    def __init__(self, weights: Sequence[Tensor], slots: int = 1) -> None:
        super().__init__()
        self.shapes = [weight.shape for weight in weights]
        self.register_buffer("means_SK", weights[0].new_zeros(slots, sum(weight.numel() for weight in weights)))
        self.register_buffer("counts_S", torch.zeros(slots, dtype=torch.int64))
        self.register_buffer("span", torch.zeros(2, dtype=torch.int64))

    def mean(self, slot: int = 0) -> list[Tensor]:
        """The mean of each weight: views of the buffer."""
        parts = torch.split(self.means_SK[slot], [shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    @torch.no_grad()
    def restart(self, weights: Sequence[Tensor], step: int) -> None:
        """Let the result be these weights, of this step, alone."""
        for own, weight in zip(self.mean(), weights, strict=True):
            own.copy_(weight)
        self.counts_S[0] = 1
        self.span.fill_(step)

    def after_step(self, weights: Sequence[Tensor], step: int) -> None:
        """After each step that counts."""
        raise NotImplementedError

    def result(self) -> tuple[list[Tensor], dict[str, Any]]:
        """The averaged weights, and which steps are in them."""
        first, last = self.span.tolist()
        return self.mean(), {"first_step": first, "last_step": last, "count": int(self.counts_S[0])}


class EMA(Average):
    """Exponential moving average over every step, the start included."""

    def __init__(self, weights: Sequence[Tensor], *, decay: float) -> None:
        super().__init__(weights)
        self.update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def after_step(self, weights: Sequence[Tensor], step: int) -> None:
        """``w <- m w + (1 - m) w_t``."""
        self.update(self.mean(), list(weights), None)
        self.counts_S[0] += 1
        self.span[1] = step
