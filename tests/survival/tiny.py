"""A run that trains in a fraction of a second: a backbone of five small convolutions, drawings of 16 x 16 pixels."""

from collections import OrderedDict
from pathlib import Path

import torch
import yaml
from torch import nn

from csg_train.models.backbones import BACKBONES, BackboneSpec
from tests.conftest import write_tree

WIDTHS = (4, 4, 8, 8)


def build(_output_stride: int = 32) -> nn.Module:
    """Stages of stride 4, 4, 8 and 8, and a classifier of ten classes in ImageNet's place."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=nn.Conv2d(3, 4, 3, stride=4, padding=1))
    for number, (before, width) in enumerate(zip((4, *WIDTHS), WIDTHS, strict=False), start=1):
        conv = nn.Conv2d(before, width, 3, stride=2 if number == 3 else 1, padding=1, bias=False)
        layers[f"layer{number}"] = nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(WIDTHS[-1], 10)}
    return nn.Sequential(layers)


SPEC = BackboneSpec(
    build=build,
    imagenet=lambda: (build().state_dict(), "none"),
    stages={f"layer{number}": (f"layer{number}", width) for number, width in enumerate(WIDTHS, start=1)},
    classifiers=("fc",),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


def register() -> None:
    """Make ``model.backbone: tiny`` known to this process."""
    BACKBONES["tiny"] = SPEC


def write_recipe(folder: Path, *, steps: int = 12) -> Path:
    """Pictures, starting weights and ``tiny.yaml`` in a folder; a checkpoint is written after every step."""
    for number, split in enumerate(("source", "target"), start=1):
        write_tree(folder / split, side=16, seed=number)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        torch.save(build().state_dict(), folder / "tiny.pt")
    recipe = {
        "name": "tiny",
        "data": {
            "source": {"dataset": "folder", "root": str(folder / "source")},
            "validation": {"dataset": "holdout", "fraction": 0.3},
            "target": {"dataset": "folder", "root": str(folder / "target")},
            "size": 16,
        },
        "model": {"backbone": "tiny", "weights": str(folder / "tiny.pt"), "hidden": 4},
        "method": {"name": "baseline"},
        "train": {
            "steps": steps,
            "batch_size": 4,
            "lr_head": 0.01,
            "lr_backbone": 0.001,
            "warmup": 2,
            "log_every": 2,
            "save_every": 1,
        },
        "evaluate": {"select": "source-val", "select_every": 3},
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path
