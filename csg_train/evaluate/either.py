"""The figure of merit of either task: mean-per-class accuracy of pictures, mean IoU of masks."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from csg_train.data.readers.images import ImageSet
from csg_train.data.readers.masks import IGNORE, MaskedSet
from csg_train.data.readers.sets import AnySet
from csg_train.devices import full_float32, ordinary_tensors, usable_device
from csg_train.distributed import process_count, process_index, summed
from csg_train.evaluate.accuracy import accuracy_record, confusion_of
from csg_train.evaluate.scores import mean_iou, mean_per_class
from csg_train.evaluate.segmentation import (
    count_pixels,
    logits_of,
    network_masks,
    require_labels,
    segmentation_record,
)
from csg_train.evaluate.unlabelled import unlabelled_record
from csg_train.models.network import TaskNetwork
from csg_train.recipes.sections import Recipe
from csg_train.recipes.shown import Showing, shown_batches
from csg_train.runs.checkpoint import Checkpoint, load_checkpoint
from csg_train.runs.measured import load_measured
from csg_train.runs.records import AccuracyRecord, SegmentationRecord, UnlabelledRecord
from csg_train.runs.records.reading import write_score

__all__ = ["held_out_loss", "measure", "measure_accuracy", "score"]


def measure(
    checkpoint: Checkpoint, network: TaskNetwork, images: AnySet, *, split: str, recipe: Recipe
) -> AccuracyRecord | SegmentationRecord | UnlabelledRecord:
    """Measure one checkpoint on one split, as its recipe says; the network in evaluation mode."""
    if isinstance(images, ImageSet) and not images.labelled:
        return unlabelled_record(checkpoint, network, images, split=split, recipe=recipe)
    if isinstance(images, MaskedSet):
        return segmentation_record(checkpoint, network, images, split=split, recipe=recipe)
    return accuracy_record(checkpoint, network, images, split=split, recipe=recipe)


@ordinary_tensors()
def measure_accuracy(
    checkpoint: Path | str, split: str = "target", *, device: torch.device | str = "auto"
) -> AccuracyRecord | SegmentationRecord | UnlabelledRecord:
    """Measure a checkpoint file, as ``csg-analyze accuracy`` does, and write the record beside it.

    Args:
        checkpoint: A ``.pt`` file of ours.
        split: Of its recipe: ``source``, ``validation`` or ``target``.
        device: Where; ``auto`` is the GPU where there is one.

    Returns:
        What was written: ``mean_per_class`` of pictures or ``mean_iou`` of masks and ``per_class``, in [0, 1], with
        their definition; of pictures without labels, that it is unknown.

    Raises:
        UserError: The checkpoint or its pictures cannot be read, or the record not be written.
    """
    own = load_checkpoint(Path(checkpoint))
    recipe = own.resolved_recipe()
    images = load_measured(own, recipe, split)
    record = measure(own, own.build_network(usable_device(device)), images, split=split, recipe=recipe)
    write_score(own.path.parent, record)
    return record


def score(network: TaskNetwork, images: AnySet, recipe: Recipe) -> float:
    """The figure of merit alone, in [0, 1]; the network in evaluation mode.

    Of several processes each counts its own pictures, no picture twice, in the batches that one process would make; the
    sum of the counts is exact.
    """
    masked, classes = isinstance(images, MaskedSet), len(images.classes)
    own = _own_part(images, recipe)

    def count() -> np.ndarray:
        if own is None:
            return np.zeros((classes, classes), dtype=np.int64)
        if isinstance(own, MaskedSet):
            return count_pixels(network_masks(network, own, recipe), classes).confusion
        return confusion_of(network, own, recipe)

    counts = summed(count)
    if masked:
        require_labels(images, counts)  # of all: one process may have none
    return mean_iou(counts) if masked else mean_per_class(counts)


@torch.no_grad()
@full_float32()
def held_out_loss(network: TaskNetwork, images: AnySet, recipe: Recipe) -> float:
    """Mean cross-entropy in nats, over pictures or over the pixels that are not ignored; in evaluation mode.

    Pictures are shown once, as for measuring, without their mirror image; logits are resized to the masks. Of
    several processes each adds up its own pictures.
    """
    masked, device = isinstance(images, MaskedSet), next(network.parameters()).device
    own = _own_part(images, recipe)
    logits_of_batch = logits_of(network, recipe) if masked else lambda pictures: network(pictures).logits

    def count() -> np.ndarray:
        sums, shown = [], []
        for batch in () if own is None else shown_batches(own, recipe, device):
            there = batch.to(device)
            logits, labels = logits_of_batch(there.views[0]), there.labels
            if logits.shape[2:] != labels.shape[1:]:
                logits = F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=True)
            # of pixels no sum of the library's own, which a GPU cannot repeat: refused in a deterministic run
            how = {"ignore_index": IGNORE, "reduction": "none"} if masked else {"reduction": "sum"}
            sums.append(F.cross_entropy(logits, labels, **how).sum())
            counted = labels != IGNORE if masked else torch.ones_like(labels)  # 255 is a class of 256 like any other
            shown.append(counted.sum())
        total = 0.0
        for value in torch.stack(sums).tolist() if sums else ():  # read once: each reading waits for the device
            total += value
        return np.array([total, int(torch.stack(shown).sum()) if shown else 0])

    total, shown = summed(count).tolist()
    return float(total / shown)


def _own_part(images: AnySet, recipe: Recipe) -> AnySet | None:
    """Every n-th of the batches that pictures are measured in, or None where there are fewer than processes."""
    if process_count() == 1:
        return images
    batch = Showing.of(recipe).batch_size
    own = [index for index in range(len(images)) if index // batch % process_count() == process_index()]
    return images.part(own) if own else None
