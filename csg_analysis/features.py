"""Features of a checkpoint: one vector a picture, from a named layer, pooled by a named rule."""

from typing import Literal

import numpy as np
import torch

from csg_train.data.images import ImageSet
from csg_train.data.loader import evaluation_batches
from csg_train.methods.contrastive import attention, attention_pool
from csg_train.models.network import Network
from csg_train.recipe import Recipe

__all__ = ["Pool", "extract"]

Pool = Literal["average", "attention"]


@torch.no_grad()
def extract(
    network: Network, images: ImageSet, recipe: Recipe, *, layer: str = "layer4", pool: Pool = "average"
) -> np.ndarray:
    """Pooled features of every picture, in the order of ``images.files``.

    Args:
        network: In evaluation mode; its own normalisation is applied inside.
        images: The pictures; shown centrally, without augmentation.
        recipe: Says size, fit and batch size.
        layer: A stage of the backbone.
        pool: ``average`` (GAP, what the task head sees) or ``attention`` (CSG's A-pool).

    Returns:
        ``(N, C)`` float32, not normalised.

    Raises:
        UserError: The backbone has no such layer, or a picture cannot be read.
    """
    network.backbone.require_stages([layer], "--layer")
    device = next(network.parameters()).device
    rows = []
    data = recipe.data
    for batch in evaluation_batches(images, size=data.size, fit=data.fit, batch_size=recipe.train.batch_size):
        stage = network.backbone(batch.views[0].to(device)).stages[layer]
        pooled = stage.mean(dim=(2, 3)) if pool == "average" else attention_pool(stage, attention(stage))
        rows.append(pooled.float().cpu())
    return torch.cat(rows).numpy()
