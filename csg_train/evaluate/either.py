"""The figure of merit of either task: mean-per-class accuracy of pictures, mean IoU of masks."""

import numpy as np

from csg_train.data.readers.images import ImageSet
from csg_train.data.readers.masks import MaskedSet
from csg_train.data.readers.sets import AnySet
from csg_train.distributed import process_count, process_index, summed
from csg_train.evaluate.accuracy import accuracy_record, confusion_of
from csg_train.evaluate.scores import mean_iou, mean_per_class
from csg_train.evaluate.segmentation import count_masks, segmentation_record
from csg_train.evaluate.unlabelled import unlabelled_record
from csg_train.models.network import TaskNetwork
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import Checkpoint
from csg_train.runs.records import AccuracyRecord, SegmentationRecord, UnlabelledRecord

__all__ = ["measure", "score"]


def measure(
    checkpoint: Checkpoint, network: TaskNetwork, images: AnySet, *, split: str, recipe: Recipe
) -> AccuracyRecord | SegmentationRecord | UnlabelledRecord:
    """Measure one checkpoint on one split, as its recipe says; the network in evaluation mode."""
    if isinstance(images, ImageSet) and not images.labelled:
        return unlabelled_record(checkpoint, network, images, split=split, recipe=recipe)
    if isinstance(images, MaskedSet):
        return segmentation_record(checkpoint, network, images, split=split, recipe=recipe)
    return accuracy_record(checkpoint, network, images, split=split, recipe=recipe)


def score(network: TaskNetwork, images: AnySet, recipe: Recipe) -> float:
    """The figure of merit alone, in [0, 1]; the network in evaluation mode.

    Of several processes each counts its own pictures, no picture twice, in the batches that one process would make; the
    sum of the counts is exact.
    """
    masked, classes = isinstance(images, MaskedSet), len(images.classes)
    own = _own_part(images, 1 if masked else recipe.train.batch_size)
    counts = np.zeros((classes, classes), dtype=np.int64)
    if isinstance(own, MaskedSet):
        counts = count_masks(network, own, recipe).confusion
    elif own is not None:
        counts = confusion_of(network, own, recipe)
    counts = summed(counts)
    return mean_iou(counts) if masked else mean_per_class(counts)


def _own_part(images: AnySet, batch: int) -> AnySet | None:
    """Every n-th batch of pictures, or None where there are fewer batches than processes."""
    if process_count() == 1:
        return images
    own = [index for index in range(len(images)) if index // batch % process_count() == process_index()]
    return images.part(own) if own else None
