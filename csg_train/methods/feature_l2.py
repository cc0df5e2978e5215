"""Feature-l2: keep the student's feature maps near the frozen ImageNet network's."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from csg_train.data.loaders.batch import Batch
from csg_train.methods.base import Setup
from csg_train.methods.config import STRICT
from csg_train.methods.info import MethodInfo
from csg_train.methods.teacher import Taught
from csg_train.models.network import Output, TaskNetwork

__all__ = ["FeatureL2"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FeatureL2Config:
    """Strength and layers; neither was found published."""

    weight: Annotated[float, Field(ge=0)] = 1.0
    layers: Annotated[tuple[str, ...], Field(min_length=1)] = ("layer4",)


class FeatureL2(Taught):
    """Feature distillation at every position, on the synthetic picture itself."""

    info = MethodInfo(
        name="feature-l2",
        title="Feature l2 distance",
        summary="Keeps the student's feature maps near the frozen ImageNet network's on the same synthetic picture.",
        equation="L = CE + lambda * sum_l mean_chw (v_l(x) - v~_l(x))^2",
        source="Chen et al., ROAD, CVPR 2018",
        deviation="on synthetic instead of real pictures, as ASG and CSG compare; layer, mean and strength are ours",
        cost="a forward pass of the teacher, without gradient",
    )
    Config = FeatureL2Config
    config: FeatureL2Config

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:
        """Copy the teacher; check the layers' names."""
        super().prepare(model, setup)
        model.backbone.require_stages(self.config.layers, "method.layers")

    def loss(self, model: TaskNetwork, batch: Batch, output: Output) -> dict[str, Tensor]:  # noqa: ARG002
        """The mean squared difference of each layer's maps."""
        with torch.no_grad():
            stages = self.teacher(batch.views[0]).stages
        return {
            f"feature_l2_{name}": self.config.weight * F.mse_loss(output.stages[name], stages[name])
            for name in self.config.layers
        }
