"""ONNX: one file with weights, normalisation and class names, for onnxruntime and what else reads it."""

import importlib.util
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from csg_train.errors import UserError
from csg_train.exports.subject import Subject
from csg_train.exports.to_torch_export import traced

__all__ = ["load", "usage", "write"]

_FILE = "model.onnx"
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def write(subject: Subject, folder: Path, pictures: list[Tensor]) -> dict[str, Any]:
    """Write the file, and have onnx check it; returns what ``config.json`` says beside.

    Raises:
        UserError: A package is missing, or the network cannot be traced.
    """
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise UserError(f"--format onnx: {', '.join(missing)} not installed; run: pip install 'csg-toolkit[export]'")
    import onnx

    program, size = traced(subject, pictures)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries' own making
        made = torch.onnx.export(
            program, dynamo=True, input_names=["images"], output_names=["logits"], verbose=False, external_data=False
        )
        assert made is not None
        model = made.model_proto
    sides = [(0, "batch")] if size[0] is not None else [(0, "batch"), (2, "height"), (3, "width")]
    for value in (*model.graph.input, *model.graph.output):
        for axis, side in sides[: len(value.type.tensor_type.shape.dim)]:
            value.type.tensor_type.shape.dim[axis].dim_param = side
    onnx.helper.set_model_props(
        model, {"names": json.dumps(subject.classes), "config": json.dumps(subject.described | {"input_HW": size})}
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, folder / _FILE)
    return {"input_HW": size}


def load(_subject: Subject, folder: Path) -> Callable[[Tensor], Tensor]:
    """From pictures to logits by onnxruntime, as `usage` says."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / _FILE, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def usage(_subject: Subject) -> list[str]:
    """Lines of Python that define ``logits``, run in the folder."""
    return [
        "import json, onnxruntime",
        "",
        f'session = onnxruntime.InferenceSession("{_FILE}", providers=["CPUExecutionProvider"])',
        'names = json.loads(session.get_modelmeta().custom_metadata_map["names"])',
        "",
        "def logits(images):  # float32 array (N, 3, H, W), RGB in [0, 1]; the graph normalises them",
        '    return session.run(["logits"], {"images": images})[0]',
    ]
