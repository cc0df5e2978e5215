"""What a step shows of whether the run lives: two numbers of its output, read when the step is logged."""

from collections.abc import Sequence

import torch
from torch import Tensor

from csg_train.distributed import gathered, process_count
from csg_train.models.network import Output

__all__ = ["SIGNS", "share_signs", "signs_of"]

SIGNS = ("features", "predicted")
_STRIDE = 8  # of the pixels of a segmentation


@torch.no_grad()
def signs_of(output: Output) -> dict[str, Tensor]:
    """Whether any feature of ``layer4`` is not zero, and the class that all are given, or -1; still on the device."""
    logits = output.logits if output.logits.ndim == 2 else output.logits[:, :, ::_STRIDE, ::_STRIDE]
    predicted = logits.argmax(dim=1).flatten()
    one = torch.where((predicted == predicted[0]).all(), predicted[0], -1)
    return {"features": output.stages["layer4"].any(), "predicted": one}


def share_signs(rows: Sequence[dict[str, Tensor | float]]) -> None:
    """Make the signs of each step those of all processes' pictures; in every process, of as many steps."""
    rows = [row for row in rows if "predicted" in row]
    if process_count() == 1 or not rows:
        return
    own_SC = torch.stack([torch.stack([torch.as_tensor(row[name]).double() for name in SIGNS]) for row in rows])
    features_PS, predicted_PS = gathered(own_SC).view(process_count(), *own_SC.shape).unbind(2)
    alike_S = (predicted_PS == predicted_PS[0]).all(dim=0)
    found = features_PS.amax(dim=0), torch.where(alike_S, predicted_PS[0], -1)
    for row, *signs in zip(rows, *found, strict=True):
        row |= dict(zip(SIGNS, signs, strict=True))
