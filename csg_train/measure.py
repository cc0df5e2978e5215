"""The figure of merit of either task: mean-per-class accuracy of pictures, mean IoU of masks."""

from csg_train.checkpoint import Checkpoint
from csg_train.data.domains import AnySet
from csg_train.data.masks import MaskedSet
from csg_train.evaluate import accuracy_record, confusion_of, mean_per_class
from csg_train.evaluate_segmentation import count_masks, mean_iou, segmentation_record
from csg_train.models.network import TaskNetwork
from csg_train.recipe import Recipe
from csg_train.records import AccuracyRecord, SegmentationRecord

__all__ = ["measure", "score"]


def measure(
    checkpoint: Checkpoint, network: TaskNetwork, images: AnySet, *, split: str, recipe: Recipe
) -> AccuracyRecord | SegmentationRecord:
    """Measure one checkpoint on one split, as its recipe says; the network in evaluation mode."""
    if isinstance(images, MaskedSet):
        return segmentation_record(checkpoint, network, images, split=split, recipe=recipe)
    return accuracy_record(checkpoint, network, images, split=split, recipe=recipe)


def score(network: TaskNetwork, images: AnySet, recipe: Recipe) -> float:
    """The figure of merit alone, in [0, 1]; the network in evaluation mode."""
    if isinstance(images, MaskedSet):
        return mean_iou(count_masks(network, images, recipe).confusion)
    return mean_per_class(confusion_of(network, images, recipe))
