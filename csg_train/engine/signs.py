"""What a step shows of whether the run lives: two numbers of its output, read when the step is logged."""

import torch
from torch import Tensor

from csg_train.models.network import Output

__all__ = ["SIGNS", "signs_of"]

SIGNS = ("features", "predicted")
_STRIDE = 8  # of the pixels of a segmentation


@torch.no_grad()
def signs_of(output: Output) -> dict[str, Tensor]:
    """Whether any feature of ``layer4`` is not zero, and the class that all are given, or -1; still on the device."""
    logits = output.logits if output.logits.ndim == 2 else output.logits[:, :, ::_STRIDE, ::_STRIDE]
    predicted = logits.argmax(dim=1).flatten()
    one = torch.where((predicted == predicted[0]).all(), predicted[0], -1)
    return {"features": output.stages["layer4"].any(), "predicted": one}
