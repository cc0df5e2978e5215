"""What methods with a frozen ImageNet teacher share."""

import copy

from csg_train.methods.base import Method, Setup
from csg_train.models.backbones import Backbone
from csg_train.models.network import TaskNetwork

__all__ = ["Taught"]


class Taught(Method):
    """Holds a frozen copy of the starting backbone: rebuilt at a restart, not stored in every checkpoint."""

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:  # noqa: ARG002
        """Copy the ImageNet backbone as teacher."""
        self._teacher = (copy.deepcopy(model.backbone).requires_grad_(False).eval(),)

    @property
    def teacher(self) -> Backbone:
        """The frozen network, in evaluation mode."""
        return self._teacher[0]
