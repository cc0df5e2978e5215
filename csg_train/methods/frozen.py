"""Partial freezing: the weights of named stages of the backbone stay as they are (``train.frozen``).

A stage's weights are those after the stage before it, up to the module whose output is its map, in the order of the
network: of a ResNet, ``layer1`` includes the stem. What lies behind the last stage belongs to it. Frozen BatchNorm
keeps its statistics too. Frozen weights are in no group of the optimiser, and in no penalty.
"""

from collections.abc import Sequence

from torch import nn

from csg_train.errors import UserError
from csg_train.models.backbones import Backbone

__all__ = ["freeze", "stage_modules"]


def stage_modules(backbone: Backbone) -> dict[str, list[nn.Module]]:
    """The modules that hold weights or statistics of their own, by stage, in the order of the network."""
    owners = [module for module in backbone.net.modules() if [*module.parameters(False), *module.buffers(False)]]
    order = {id(module): position for position, module in enumerate(backbone.net.modules())}
    ends = {name: order[id([*backbone.stage(name).modules()][-1])] for name in backbone.stage_paths}
    names = sorted(ends, key=lambda name: ends[name])
    stages: dict[str, list[nn.Module]] = {name: [] for name in names}
    for module in owners:
        name = next((name for name in names if order[id(module)] <= ends[name]), names[-1])
        stages[name].append(module)
    return stages


def freeze(backbone: Backbone, stages: Sequence[str]) -> list[nn.Module]:
    """Take the weights of these stages out of training.

    Returns:
        Their modules, which stay in evaluation mode with all that is in them; without one that holds what trains, as a
        network does whose tokens are its own.

    Raises:
        UserError: The backbone has no such stage, or nothing of it would be left to train.
    """
    if not stages:
        return []
    backbone.require_stages(stages, "train.frozen")
    ends = [backbone.stage(name) for name in stages]  # a stage may have more names than one
    own = stage_modules(backbone)
    chosen = [modules for name, modules in own.items() if any(backbone.stage(name) is end for end in ends)]
    if len(chosen) == len(own):
        raise UserError("train.frozen: every stage of the backbone; leave one out, or use method.name: oracle")
    frozen = [module for modules in chosen for module in modules]
    for module in frozen:
        for weight in module.parameters(recurse=False):
            weight.requires_grad_(False)
    trained = {module for modules in own.values() for module in modules}.difference(frozen)
    return [module for module in frozen if trained.isdisjoint(module.modules())]
