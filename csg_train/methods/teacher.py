"""What methods with a frozen ImageNet teacher share."""

import copy

import torch.nn.functional as F
from torch import Tensor

from csg_train.methods.base import Method, Setup
from csg_train.models.backbones import Backbone
from csg_train.models.network import TaskNetwork

__all__ = ["Taught", "imagenet_kl"]


class Taught(Method):
    """Holds a frozen copy of the starting backbone: rebuilt at a restart, not stored in every checkpoint."""

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:  # noqa: ARG002
        """Copy the ImageNet backbone as teacher."""
        self._teacher = (copy.deepcopy(model.backbone).requires_grad_(False).eval(),)

    @property
    def teacher(self) -> Backbone:
        """The frozen network, in evaluation mode."""
        return self._teacher[0]


def imagenet_kl(teacher_logits_NC: Tensor, student_logits_NC: Tensor) -> Tensor:
    """``KL(softmax(teacher) || softmax(student))``, mean over the batch, temperature 1 (ASG's proxy guidance)."""
    return F.kl_div(
        student_logits_NC.log_softmax(dim=1),
        teacher_logits_NC.log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )
