"""GCISG's guidance: attention-pooled features keep the direction that the frozen network's have.

For each stage l, with student maps f_l and frozen ImageNet maps f0_l of the same view, each pooled by its own
attention::

    L = CE + lambda * sum_l | unit(apool(f_l)) - unit(apool(f0_l)) |

The norm is that of the whole batch, ``sqrt(sum_n (2 - 2 cos_n))``, as in the released code: it grows with the square
root of the batch. Several processes sum under the root, so theirs is the norm of the global batch.

Nam, Choi, Lee: GCISG: Guided Causal Invariant Learning for Improved Syn-to-Real Generalization, ECCV 2022. Deviation:
the guidance alone. The paper's second term, causal invariance between two views with a momentum network, is left out:
CSG has a contrast of its own, and the released code never moves that network's projection.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from csg_train.data.loaders.batch import Batch
from csg_train.distributed import mean_over_processes, process_count
from csg_train.methods.base import Setup
from csg_train.methods.config import STRICT
from csg_train.methods.contrastive import attention, attention_pool
from csg_train.methods.info import MethodInfo
from csg_train.methods.teacher import Taught
from csg_train.models.network import Output, TaskNetwork

__all__ = ["GCISG", "GCISGConfig", "guidance"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GCISGConfig:
    """The defaults are the paper's."""

    weight: Annotated[float, Field(ge=0)] = 1.0
    """lambda, for each layer."""
    layers: Annotated[tuple[str, ...], Field(min_length=1)] = ("layer3", "layer4")


def _pooled(features_NCHW: Tensor) -> Tensor:
    return F.normalize(attention_pool(features_NCHW, attention(features_NCHW)), dim=1)


def guidance(features_NCHW: Tensor, teacher_NCHW: Tensor) -> Tensor:
    """Norm over the global batch of the difference of unit vectors: ``sqrt(sum_n (2 - 2 cos_n))``, in [0, 2 sqrt(N)].

    Of several processes each returns a term whose mean over the processes, and whose gradient's, is that of the norm.
    Equal features have the gradient zero.
    """
    squared = (_pooled(features_NCHW) - _pooled(teacher_NCHW)).square().sum()
    count = process_count()
    norm = (mean_over_processes(squared.detach()) * count).sqrt()
    return (count * squared / torch.where(norm > 0, norm, 1) + norm) / 2  # a weight times 1 / tiny would overflow


class GCISG(Taught):
    """Guidance by the ImageNet network's pooled features, without a queue or a second view."""

    info = MethodInfo(
        name="gcisg",
        title="GCISG guidance",
        summary="Keeps the direction of attention-pooled features near the frozen network's on the same picture.",
        equation="L = CE + lambda * sum_l | unit(apool(f_l)) - unit(apool(f0_l)) |   (norm over the batch)",
        source="Nam et al., ECCV 2022, the guidance",
        deviation="without its causal invariance term (two views, a momentum network)",
        cost="a forward pass of the teacher, without gradient",
    )
    Config = GCISGConfig
    config: GCISGConfig
    paper_augment = "randaugment"

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:
        """Copy the teacher; check the layers' names."""
        super().prepare(model, setup)
        model.backbone.require_stages(self.config.layers, "method.layers")

    def loss(self, model: TaskNetwork, batch: Batch, output: Output) -> dict[str, Tensor]:  # noqa: ARG002
        """The weighted guidance of each layer."""
        with torch.no_grad():
            stages = self.teacher(batch.views[0]).stages
        return {
            f"guidance_{name}": self.config.weight * guidance(output.stages[name], stages[name])
            for name in self.config.layers
        }
