"""One safetensors file that this toolkit opens again like a checkpoint, and others by the names of its tensors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from csg_train.errors import UserError
from csg_train.exports.head import MODEL
from csg_train.exports.subject import Logits, Subject
from csg_train.runs.checkpoint import load_checkpoint, save_portable

__all__ = ["load", "usage", "write"]


def write(subject: Subject, folder: Path, _pictures: list[Tensor]) -> dict[str, Any]:
    """Write the file; ``config.json`` says nothing otherwise.

    Raises:
        UserError: Pictures are to be shown otherwise than the recipe says that is in the file.
    """
    own, asked = subject.checkpoint.resolved_recipe().data, subject.recipe.data
    for field in ("size", "fit", "shorter_side"):
        if getattr(own, field) != getattr(asked, field):
            raise UserError(
                f"--set data.{field}: a safetensors file keeps the checkpoint's recipe; set it where the file is used "
                f"(csg-train predict --set data.{field}={getattr(asked, field)})"
            )
    save_portable(folder / MODEL, subject.checkpoint)
    return {}


def load(_subject: Subject, folder: Path) -> Callable[[Tensor], Tensor]:
    """From pictures to logits, as `usage` says."""
    return Logits(load_checkpoint(folder / MODEL).build_network(torch.device("cpu")))


def usage(_subject: Subject) -> list[str]:
    """Lines of Python that define ``logits``, run in the folder."""
    return [
        "from csg_train import load_network",
        "",
        f'network = load_network("{MODEL}", device="cpu")',
        "",
        "def logits(images):  # (N, 3, H, W), RGB in [0, 1]; the network normalises them",
        "    return network(images).logits",
    ]
