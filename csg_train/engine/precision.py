"""Faster arithmetic for training, off by default: bfloat16 networks and compiled backbones.

Only networks change: weights, losses, penalties and the queue stay float32, and so does everything that is measured.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from csg_train.models.backbones import Backbone, Features

__all__ = ["compile_backbone", "in_bfloat16"]


@contextlib.contextmanager
def in_bfloat16(networks: Iterable[nn.Module], device: torch.device) -> Iterator[None]:
    """Within the block these networks compute in bfloat16 where autocast holds it safe, and give float32."""
    networks = list(networks)
    for network in networks:
        network.forward = _lowered(network.forward, device)
    try:
        yield
    finally:
        for network in networks:
            del network.forward


def _lowered(forward: Callable[[Tensor], Any], device: torch.device) -> Callable[[Tensor], Any]:
    def lowered(images_NCHW: Tensor) -> Any:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return _float32(forward(images_NCHW))

    return lowered


def _float32(result: Any) -> Any:
    if isinstance(result, Features):
        once = {id(map_NCHW): map_NCHW.float() for map_NCHW in result.stages.values()}  # a stage may have two names
        stages = {name: once[id(map_NCHW)] for name, map_NCHW in result.stages.items()}
        return dataclasses.replace(result, stages=stages, imagenet_logits=result.imagenet_logits.float())
    return result.float()


def compile_backbone(backbone: Backbone) -> None:
    """``torch.compile`` the backbone's blocks in place; the first step of each takes minutes, later ones less.

    Blocks are the largest modules that no stage lies inside of: stages are read by hooks, which a compiled module would
    pass over.
    """
    for block in _blocks(backbone.net, [backbone.stage(name) for name in backbone.stage_paths]):
        block.forward = torch.compile(block.forward)


def _blocks(module: nn.Module, stages: list[nn.Module]) -> Iterator[nn.Module]:
    for child in module.children():
        inside = {id(part) for part in child.modules() if part is not child}
        if any(id(stage) in inside for stage in stages):
            yield from _blocks(child, stages)
        elif inside:
            yield child
