"""LP-FT: first the head alone on the frozen backbone (a linear probe), then all weights from that head.

With k steps of probing (``train.probe``) of T, the weights w of the backbone and u of every head::

    t <= k    u <- optimiser(u),   w = w0, bit for bit; BatchNorm keeps its statistics
    t >  k    (w, u) <- optimiser(w, u), a new one, whose schedule (warm-up, decay) begins again over T - k steps

A random head sends random gradients into the backbone; one that is trained does not, and so the features move less.
Any method can begin so: its terms train its own heads meanwhile, and none reaches the backbone. The network after step
k is kept as a snapshot, the start that WiSE-FT needs (`averaging`).

Kumar, Raghunathan, Jones, Ma, Liang: Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution,
ICLR 2022. Deviations: the head is this toolkit's of two layers, not a linear one, and the probe is trained by the
recipe's optimiser on augmented pictures, not to convergence on features that are kept.
"""

import contextlib
from collections.abc import Iterator

import torch

from csg_train.models.backbones import Backbone

__all__ = ["stage", "without_gradient"]


def stage(step: int, steps: int, probe: int) -> tuple[int, int]:
    """Where a step lies in its own stage: how many of the stage's steps came before it, and how many there are."""
    return (step, probe) if step < probe else (step - probe, steps - probe)


@contextlib.contextmanager
def without_gradient(backbone: Backbone) -> Iterator[None]:
    """Within the block the backbone's maps are constants, so no backward pass enters it."""
    own = vars(backbone).get("forward")  # of a block around this one
    backbone.forward = torch.no_grad()(backbone.forward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del backbone.forward
        if own is not None:
            backbone.forward = own  # type: ignore[method-assign]
