"""What is exported: a trained network, and all that is said of it in every format."""

import hashlib
import importlib.metadata
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from csg_train.models.network import TaskNetwork
from csg_train.models.timm_models import own_timm_name
from csg_train.recipes.reading import to_yaml
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import Checkpoint

__all__ = ["Logits", "Subject"]


@dataclass(frozen=True)
class Subject:
    """A checkpoint, opened to be exported.

    Attributes:
        checkpoint: Where it comes from.
        recipe: The checkpoint's, perhaps changed: says how pictures are shown.
        network: On the CPU, in evaluation mode.
    """

    checkpoint: Checkpoint
    recipe: Recipe
    network: TaskNetwork

    @property
    def masked(self) -> bool:
        """Whether every pixel has a class."""
        return self.recipe.segmentation is not None

    @property
    def classes(self) -> list[str]:
        """Class names in index order."""
        return self.checkpoint.classes

    @property
    def architecture(self) -> str:
        """The backbone's name in its library."""
        return own_timm_name(self.recipe.model.backbone).partition(".")[0]

    @property
    def mean(self) -> list[float]:
        """Of the normalisation, as the network applies it to pictures in [0, 1]."""
        return [round(value, 6) for value in self.network.backbone.mean.flatten().tolist()]

    @property
    def std(self) -> list[float]:
        """Likewise."""
        return [round(value, 6) for value in self.network.backbone.std.flatten().tolist()]

    @property
    def described(self) -> dict[str, Any]:
        """What ``config.json`` says, under timm's names where it has one, and ``csg_toolkit`` for the rest."""
        data, checkpoint = self.recipe.data, self.checkpoint
        shown = {"size": data.size, "fit": data.fit} if not self.masked else {"size": None, "fit": "whole"}
        return {
            "architecture": self.architecture,
            "num_classes": len(self.classes),
            "label_names": self.classes,
            "mean": self.mean,
            "std": self.std,
            "csg_toolkit": shown
            | {
                "version": importlib.metadata.version("csg-toolkit"),
                "checkpoint_sha256": checkpoint.sha256,
                "recipe_sha256": hashlib.sha256(to_yaml(checkpoint.resolved_recipe()).encode()).hexdigest(),
                "method": checkpoint.recipe["method"]["name"],
                "source": checkpoint.data,
                "selection": checkpoint.selection,
                "step": checkpoint.step,
            },
        }


class Logits(nn.Module):
    """The network as it is served: float pictures ``(N, 3, H, W)`` in [0, 1] in, logits out, normalisation inside."""

    def __init__(self, network: TaskNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, C)``, of a segmentation ``(N, C, H, W)``."""
        logits: Tensor = self.network(images).logits
        return logits
