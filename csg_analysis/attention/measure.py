"""Attention of one checkpoint over a whole split, picture by picture: nothing but numbers is kept."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from csg_analysis.attention.gradcam import Maps, attend_batches
from csg_analysis.attention.overlap import Overlap, class_pixels, object_mask, overlap
from csg_analysis.attention.removal import (
    DELETION_BASELINE,
    INSERTION_BASELINE,
    REMOVAL,
    area,
    blurred,
    removal_curves,
)
from csg_train.data.loaders.loader import file_order, load_batches
from csg_train.data.loaders.workers import measuring_workers
from csg_train.data.readers.images import ImageSet
from csg_train.data.readers.masks import MaskedSet
from csg_train.data.readers.sets import AnySet
from csg_train.devices import full_float32
from csg_train.errors import UserError
from csg_train.models.network import TaskNetwork
from csg_train.recipes.sections import Recipe
from csg_train.recipes.shown import Showing
from csg_train.runs.records import AttentionScores, CurveScores, DataInfo, OverlapScores, RunInfo

__all__ = ["Scored", "attention_scores", "scored_pictures"]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One picture.

    Attributes:
        file: Its path in the image set.
        label: True class; empty of a picture with a mask or without a label.
        predicted: Class with the largest logit; of a picture with a mask, with the largest predicted area.
        explained: Class that the map explains.
        reason: Why the map is flat, which is zero everywhere (of a picture with a mask, wherever pixels count); empty
            if it is not.
        masked: The picture says where its object is.
        overlap: With its mask; None without a mask or with a flat map.
        deletion: ``(S,)`` curve, None where not asked for or flat.
        insertion: Likewise.
    """

    file: str
    label: str
    predicted: str
    explained: str
    reason: str
    masked: bool
    overlap: Overlap | None
    deletion: np.ndarray | None = None
    insertion: np.ndarray | None = None

    @property
    def deletion_area(self) -> float | None:
        """Under the curve; lower is better."""
        return None if self.deletion is None else float(area(torch.from_numpy(self.deletion)[None])[0])

    @property
    def insertion_area(self) -> float | None:
        """Under the curve; higher is better."""
        return None if self.insertion is None else float(area(torch.from_numpy(self.insertion)[None])[0])

    @property
    def flat(self) -> bool:
        """The map says nothing, and the picture counts in no mean."""
        return bool(self.reason)


def scored_pictures(
    network: TaskNetwork, images: AnySet, recipe: Recipe, *, layer: str, explain: str, steps: int | None
) -> Iterator[Scored]:
    """Measure the attention of every picture, in the order of ``images.files``.

    Args:
        network: In evaluation mode.
        images: The pictures.
        recipe: Says how they are shown.
        layer: A stage of the backbone.
        explain: ``predicted``, ``label`` (not with masks), or the name of a class.
        steps: Of the curves, each of which costs ``steps + 1`` forward passes; None leaves them out.

    Raises:
        UserError: No such layer or class, a bad picture, or curves of pictures with masks.
    """
    if steps is not None and isinstance(images, MaskedSet):
        raise UserError(f"--curves: {images.name} has masks, and curves follow one class a picture; leave --curves out")
    index, names = 0, images.classes
    truths = _truths(images, recipe, next(network.parameters()).device)
    for maps in attend_batches(network, images, recipe, layer=layer, explain=explain):
        curves = None if steps is None else _curves(network, maps, steps)
        for place, map_HW in enumerate(maps.maps_NHW):
            pixels = _pixels(images, next(truths), map_HW, maps.explained[place])
            reason = maps.flat[place]
            if pixels is not None and not pixels[0].any():
                reason = reason or "all attention on ignored pixels"
            flat = bool(reason)
            yield Scored(
                file=images.files[index],
                label=names[images.labels[index]] if isinstance(images, ImageSet) and images.labelled else "",
                predicted=names[maps.predicted[place]],
                explained=names[maps.explained[place]],
                reason=reason,
                masked=pixels is not None,
                overlap=None if flat or pixels is None else overlap(*pixels),
                deletion=None if flat or curves is None else curves[0][place],
                insertion=None if flat or curves is None else curves[1][place],
            )
            index += 1


class _Truths(Dataset["np.ndarray | None"]):
    """What a picture itself says of its pixels: where its object is, or their classes; None where it says nothing."""

    def __init__(self, images: AnySet, recipe: Recipe) -> None:
        self.images, self.data, self.masked = images, recipe.data, recipe.segmentation is not None

    def __getitem__(self, index: int) -> np.ndarray | None:
        if isinstance(self.images, MaskedSet):
            return self.images.read_mask(index)
        if self.masked:
            return None
        return object_mask(self.images.picture(index), size=self.data.size, fit=self.data.fit)


def _truths(images: AnySet, recipe: Recipe, device: torch.device) -> Iterator[np.ndarray | None]:
    """Of every picture, in the order of its files, loaded while the network computes."""
    keys = file_order(len(images), Showing.of(recipe).batch_size)
    workers = measuring_workers(recipe.train.workers, device, len(keys))
    return itertools.chain.from_iterable(load_batches(_Truths(images, recipe), keys, list, workers))


def _pixels(
    images: AnySet, true_HW: np.ndarray | None, map_HW: np.ndarray, explained: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Map and mask of one picture where pixels count; None where nothing says what is object and what is not."""
    if true_HW is None:
        return None
    if isinstance(images, ImageSet):
        return map_HW, true_HW
    if map_HW.shape != true_HW.shape:
        small_11HW = torch.from_numpy(map_HW)[None, None]
        map_HW = F.interpolate(small_11HW, true_HW.shape, mode="bilinear", align_corners=False)[0, 0].numpy()
    return class_pixels(map_HW, true_HW, explained)


@full_float32()
def _curves(network: TaskNetwork, maps: Maps, steps: int) -> tuple[np.ndarray, np.ndarray]:
    device = next(network.parameters()).device
    images_NCHW = torch.from_numpy(maps.images_NHWC).permute(0, 3, 1, 2).to(device).float() / 255
    classes_N1 = torch.tensor(maps.explained, device=device).unsqueeze(1)

    def score(pictures_NCHW: Tensor) -> Tensor:
        logits_NK: Tensor = network(pictures_NCHW).logits
        return logits_NK.softmax(dim=1).gather(1, classes_N1)[:, 0]

    curves = removal_curves(
        score,
        images_NCHW,
        torch.from_numpy(maps.maps_NHW).to(device),
        blank_NCHW=network.backbone.mean,
        blurred_NCHW=blurred(images_NCHW),
        steps=steps,
    )
    return curves.deletion_NS.cpu().numpy(), curves.insertion_NS.cpu().numpy()


def attention_scores(
    pictures: Sequence[Scored],
    *,
    run: RunInfo,
    data: DataInfo,
    layer: str,
    explain: str,
    steps: int | None,
    definition: str,
) -> AttentionScores:
    """The record of measured pictures; ``definition`` says what their overlap is."""
    overlaps = [picture.overlap for picture in pictures if picture.overlap is not None]
    flat = sum(picture.flat for picture in pictures)
    measured = None
    if overlaps:
        measured = OverlapScores(
            iou=float(np.mean([one.iou for one in overlaps])),
            share=float(np.mean([one.share for one in overlaps])),
            area=float(np.mean([one.area for one in overlaps])),
            count=len(overlaps),
            without_mask=sum(not picture.masked for picture in pictures),
            definition=definition,
        )
    return AttentionScores(
        run=run,
        data=data,
        layer=layer,
        explained=explain,
        flat=flat,
        overlap=measured,
        curves=_curve_scores(pictures, steps),
    )


def _curve_scores(pictures: Sequence[Scored], steps: int | None) -> CurveScores | None:
    deletion = [picture.deletion for picture in pictures if picture.deletion is not None]
    insertion = [picture.insertion for picture in pictures if picture.insertion is not None]
    if steps is None or not deletion:
        return None
    deletion_S, insertion_S = (np.stack(curves).mean(axis=0, dtype=np.float64) for curves in (deletion, insertion))
    left, entered = (float(area(torch.from_numpy(mean_S[None]))[0]) for mean_S in (deletion_S, insertion_S))
    return CurveScores(
        deletion=left,
        insertion=entered,
        deletion_curve=deletion_S.tolist(),
        insertion_curve=insertion_S.tolist(),
        steps=steps,
        deletion_baseline=DELETION_BASELINE,
        insertion_baseline=INSERTION_BASELINE,
        count=len(deletion),
        definition=REMOVAL,
    )
