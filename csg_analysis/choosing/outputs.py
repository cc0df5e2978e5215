"""What a network makes of pictures, in one pass: features, probabilities and the class that accuracy counts.

Shape suffixes: N pictures, D features, C classes, V views.
"""

from dataclasses import dataclass

import numpy as np
import torch

from csg_analysis.features.pooled import Copies
from csg_train.data.readers.images import ImageSet
from csg_train.devices import full_float32
from csg_train.evaluate.accuracy import mean_scores
from csg_train.models.network import TaskNetwork
from csg_train.recipes.sections import Recipe
from csg_train.recipes.shown import shown_batches

__all__ = ["Outputs", "network_outputs"]


@dataclass(frozen=True)
class Outputs:
    """Of N pictures, in the order of their files. Labels are not among them, and none were read.

    Attributes:
        features_ND: Average of a stage over its positions, float32, not normalised; of the picture itself.
        probabilities_NC: Softmax of the logits, float64, mean over the picture and, with ``evaluate.flip``, its mirror
            image; not calibrated.
        predicted_N: Class of the largest mean sigmoid, int64, as `evaluate.accuracy` predicts.
    """

    features_ND: np.ndarray
    probabilities_NC: np.ndarray
    predicted_N: np.ndarray


@torch.no_grad()
@full_float32()
def network_outputs(network: TaskNetwork, images: ImageSet, recipe: Recipe, *, layer: str) -> Outputs:
    """Show every picture once, as the recipe measures.

    Args:
        network: In evaluation mode.
        images: The pictures.
        recipe: Says how they are shown, and whether mirrored too.
        layer: Stage of the features.

    Raises:
        UserError: No such stage, or a picture cannot be read.
    """
    network.backbone.require_stages([layer], "--layer")
    device = next(network.parameters()).device
    found: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    copies = Copies()
    for batch in shown_batches(images, recipe, device):
        views = batch.views[0].to(device, non_blocking=True)
        output = network(views)
        copies.see(batch.views[0])
        mirrored = [network(views.flip(-1)).logits] if recipe.evaluate.flip else []
        logits_VNC = torch.stack([output.logits, *mirrored])
        features_ND = output.stages[layer].mean(dim=(2, 3)).float()
        shares_NC = logits_VNC.double().softmax(dim=2).mean(dim=0)
        found.append((features_ND, shares_NC, mean_scores(logits_VNC).argmax(dim=1)))
    outputs = Outputs(*(torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True)))
    copies.unify(outputs.features_ND)
    return outputs
