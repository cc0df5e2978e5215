"""A checkpoint as one safetensors file: the network's tensors, and as text what is known of them.

What only training needs is not in it: the method's state, the optimiser's, the generator's.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

__all__ = ["portable_bytes", "portable_content"]

_KEY = "csg-train"


def portable_bytes(fields: dict[str, Any], model: dict[str, Tensor]) -> bytes:
    """The file of a checkpoint's plain ``fields`` and the tensors of its network."""
    plain = json.dumps(fields, sort_keys=True, allow_nan=False)
    return save({name: value.contiguous() for name, value in model.items()}, {"format": "pt", _KEY: plain})


def portable_content(path: Path) -> dict[str, Any]:
    """The fields of a file of `portable_bytes`, those of training empty; of another safetensors file its tensors.

    Raises:
        Exception: Of several types, where the file is cut, damaged or foreign.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    tensors = load_file(path)
    if _KEY not in metadata:
        return dict(tensors)
    fields: dict[str, Any] = json.loads(metadata[_KEY])
    return fields | {"model": tensors, "method": {}, "optimizer": {}, "rng": [], "log_bytes": 0}
