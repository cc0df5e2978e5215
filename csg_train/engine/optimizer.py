"""The optimiser: SGD of either kind, or AdamW, over named parameter groups, one for each part of the backbone."""

from collections.abc import Callable
from typing import Any

from torch import nn, optim

from csg_train.engine.caffe_sgd import CaffeSGD
from csg_train.models.network import TaskNetwork, layer_groups
from csg_train.recipes.sections import Train

__all__ = ["build_optimizer"]


def build_optimizer(network: TaskNetwork, method: nn.Module, train: Train) -> optim.Optimizer:
    """The recipe's, with one group for each of `layer_groups`, then ``head``: the task head and the method's own heads.

    Every group has a ``name`` and a ``base_lr``, on which the schedule's factor acts. On a GPU all kinds update a
    group at once, torch's own choice for its optimisers, and on a CPU a weight at a time. Not with ``fused=True``:
    it wants gradients of all weights of a group or of none, and checkpoints would hold it.
    """
    heads = [weight for weight in (*network.head.parameters(), *method.parameters()) if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"name": name, "params": weights, "base_lr": train.lr_backbone}
        for name, weights in layer_groups(network).items()
    ]
    groups.append({"name": "head", "params": heads, "base_lr": train.lr_head})
    if train.optimizer == "adamw":
        return optim.AdamW(groups, lr=train.lr_head, betas=(train.momentum, 0.999), weight_decay=train.weight_decay)
    kind: Callable[..., optim.Optimizer] = {"torch": optim.SGD, "caffe": CaffeSGD}[train.sgd]
    return kind(groups, lr=train.lr_head, momentum=train.momentum, weight_decay=train.weight_decay)
