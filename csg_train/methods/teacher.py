"""What methods with a frozen ImageNet teacher share."""

import copy
from collections.abc import Iterable

from csg_train.errors import UserError
from csg_train.methods.base import Method, Setup
from csg_train.models.backbones import Backbone
from csg_train.models.network import Network

__all__ = ["Taught", "check_layers"]


def check_layers(layers: Iterable[str], backbone: Backbone) -> None:
    """Refuse stages that the backbone does not have."""
    if unknown := sorted(set(layers) - set(backbone.widths)):
        raise UserError(f"method.layers: {unknown} not in this backbone; allowed: {', '.join(backbone.widths)}")


class Taught(Method):
    """Holds a frozen copy of the starting backbone: rebuilt at a restart, not stored in every checkpoint."""

    def prepare(self, model: Network, setup: Setup) -> None:  # noqa: ARG002
        """Copy the ImageNet backbone as teacher."""
        self._teacher = (copy.deepcopy(model.backbone).requires_grad_(False).eval(),)

    @property
    def teacher(self) -> Backbone:
        """The frozen network, in evaluation mode."""
        return self._teacher[0]
