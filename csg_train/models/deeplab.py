"""DeepLab: a head of atrous convolutions on ``layer4``, upsampled to the picture.

Chen, Papandreou, Kokkinos, Murphy, Yuille: DeepLab (v2), TPAMI 2018; Chen, Papandreou, Schroff, Adam: Rethinking Atrous
Convolution (v3), 2017. The CSG paper names v2; its released code has v3, with other rates.

Deviations: both heads start from torch's defaults, where DeepLab v2 draws from a Gaussian of its own.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from csg_train.errors import UserError
from csg_train.models.network import Output, TaskNetwork

__all__ = ["HEADS", "AtrousSum", "SegmentationNetwork"]


class AtrousSum(nn.Module):
    """DeepLab v2's pyramid: the sum of 3x3 convolutions at several rates, from the features straight to the classes."""

    def __init__(self, width: int, classes: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(width, classes, kernel_size=3, padding=rate, dilation=rate) for rate in rates
        )

    def forward(self, features_NCHW: Tensor) -> Tensor:
        """Logits at the features' resolution."""
        return torch.stack([branch(features_NCHW) for branch in self.branches]).sum(dim=0)


HEADS: dict[str, Callable[[int, int], nn.Module]] = {
    "deeplab-v2": lambda width, classes: AtrousSum(width, classes, rates=(6, 12, 18, 24)),
    "deeplab-v3": lambda width, classes: DeepLabHead(width, classes, atrous_rates=(12, 24, 36)),
}
"""Heads by name, made from the width of ``layer4`` and the number of classes.

``deeplab-v3`` is torchvision's: 1x1, three 3x3 and image pooling with 256 channels each, concatenated; 1x1 to 256,
dropout 0.5, 3x3 to 256, 1x1 to the classes; all but the last without bias, with BatchNorm and ReLU.
"""


class SegmentationNetwork(TaskNetwork):
    """Dilated backbone, DeepLab head on ``layer4``, bilinear upsampling with aligned corners.

    ``set_training(batch_norm="frozen")`` leaves the head in training mode: its BatchNorm and dropout are active, and
    dropout draws from torch's global generator. ImageNet logits come from the pooled ``layer4``, as in the classifier.

    Args:
        backbone: Name of a backbone, see `backbone_spec`.
        classes: Number of classes.
        head: Name in `HEADS`.
        affine: Scale and shift of the backbone's BatchNorm: ``frozen`` (the official code) or ``trained``.
        seed: The run's seed; the head's start depends on it and on nothing else.
        output_stride: Pixels to a position of ``layer4``; None as published (32).
    """

    def __init__(
        self,
        backbone: str,
        *,
        classes: int,
        head: str,
        affine: Literal["frozen", "trained"] = "frozen",
        seed: int,
        output_stride: int | None = 8,
    ) -> None:
        super().__init__(
            backbone, head=lambda width: HEADS[head](width, classes), seed=seed, output_stride=output_stride
        )
        if affine == "frozen":
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.requires_grad_(False)

    def forward(self, images_NCHW: Tensor) -> Output:
        """Logits ``(N, classes, H, W)`` and stage maps of pictures in [0, 1] (or uint8).

        Raises:
            UserError: deeplab-v3 is to train on a single picture, whose pooled features have no variance.
        """
        if self.training and len(images_NCHW) == 1 and isinstance(self.head, DeepLabHead):
            raise UserError(
                "train.batch_size: deeplab-v3 normalises pooled features over the batch and cannot train on 1 picture; "
                "use 2 or more, or deeplab-v2"
            )
        features = self.backbone(images_NCHW)
        logits = self.classify(features.stages["layer4"], images_NCHW)
        return Output(features.stages, features.imagenet_logits, logits)

    def classify(self, features_NCHW: Tensor, images_NCHW: Tensor) -> Tensor:
        """Logits ``(N, classes, H, W)`` of pictures whose map of ``layer4`` is given."""
        return F.interpolate(self.head(features_NCHW), size=images_NCHW.shape[-2:], mode="bilinear", align_corners=True)
