"""The two reference rows: plain fine-tuning, and a frozen ImageNet backbone."""

from pydantic.dataclasses import dataclass

from csg_train.methods.base import Method, Setup
from csg_train.methods.config import STRICT
from csg_train.methods.info import MethodInfo
from csg_train.models.network import TaskNetwork

__all__ = ["Baseline", "Oracle"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class NoConfig:
    """No fields: the method has no strength to choose."""


class Baseline(Method):
    """Fine-tune every layer on the synthetic pictures with cross-entropy alone."""

    info = MethodInfo(
        name="baseline",
        title="Baseline (vanilla synthetic)",
        summary="Fine-tunes all layers on the synthetic pictures; nothing keeps the features diverse.",
        equation="L = CE(y, f(x))",
        source="CSG Table 1, row 2",
    )
    Config = NoConfig


class Oracle(Method):
    """Keep the ImageNet backbone as it is and train only the new classifier."""

    info = MethodInfo(
        name="oracle",
        title="Oracle on ImageNet (frozen backbone)",
        summary="Trains only the task head on frozen ImageNet features: what no forgetting at all gives.",
        equation="L = CE(y, head(phi_ImageNet(x))),  phi fixed",
        source="CSG Table 1, row 1",
        cost="less: no backward pass through the backbone",
    )
    Config = NoConfig

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:  # noqa: ARG002
        """Take the backbone out of training."""
        model.backbone.requires_grad_(False)
