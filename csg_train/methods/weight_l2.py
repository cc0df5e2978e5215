"""Weight-l2: the plain distance to the ImageNet weights (L2-SP)."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from csg_train.methods.anchored import Anchored
from csg_train.methods.config import STRICT
from csg_train.methods.info import MethodInfo

__all__ = ["WeightL2"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class WeightL2Config:
    """No value was found published; choose it on held-out synthetic pictures."""

    weight: Annotated[float, Field(ge=0)] = 0.01
    """c of the penalty."""
    update: Literal["proximal", "gradient"] = "proximal"
    """``proximal``: after each step of the optimiser an exact step of the penalty alone, stable for every strength.
    ``gradient``: a term of the loss, which ends in infinity where strength and learning rate are high."""


class WeightL2(Anchored):
    """Every weight is equally important (L2-SP)."""

    info = MethodInfo(
        name="weight-l2",
        title="Weight l2 distance",
        summary="Pulls every backbone weight towards its ImageNet value with equal force.",
        equation="L = CE + c * sum_k (w_k - w*_k)^2",
        source="CSG Table 1, row 3 (which cites EWC), read as the plain distance, without Fisher information",
        deviation="an exact proximal step after the optimiser's (update)",
        cost="two copies of the weights",
    )
    Config = WeightL2Config
    config: WeightL2Config

    @property
    def strength(self) -> float:
        """The penalty's c."""
        return self.config.weight

    def importance(self, weights_K: Tensor) -> Tensor:
        """1 for each weight."""
        return weights_K.new_ones(1).expand_as(weights_K)
