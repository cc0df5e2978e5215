"""ASG: keep the student's ImageNet predictions near the frozen ImageNet network's."""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from csg_train.data.batch import Batch
from csg_train.methods.base import MethodInfo
from csg_train.methods.teacher import Taught
from csg_train.models.network import Network, Output

__all__ = ["ASG", "imagenet_kl"]


def imagenet_kl(teacher_logits_NC: Tensor, student_logits_NC: Tensor) -> Tensor:
    """``KL(softmax(teacher) || softmax(student))``, mean over the batch, temperature 1 (ASG Eq 2)."""
    return F.kl_div(
        student_logits_NC.log_softmax(dim=1),
        teacher_logits_NC.log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ASGConfig:
    """The default is the paper's for VisDA-17."""

    weight: Annotated[float, Field(ge=0)] = 0.1


class ASG(Taught):
    """Proxy guidance: the student keeps solving ImageNet through the frozen ImageNet classifier.

    The layer-wise learning rates of ASG's hand-tuned variant are the recipe's ``lr_backbone`` and ``lr_head``.
    """

    info = MethodInfo(
        name="asg",
        title="ASG (proxy guidance)",
        summary="Keeps the student's ImageNet predictions near the frozen network's on the same synthetic picture.",
        equation="L = CE + lambda * KL( p_ImageNet(x) || softmax(fc_ImageNet(phi(x))) )",
        source="Chen et al., Automated Synthetic-to-Real Generalization, ICML 2020; hand-tuned learning rates",
    )
    Config = ASGConfig
    config: ASGConfig

    def loss(self, model: Network, batch: Batch, output: Output) -> dict[str, Tensor]:  # noqa: ARG002
        """The weighted divergence."""
        with torch.no_grad():
            logits = self.teacher(batch.views[0]).imagenet_logits
        return {"asg_kl": self.config.weight * imagenet_kl(logits, output.imagenet_logits)}
