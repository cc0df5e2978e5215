"""A program of ``torch.export``: the graph and its weights, which run without this toolkit, timm and torchvision."""

import contextlib
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor
from torch.export import Dim, ExportedProgram

from csg_train.errors import UserError
from csg_train.exports.subject import Logits, Subject
from csg_train.files import atomic_write

__all__ = ["load", "traced", "usage", "write"]

_FILE = "model.pt2"
_LEAST = 32
"""Pixels of a side that may be any."""


def traced(subject: Subject, pictures: list[Tensor]) -> tuple[ExportedProgram, list[int | None]]:
    """The network as a graph for any number of pictures, and the rows and columns that it takes, None for any.

    A classification takes the recipe's size. A segmentation takes any, unless the network's padding or its grid of
    tokens rests on the size: then that of the first of ``pictures``.

    Raises:
        UserError: The network cannot be traced.
    """
    batch: dict[int, Any] = {0: Dim("batch")}
    # TensorFlow's padding, of timm's tf_ names, is arithmetic of the size that no saved graph can hold
    padded = any(isinstance(module, Conv2dSame) for module in subject.network.modules())
    if subject.masked and not padded:
        free = batch | {2: Dim("height", min=_LEAST), 3: Dim("width", min=_LEAST)}
        with contextlib.suppress(Exception):  # of many types, where the graph rests on the size
            return _program(subject, torch.rand(2, 3, 2 * _LEAST, 3 * _LEAST), free), [None, None]
    rows, columns = pictures[0].shape[1:]
    try:
        return _program(subject, torch.rand(2, 3, rows, columns), batch), [rows, columns]
    except Exception as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise UserError(
            f"{subject.checkpoint.path}: torch.export cannot trace it ({reason}); use safetensors"
        ) from error


def _program(subject: Subject, images: Tensor, shapes: dict[int, Any]) -> ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries' own making
        return torch.export.export(Logits(subject.network), (images,), dynamic_shapes={"images": shapes})


def write(subject: Subject, folder: Path, pictures: list[Tensor]) -> dict[str, Any]:
    """Write the file; returns what ``config.json`` says beside, and the file itself in ``config.json``."""
    program, size = traced(subject, pictures)
    content = io.BytesIO()  # torch's own writing to a file ends the process where the disk is full
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = json.dumps(subject.described | {"input_HW": size})
        torch.export.save(program, content, extra_files={"config.json": config})
    atomic_write(folder / _FILE, lambda stream: stream.write(content.getbuffer()))
    return {"input_HW": size}


def load(_subject: Subject, folder: Path) -> Callable[[Tensor], Tensor]:
    """From pictures to logits, as `usage` says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: Callable[[Tensor], Tensor] = torch.export.load(folder / _FILE).module()
    return module


def usage(_subject: Subject) -> list[str]:
    """Lines of Python that define ``logits``, run in the folder."""
    return [
        "import torch",
        "",
        f'logits = torch.export.load("{_FILE}").module()  # (N, 3, H, W), RGB in [0, 1]; normalises inside',
    ]
