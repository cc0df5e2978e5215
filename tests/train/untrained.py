"""Checkpoints of random networks, written without a training: what can be applied, exported and measured."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from csg_train.models.network import TaskNetwork
from csg_train.recipes.network import build_network
from csg_train.recipes.reading import parse_recipe
from csg_train.runs.checkpoint import Checkpoint, save_checkpoint

__all__ = ["write_untrained"]


def _settle(network: TaskNetwork, size: int) -> None:
    """BatchNorm statistics of pictures of three colours, and a last bias with which no class is always the largest."""
    pictures = torch.randint(0, 120, (12, 3, size, size), generator=torch.Generator().manual_seed(1))
    for index, picture in enumerate(pictures):
        picture[index % 3] += 100
    images = pictures.to(torch.uint8)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over the pictures
    with torch.no_grad():
        network.train()(images)
        logits = network.eval()(images).logits
        [*network.head.parameters()][-1].sub_(logits.transpose(0, 1).flatten(1).mean(dim=1))


def write_untrained(path: Path, recipe_dict: dict, classes: Sequence[str]) -> Path:
    """A checkpoint of ``classes`` in this order, with the state of a method and of an average beside."""
    recipe = parse_recipe(dict(recipe_dict), origin="test")
    network = build_network(recipe, classes=len(classes))
    recipe.build_method().rewrite(network.backbone)
    _settle(network, recipe.data.size)
    save_checkpoint(
        path,
        Checkpoint(
            recipe=recipe.as_dict(),
            step=recipe.train.steps,
            classes=list(classes),
            data={"name": "source", "identity": "0" * 64, "count": 12},
            weights="none",
            model=network.state_dict(),
            method={"queue": torch.zeros(3)},
            average={"queue": torch.zeros(3)},
            averaged={"rule": "ema", "decay": 0.9, "first_step": 1, "last_step": 4},
            optimizer={},
            rng=[],
            log_bytes=0,
            versions={"torch": "2"},
        ),
    )
    return path
