"""Predictions of pictures without labels: which classes they are of; how many are right is unknown."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from csg_train.data.readers.images import ImageSet
from csg_train.devices import full_float32
from csg_train.evaluate.accuracy import predict, require_numbers, without_numbers
from csg_train.evaluate.segmentation import logits_of
from csg_train.models.network import TaskNetwork
from csg_train.recipes.sections import Recipe
from csg_train.recipes.shown import shown_batches
from csg_train.runs.checkpoint import Checkpoint
from csg_train.runs.provenance import data_info, run_info
from csg_train.runs.records import UnlabelledRecord

__all__ = ["unlabelled_record"]


def unlabelled_record(
    checkpoint: Checkpoint, network: TaskNetwork, images: ImageSet, *, split: str, recipe: Recipe
) -> UnlabelledRecord:
    """Count the classes that a checkpoint predicts, as its recipe shows pictures; of a segmentation pixels."""
    counts = np.zeros(len(images.classes), dtype=np.int64)
    for predicted in _predicted(network, images, recipe):
        counts += np.bincount(predicted.flatten().cpu().numpy(), minlength=len(counts))
    return UnlabelledRecord(
        run=run_info(checkpoint),
        data=data_info(images, split=split, recipe=recipe),
        predicted=dict(zip(images.classes, counts.tolist(), strict=True)),
    )


def _predicted(network: TaskNetwork, images: ImageSet, recipe: Recipe) -> Iterator[Tensor]:
    device = next(network.parameters()).device
    batches = shown_batches(images, recipe, device)
    if recipe.segmentation is None:
        yield predict(network, batches, flip=recipe.evaluate.flip).predicted
        return
    logits = logits_of(network, recipe)
    for batch in batches:
        with torch.no_grad(), full_float32():
            scores_NCHW = logits(batch.views[0].to(device, non_blocking=True))
        require_numbers(without_numbers(scores_NCHW))
        yield scores_NCHW.argmax(dim=1)
