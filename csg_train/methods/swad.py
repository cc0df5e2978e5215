"""SWAD: the mean of the weights over the steps in which the loss on held-out source pictures lies in its valley.

The loss is measured every few steps, at evaluations 1, 2, ... with losses l_1, l_2, ... and numbers of steps t_1, ...::

    s   the first evaluation that is the lowest of l_s .. l_{s+Ns-1};  threshold = (1 + r) * their mean
    e   the last evaluation at or below the threshold, before Ne in a row lie above it or the run ends
    w   mean of w_t over t_s <= t <= t_e

A run without an s gives the mean over the steps since its last evaluation but one.

Cha, Chun, Lee, Cho, Park, Lee, Park: SWAD: Domain Generalization by Seeking Flat Minima, NeurIPS 2021. Deviations: the
mean begins with the weights at t_s as in the paper; the released code takes in the whole interval before it. It keeps
the means on the device and not on the CPU.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import get_swa_multi_avg_fn

from csg_train.methods.averaging import Average

__all__ = ["SWAD", "valley"]


def valley(losses: Sequence[float], n_converge: int, n_tolerance: int, ratio: float) -> tuple[int, int, bool] | None:
    """SWAD's window among evaluations: the first, the last so far, and whether it has ended; None before it starts."""
    windows = [losses[i : i + n_converge] for i in range(len(losses) - n_converge + 1)]
    start = next((i for i, window in enumerate(windows) if window[0] == min(window)), None)
    if start is None:
        return None
    threshold, last = (1 + ratio) * np.mean(windows[start]), start  # Python's sum rounds otherwise from 3.12 on
    for i in range(start + 1, len(losses)):
        if losses[i] <= threshold:
            last = i
        elif i - last == n_tolerance:
            return start, last, True
    return start, last, False


class SWAD(Average):
    """The mean over the steps in which the held-out loss lies in its valley.

    Slot 0 is the mean from the lowest evaluation on. Each other is the mean over the steps up to one evaluation: of the
    coming one, and of those that may still belong to the window.

    Args:
        weights: As of `Average`.
        evaluations: How many there will be at most.
        rule: Ns, Ne and r.
    """

    losses: Tensor
    steps: Tensor
    evaluated: Tensor

    def __init__(self, weights: Sequence[Tensor], *, evaluations: int, rule: tuple[int, int, float]) -> None:
        super().__init__(weights, slots=1 + max(*rule[:2], 2))
        self.rule = rule
        self.register_buffer("losses", torch.zeros(evaluations, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros(evaluations, dtype=torch.int64))
        self.register_buffer("evaluated", torch.zeros((), dtype=torch.int64))
        self.update = get_swa_multi_avg_fn()  # type: ignore[no-untyped-call]

    @property
    def window(self) -> tuple[int, int, bool] | None:
        """`valley` of the losses so far."""
        return valley(self.losses[: int(self.evaluated)].tolist(), *self.rule)

    @property
    def ended(self) -> bool:
        """Whether nothing more can belong to the window."""
        return self.window is not None and self.window[2]

    def _slot(self, evaluation: int) -> int:
        return 1 + evaluation % (len(self.means_SK) - 1)

    def _add(self, weights: Sequence[Tensor], slot: int, count: int) -> None:
        """Take ``count`` weights, or their mean, into the mean of a slot."""
        self.update(self.mean(slot), list(weights), int(self.counts_S[slot]) / count)
        self.counts_S[slot] += count

    def after_step(self, weights: Sequence[Tensor], step: int) -> None:  # noqa: ARG002
        """Into the mean that the coming evaluation will close."""
        if not self.ended:
            self._add(weights, self._slot(int(self.evaluated)), 1)

    def after_loss(self, weights: Sequence[Tensor], step: int, loss: float) -> None:
        """Judge the steps up to this one by the held-out loss of its weights."""
        if self.ended:
            return
        now = int(self.evaluated)
        self.losses[now], self.steps[now] = loss, step
        self.evaluated += 1
        losses = self.losses[: now + 1].tolist()
        start, last, _ = self.window or (losses.index(min(losses)), 0, False)
        if start == now:
            self.restart(weights, step)
        for evaluation in range(start + 1, last + 1):
            if self.steps[evaluation] > self.span[1]:
                slot = self._slot(evaluation)
                self._add(self.mean(slot), 0, int(self.counts_S[slot]))
                self.span[1] = self.steps[evaluation]
        self.counts_S[self._slot(now + 1)] = 0

    def result(self) -> tuple[list[Tensor], dict[str, Any]]:
        """The mean of the window, or of the last evaluation's steps where none started."""
        if self.window is not None:
            return super().result()[0], super().result()[1] | {"converged": True}
        last = int(self.evaluated) - 1
        count, step = int(self.counts_S[self._slot(last)]), int(self.steps[last])
        steps = {"first_step": step - count + 1, "last_step": step, "count": count, "converged": False}
        return self.mean(self._slot(last)), steps
