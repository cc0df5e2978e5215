"""IBN-Net: the baseline's training on a backbone that mixes InstanceNorm into BatchNorm."""

from typing import Literal

from pydantic.dataclasses import dataclass

from csg_train.methods.base import Method
from csg_train.methods.config import STRICT
from csg_train.methods.info import MethodInfo
from csg_train.models.backbones import Backbone
from csg_train.models.ibn import rewrite_ibn

__all__ = ["IBNNet", "IBNNetConfig"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class IBNNetConfig:
    """Which variant, and which weights it starts from."""

    variant: Literal["a", "b"] = "a"
    start: Literal["plain", "released"] = "plain"
    """``plain``: the recipe's weights are those of the unchanged network and are mapped. ``released``: they were
    trained with InstanceNorm (``csg-train import --kind ibn-net``), as the published rows'."""


class IBNNet(Method):
    """Appearance is normalised away picture by picture in the early layers; nothing is added to the loss."""

    info = MethodInfo(
        name="ibn-net",
        title="IBN-Net",
        summary="Fine-tunes a backbone whose early layers carry InstanceNorm beside BatchNorm.",
        equation="L = CE(y, f_IBN(x));  first half of the channels IN, second half BN (variant a)",
        source="Pan et al., Two at Once, ECCV 2018",
        deviation="InstanceNorm is put into weights trained without it (start: plain); the published rows begin from "
        "weights trained with it (start: released); variant a of an EfficientNet is ours",
        cost="InstanceNorm beside BatchNorm in the early layers",
    )
    Config = IBNNetConfig
    config: IBNNetConfig

    @property
    def rewrite_first(self) -> bool:
        """Released weights fit the rewritten backbone only."""
        return self.config.start == "released"

    def rewrite(self, backbone: Backbone) -> None:
        """Put InstanceNorm in, mapping the weights that are there."""
        rewrite_ibn(backbone.net, self.config.variant)
