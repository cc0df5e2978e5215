"""Mean intersection over union: integer counts of every picture first, every figure derived from them.

Shapes: N pictures, C classes, H rows, W columns; in a confusion the rows are true and the columns predicted.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from csg_train.data.loaders.batch import Batch
from csg_train.data.readers.masks import IGNORE, MaskedSet
from csg_train.data.readers.sets import AnySet
from csg_train.devices import full_float32
from csg_train.errors import UserError
from csg_train.evaluate.accuracy import require_numbers, without_numbers
from csg_train.evaluate.scores import LEVEL, iou, iou_per_class, mean_iou, mean_of_present, right_true_predicted
from csg_train.models.deeplab import SegmentationNetwork
from csg_train.models.network import TaskNetwork
from csg_train.models.tiles import Tiles
from csg_train.recipes.sections import Recipe
from csg_train.recipes.shown import shown_batches
from csg_train.runs.checkpoint import Checkpoint
from csg_train.runs.provenance import data_info, run_info
from csg_train.runs.records import Interval, SegmentationRecord
from csg_train.seeds import seed_for

__all__ = [
    "PixelCounts",
    "bootstrap_mean_iou",
    "confusion_of_pixels",
    "count_masks",
    "count_pixels",
    "logits_of",
    "network_masks",
    "predicted_mask",
    "predicted_masks",
    "require_labels",
    "segmentation_record",
]

_RESAMPLES_AT_ONCE = 100
_Mask = np.ndarray | Tensor


@dataclass(frozen=True)
class PixelCounts:
    """What a data set's predictions leave behind.

    Attributes:
        confusion: ``(C, C)`` int64, all pictures together; ignored pixels are in no count.
        pictures: ``(N, 3, C)`` int64 of each picture: pixels right, true and predicted of each class. This is all that
            intersection over union needs, 57 numbers a picture for 19 classes instead of 361.
    """

    confusion: np.ndarray
    pictures: np.ndarray


def confusion_of_pixels(predicted_HW: _Mask, mask_HW: _Mask, classes: int) -> np.ndarray:
    """Pixel counts ``(C, C)`` int64 of one picture.

    Args:
        predicted_HW: Class of each pixel, 0 to C - 1; where it is a tensor, its device counts.
        mask_HW: Training id of each pixel; `IGNORE` counts nowhere, whatever is predicted there.
        classes: C.
    """
    assert predicted_HW.shape == mask_HW.shape, (predicted_HW.shape, mask_HW.shape)
    predicted, true = (one if isinstance(one, Tensor) else torch.from_numpy(one) for one in (predicted_HW, mask_HW))
    predicted, true = predicted.long(), true.to(predicted.device, non_blocking=True).long()
    counted, cells = true != IGNORE, classes * classes
    assert torch.maximum(predicted, true).masked_fill(~counted, 0).max() < classes
    cell = torch.where(counted, true * classes + predicted, cells)  # those ignored into one cell more
    counts: np.ndarray = cell.flatten().bincount(minlength=cells + 1)[:cells].view(classes, classes).cpu().numpy()
    return counts


def count_pixels(pairs: Iterable[tuple[_Mask, _Mask]], classes: int) -> PixelCounts:
    """Counts over (predicted, mask) pairs ``(H, W)``; pictures may differ in size, one is held at a time."""
    total = np.zeros((classes, classes), dtype=np.int64)
    pictures = []
    for predicted_HW, mask_HW in pairs:
        confusion = confusion_of_pixels(predicted_HW, mask_HW, classes)
        total += confusion
        pictures.append(right_true_predicted(confusion))
    return PixelCounts(total, np.array(pictures, dtype=np.int64).reshape(-1, 3, classes))


def bootstrap_mean_iou(counts: PixelCounts, *, seed: int, resamples: int = 2000) -> Interval | None:
    """Percentile bootstrap of `mean_iou`: whole pictures are resampled, since a picture's pixels are not independent.

    A class that a resample lacks altogether is left out of that resample's mean, and a resample of pictures whose every
    pixel is ignored is left out itself. It measures the sampling of test pictures alone, not the spread over training
    seeds. One picture with labels has none: each resample is that picture.
    """
    if np.count_nonzero(counts.pictures[:, 1].sum(axis=1)) < 2:
        return None
    rng = np.random.default_rng(seed)
    number = len(counts.pictures)
    flat = counts.pictures.reshape(number, -1).astype(np.float64)  # sums stay below 2^53, so they are exact
    means = []
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        rows = min(_RESAMPLES_AT_ONCE, resamples - start)
        draws = rng.multinomial(number, np.full(number, 1 / number), size=rows).astype(np.float64)
        means.append(mean_of_present(iou((draws @ flat).reshape(rows, *counts.pictures.shape[1:]))))
    low, high = np.nanquantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    kind = f"percentile bootstrap, {resamples} resamples of whole pictures"
    return Interval(low=float(low), high=float(high), level=LEVEL, kind=kind)


def predicted_masks(
    logits: Callable[[Tensor], Tensor], pictures: Iterable[Batch], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Predicted and true classes of every picture, for `count_pixels`.

    Memory holds one picture and its logits at a time, and what was loaded meanwhile. Single scale and no mirror image,
    as in CSG's code.

    Args:
        logits: From ``(1, 3, h, w)`` uint8 to ``(1, C, h', w')``; the network in evaluation mode.
        pictures: Whole pictures with their masks, one by one (`whole_pictures`).
        device: Where ``logits`` takes its input.

    Yields:
        ``(H, W)`` uint8 each, of the mask's size: the prediction on ``device``, the mask where it was loaded.
    """
    for batch in pictures:
        (mask_HW,) = batch.labels
        yield predicted_mask(logits, batch.views[0], size=(mask_HW.shape[0], mask_HW.shape[1]), device=device), mask_HW


@torch.no_grad()
@full_float32()
def predicted_mask(
    logits: Callable[[Tensor], Tensor], view_13HW: Tensor, *, size: tuple[int, int], device: torch.device
) -> Tensor:
    """Class of every pixel of one picture, ``(H, W)`` uint8 of ``size`` on ``device``.

    Logits of another size are resized (bilinear) before the largest is taken.
    """
    scores_1CHW = logits(view_13HW.to(device, non_blocking=True))
    require_numbers(without_numbers(scores_1CHW))
    if scores_1CHW.shape[2:] != size:
        scores_1CHW = F.interpolate(scores_1CHW, size=size, mode="bilinear", align_corners=True)
    return scores_1CHW[0].argmax(dim=0).to(torch.uint8)


def logits_of(network: TaskNetwork, recipe: Recipe) -> Callable[[Tensor], Tensor]:
    """From whole pictures ``(N, 3, h, w)`` uint8 to their logits, in tiles where the recipe says so.

    Raises:
        UserError: The network cannot work in tiles.
    """
    assert recipe.segmentation is not None
    if recipe.segmentation.tile is None:
        return lambda pictures: network(pictures).logits
    assert isinstance(network, SegmentationNetwork)
    tiles = Tiles(network.backbone, recipe.segmentation.tile)
    return lambda pictures: network.classify(tiles(pictures), pictures)


def network_masks(network: TaskNetwork, images: MaskedSet, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """`predicted_masks` of a network in evaluation mode, pictures in file order, shown as the recipe says."""
    device = next(network.parameters()).device
    return predicted_masks(logits_of(network, recipe), shown_batches(images, recipe, device), device)


def count_masks(network: TaskNetwork, images: MaskedSet, recipe: Recipe) -> PixelCounts:
    """Counts of `network_masks`.

    Raises:
        UserError: No pixel of the set has a label.
    """
    counts = count_pixels(network_masks(network, images, recipe), len(images.classes))
    require_labels(images, counts.confusion)
    return counts


def require_labels(images: AnySet, confusion: np.ndarray) -> None:
    """Refuse counts of no pixel.

    Raises:
        UserError: No pixel of the set has a label.
    """
    if not confusion.any():
        raise UserError(
            f"{images.root}: every pixel of its masks is ignored, so that nothing is measured; check their ids"
        )


def segmentation_record(
    checkpoint: Checkpoint, network: TaskNetwork, images: MaskedSet, *, split: str, recipe: Recipe
) -> SegmentationRecord:
    """Measure one checkpoint on one split, as its recipe says."""
    counts = count_masks(network, images, recipe)
    confusion = counts.confusion
    return SegmentationRecord(
        run=run_info(checkpoint),
        data=data_info(images, split=split, recipe=recipe),
        classes=list(images.classes),
        confusion=confusion.tolist(),
        per_class=[None if np.isnan(value) else float(value) for value in iou_per_class(confusion)],
        mean_iou=mean_iou(confusion),
        overall=float(np.trace(confusion) / confusion.sum()),
        interval=bootstrap_mean_iou(counts, seed=seed_for(0, "bootstrap")),
    )
