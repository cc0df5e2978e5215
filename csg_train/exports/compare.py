"""An export beside the checkpoint that it was made from, on pictures."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from csg_train.errors import UserError

__all__ = ["TOLERANCE", "Comparison", "compare"]

TOLERANCE = 1e-4
"""Of the largest logit, how far another one may be off: float32 sums in another order are below it for most networks.

A network that magnifies roundings, as untrained ones do, may be off by `_ROUNDINGS` times what float32 is from float64.
"""
_ROUNDINGS = 4
_SIZES = (1, 2, 5)
_REST = 8


@dataclass(frozen=True)
class Comparison:
    """How far an export is from its checkpoint.

    Attributes:
        pictures: Compared, in batches of 1, 2, 5 and 8 where they are of one size.
        source: Where they are from.
        largest: Difference of a logit.
        logit: The largest absolute logit of the checkpoint.
        same: Predictions that are the same, of pictures or of pixels.
        predictions: All of them.
        rounding: The largest difference of the checkpoint's logits in float32 from those in float64; asked for where
            ``largest`` is above `TOLERANCE`.
    """

    pictures: int
    source: str
    largest: float
    logit: float
    same: int
    predictions: int
    rounding: float = 0.0

    @property
    def relative(self) -> float:
        """The largest difference as a share of the largest logit."""
        return self.largest / self.logit if self.logit else self.largest

    def line(self) -> str:
        """All of it in words."""
        return (
            f"compared with the checkpoint on {self.pictures} pictures of {self.source}: logits differ by "
            f"{self.largest:.1e} at most, {self.relative:.1e} of the largest; the same class on {self.same} of "
            f"{self.predictions}{'' if self.predictions == self.pictures else ' pixels'}"
            + (f"; float32 itself is off by {self.rounding:.1e}" if self.relative > TOLERANCE else "")
        )


@torch.no_grad()
def compare(
    checkpoint: Callable[[Tensor], Tensor],
    exported: Callable[[Tensor], Tensor],
    exact: Callable[[Tensor], Tensor],
    pictures: Sequence[Tensor],
    *,
    source: str,
    what: str,
) -> Comparison:
    """Run both on the same pictures.

    Args:
        checkpoint: From pictures ``(N, 3, H, W)`` in [0, 1] to logits.
        exported: Likewise.
        exact: The checkpoint in float64.
        pictures: ``(3, H, W)`` uint8, perhaps of several sizes.
        source: Names them.
        what: Names the export in the error.

    Raises:
        UserError: They differ by more than `TOLERANCE` and more than by roundings, or are not numbers.
    """
    largest = logit = rounding = 0.0
    same = predictions = 0
    for batch in _batches(pictures):
        images_NCHW = torch.stack(list(batch)).float() / 255
        ours, theirs = checkpoint(images_NCHW), exported(images_NCHW)
        if ours.shape != theirs.shape or not theirs.isfinite().all():
            raise UserError(f"{what}: it gives {tuple(theirs.shape)}, not finite logits {tuple(ours.shape)}")
        largest = max(largest, float((ours - theirs).abs().max()))
        logit = max(logit, float(ours.abs().max()))
        agree = ours.argmax(dim=1) == theirs.argmax(dim=1)
        same, predictions = same + int(agree.sum()), predictions + agree.numel()
        if largest > TOLERANCE * logit:
            rounding = max(rounding, float((ours - exact(images_NCHW.double())).abs().max()))
    found = Comparison(len(pictures), source, largest, logit, same, predictions, rounding)
    if found.relative > TOLERANCE and largest > _ROUNDINGS * rounding:
        raise UserError(f"{what}: not the network of the checkpoint ({found.line()}); use another --format")
    return found


def _batches(pictures: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
    start = 0
    for size in (*_SIZES, *(_REST for _ in pictures)):
        batch = pictures[start : start + size]
        if len({picture.shape for picture in batch}) > 1:
            batch = batch[:1]
        if batch:
            yield batch
        start += len(batch)
