"""Cross-entropy of every pixel: the segmentation loss of all methods."""

import torch
import torch.nn.functional as F
from torch import Tensor

from csg_train.data.readers.masks import IGNORE
from csg_train.distributed import mean_over_processes

__all__ = ["pixel_cross_entropy", "task_loss"]


def pixel_cross_entropy(logits_NCHW: Tensor, labels_NHW: Tensor) -> Tensor:
    """Mean of ``-log softmax(logits)[label]`` over the pixels of the batch whose label is not `IGNORE`.

    Of several processes each divides by their average count, so that the mean of their losses is the global batch's.

    Written as a gather, because the library's own pixel loss has no deterministic gradient on CUDA.

    Args:
        logits_NCHW: Of C classes at the labels' resolution.
        labels_NHW: int64 in 0..C-1, or `IGNORE`.

    Returns:
        A scalar >= 0, in nats; 0 where every pixel is ignored, as of a crop of sky alone.
    """
    counted_NHW = labels_NHW != IGNORE
    count = mean_over_processes(counted_NHW.sum())
    index_N1HW = labels_NHW.masked_fill(~counted_NHW, 0)[:, None]
    losses_NHW = -logits_NCHW.log_softmax(dim=1).gather(1, index_N1HW)[:, 0]
    return torch.where(counted_NHW, losses_NHW, 0).sum() / torch.where(count > 0, count, 1)


def task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of the recipe's task: of pictures ``(N, C)``, ``(N,)`` or of pixels ``(N, C, H, W)``."""
    return F.cross_entropy(logits, labels) if labels.ndim == 1 else pixel_cross_entropy(logits, labels)
