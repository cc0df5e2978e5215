"""The classifier that is trained: a backbone and the paper's two-layer task head."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from csg_train.models.backbones import BACKBONES, Backbone, Features
from csg_train.seeds import seed_for

__all__ = ["Network", "Output"]


@dataclass(frozen=True)
class Output(Features):
    """Features of a batch and the task head's logits, ``(N, classes)``."""

    logits: Tensor


class Network(nn.Module):
    """Backbone, global average pooling of ``layer4``, Linear, ReLU, Linear (CSG section 4.1).

    Args:
        backbone: Name in `BACKBONES`.
        classes: Number of classes.
        hidden: Width of the head's hidden layer.
        seed: The run's seed; the head's start depends on it and on nothing else.
    """

    def __init__(self, backbone: str, *, classes: int, hidden: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(seed, "backbone"))
            self.backbone = Backbone(BACKBONES[backbone])
            torch.manual_seed(seed_for(seed, "head"))
            self.head = nn.Sequential(
                nn.Linear(self.backbone.widths["layer4"], hidden), nn.ReLU(), nn.Linear(hidden, classes)
            )

    def forward(self, images_NCHW: Tensor) -> Output:
        """Logits and stage maps of pictures in [0, 1] (or uint8)."""
        features = self.backbone(images_NCHW)
        logits = self.head(features.stages["layer4"].mean(dim=(2, 3)))
        return Output(features.stages, features.imagenet_logits, logits)

    def set_training(self, *, batch_norm: str) -> None:
        """Training mode; ``batch_norm="frozen"`` keeps the statistics of every BatchNorm as they are."""
        self.train()
        if batch_norm == "frozen":
            self.backbone.eval()
