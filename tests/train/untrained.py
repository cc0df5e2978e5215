"""Checkpoints of random networks, written without a training: what can be applied, exported and measured."""

from collections.abc import Sequence
from pathlib import Path

import torch

from csg_train.recipes.network import build_network
from csg_train.recipes.reading import parse_recipe
from csg_train.runs.checkpoint import Checkpoint, save_checkpoint

__all__ = ["write_untrained"]


def write_untrained(path: Path, recipe_dict: dict, classes: Sequence[str]) -> Path:
    """A checkpoint of ``classes`` in this order, with BatchNorm statistics of its own and a method's state beside."""
    recipe = parse_recipe(dict(recipe_dict), origin="test")
    network = build_network(recipe, classes=len(classes))
    recipe.build_method().rewrite(network.backbone)
    generator = torch.Generator().manual_seed(1)
    for name, value in network.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif name.startswith("head.") and value.ndim > 1:  # several classes are predicted
            value.copy_(torch.randn(value.shape, generator=generator))
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
            optimizer={},
            rng=[],
            log_bytes=0,
            versions={"torch": "2"},
        ),
    )
    return path
