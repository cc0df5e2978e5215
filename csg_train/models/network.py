"""The networks that are trained: a backbone and a task head. Here the paper's classifier."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from csg_train.models.backbones import Backbone, Features, backbone_spec
from csg_train.seeds import seed_for, seeded

__all__ = ["Network", "Output", "TaskNetwork", "layer_groups"]


@dataclass(frozen=True)
class Output(Features):
    """Features of a batch and the task head's logits: ``(N, classes)``, of a segmentation ``(N, classes, H, W)``."""

    logits: Tensor


class TaskNetwork(nn.Module):
    """What the loop trains and a method sees: a backbone and a task head, called with pictures, giving an `Output`.

    Args:
        backbone: Name of a backbone, see `backbone_spec`.
        head: Makes the head, given the width of ``layer4``.
        seed: The run's seed; the start of backbone and head depends on it and on nothing else.
        output_stride: Of the backbone; None as published.
    """

    def __init__(
        self, backbone: str, *, head: Callable[[int], nn.Module], seed: int, output_stride: int | None = None
    ) -> None:
        super().__init__()
        spec = backbone_spec(backbone)
        with seeded(seed_for(seed, "backbone")):
            self.backbone = Backbone(spec, output_stride=output_stride)
        with seeded(seed_for(seed, "head")):
            self.head = head(self.backbone.widths["layer4"])

    def set_training(self, *, batch_norm: str) -> None:
        """Training mode; ``batch_norm="frozen"`` keeps the statistics of the backbone's BatchNorm as they are.

        Each step asks for it, and hundreds of modules take a millisecond: it is done where the mode of the whole or of
        the backbone is another.
        """
        moving = batch_norm != "frozen"
        if not self.training or self.backbone.training != moving:
            self.train()
            self.backbone.train(moving)


class Network(TaskNetwork):
    """Backbone, global average pooling of ``layer4``, Linear, ReLU, Linear (CSG's code); or one Linear.

    Args:
        backbone: Name of a backbone, see `backbone_spec`.
        classes: Number of classes.
        hidden: Width of the head's hidden layer; 0 for a head without one, as the libraries' own.
        seed: The run's seed; the head's start depends on it and on nothing else.
    """

    def __init__(self, backbone: str, *, classes: int, hidden: int, seed: int) -> None:
        def head(width: int) -> nn.Module:
            if not hidden:
                return nn.Sequential(nn.Linear(width, classes))
            return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes))

        super().__init__(backbone, head=head, seed=seed)

    def forward(self, images_NCHW: Tensor) -> Output:
        """Logits and stage maps of pictures in [0, 1] (or uint8)."""
        features = self.backbone(images_NCHW)
        logits = self.head(features.stages["layer4"].mean(dim=(2, 3)))
        return Output(features.stages, features.imagenet_logits, logits)


def layer_groups(network: TaskNetwork) -> dict[str, list[nn.Parameter]]:
    """The backbone's trained weights by top-level module, in its order (torchvision: conv1, bn1, layer1 to layer4)."""
    groups: dict[str, list[nn.Parameter]] = {}
    for name, weight in network.backbone.net.named_parameters():
        if weight.requires_grad:
            groups.setdefault(name.split(".", 1)[0], []).append(weight)
    return groups
