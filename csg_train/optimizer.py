"""The optimiser: SGD of either kind over named parameter groups, one for each part of the backbone."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn, optim

from csg_train.caffe_sgd import CaffeSGD
from csg_train.models.network import TaskNetwork

if TYPE_CHECKING:
    from csg_train.recipe import Train

__all__ = ["build_optimizer", "layer_groups"]


def layer_groups(network: TaskNetwork) -> dict[str, list[nn.Parameter]]:
    """The backbone's trained weights by top-level module, in its order (torchvision: conv1, bn1, layer1 to layer4)."""
    groups: dict[str, list[nn.Parameter]] = {}
    for name, weight in network.backbone.net.named_parameters():
        if weight.requires_grad:
            groups.setdefault(name.split(".", 1)[0], []).append(weight)
    return groups


def build_optimizer(network: TaskNetwork, method: nn.Module, train: "Train") -> optim.Optimizer:
    """SGD with one group for each of `layer_groups`, then ``head``: the task head and the method's own heads.

    Every group has a ``name`` and a ``base_lr``, on which the schedule's factor acts.
    """
    heads = [weight for weight in (*network.head.parameters(), *method.parameters()) if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"name": name, "params": weights, "base_lr": train.lr_backbone}
        for name, weights in layer_groups(network).items()
    ]
    groups.append({"name": "head", "params": heads, "base_lr": train.lr_head})
    kind: Callable[..., optim.Optimizer] = {"torch": optim.SGD, "caffe": CaffeSGD}[train.sgd]
    return kind(groups, lr=train.lr_head, momentum=train.momentum, weight_decay=train.weight_decay)
