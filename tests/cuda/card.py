"""The device of these tests, and a run on it."""

import os
from pathlib import Path

import torch

from csg_train.engine import loop as engine
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import Checkpoint, load_checkpoint

__all__ = ["CARD", "ON_CARD", "train"]

CARD = torch.device(os.environ.get("CUDA_TESTS_ON", "cuda"))
ON_CARD = CARD.type == "cuda"
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read once a process, which has runs of both kinds


def train(recipe: Recipe, out: Path, *, resume: bool = False) -> Checkpoint:
    """Train on the card; what the last step left."""
    engine.train(recipe, out, device=CARD, resume=resume)
    return load_checkpoint(out / "ckpt.pt")
