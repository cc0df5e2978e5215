"""Predictions and accuracy: confusion counts first, every figure derived from them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from csg_train.data.loaders.batch import Batch
from csg_train.data.readers.images import ImageSet
from csg_train.devices import full_float32
from csg_train.errors import UserError
from csg_train.evaluate.scores import LEVEL, mean_per_class, per_class_accuracy
from csg_train.models.network import TaskNetwork
from csg_train.recipes.sections import Recipe
from csg_train.recipes.shown import shown_batches
from csg_train.runs.checkpoint import Checkpoint
from csg_train.runs.provenance import data_info, run_info
from csg_train.runs.records import AccuracyRecord, Interval
from csg_train.seeds import seed_for

__all__ = [
    "accuracy_record",
    "bootstrap_mean_per_class",
    "by_true_class",
    "confusion_matrix",
    "confusion_of",
    "logits_of_views",
    "mean_scores",
    "predict",
    "require_numbers",
    "without_numbers",
]


@dataclass(frozen=True)
class Predictions:
    """Predicted and true class of each picture, ``(N,)`` int64, in file order."""

    predicted: Tensor
    labels: Tensor


def logits_of_views(network: TaskNetwork, images_NCHW: Tensor, *, flip: bool) -> Tensor:
    """Logits ``(V, N, C)`` of the pictures and, with ``flip``, of their mirror images: V is 1 or 2."""
    views = (images_NCHW, images_NCHW.flip(-1)) if flip else (images_NCHW,)
    return torch.stack([network(view).logits for view in views])


def mean_scores(logits_VNC: Tensor) -> Tensor:
    """What is compared between classes, ``(N, C)`` float64: the logit of the mean of the views' sigmoids.

    The released code compares the means. Float32 makes them 1 from a logit of 17 on: the first such class would win.
    """
    logits_VNC = logits_VNC.double()
    return F.logsigmoid(logits_VNC).logsumexp(dim=0) - F.logsigmoid(-logits_VNC).logsumexp(dim=0)


@torch.no_grad()
@full_float32()
def predict(network: TaskNetwork, batches: Iterable[Batch], *, flip: bool) -> Predictions:
    """Predict every picture of ``batches``.

    Args:
        network: In evaluation mode.
        batches: Of single views.
        flip: Average the sigmoids of the logits of a picture and its mirror image, then take the largest.

    Raises:
        UserError: The network gives a picture no numbers, so that none of its classes is the largest.
    """
    device = next(network.parameters()).device
    predicted, labels, lost = [], [], []
    for batch in batches:
        pictures = batch.views[0].to(device, non_blocking=True)
        logits_VNC = logits_of_views(network, pictures, flip=flip)
        lost.append(without_numbers(logits_VNC.transpose(0, 1)))
        predicted.append(mean_scores(logits_VNC).argmax(dim=1))
        labels.append(batch.labels)
    require_numbers(torch.cat(lost))
    return Predictions(torch.cat(predicted).cpu(), torch.cat(labels))


def without_numbers(logits: Tensor) -> Tensor:
    """Which pictures a network gave NaN or infinity, ``(N,)`` bool, of logits ``(N, ...)``."""
    return ~logits.flatten(1).isfinite().all(dim=1)


def require_numbers(lost_N: Tensor) -> None:
    """Refuse what a network predicts of the pictures that are `without_numbers`.

    Raises:
        UserError: It says of how many pictures.
    """
    if lost := int(lost_N.sum()):
        raise UserError(
            f"the network's logits of {lost} of {len(lost_N)} pictures are not finite, so it has diverged; lower "
            "train.lr_head or train.lr_backbone, or take an earlier checkpoint"
        )


def confusion_matrix(predictions: Predictions, classes: int) -> np.ndarray:
    """Counts ``(classes, classes)``: rows true, columns predicted."""
    pairs = predictions.labels.numpy() * classes + predictions.predicted.numpy()
    counts: np.ndarray = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    return counts


def by_true_class(predictions: Predictions, classes: int) -> list[str]:
    """What `AccuracyRecord.predicted` keeps: of each true class the predictions in file order."""
    own = (predictions.predicted[predictions.labels == label] for label in range(classes))
    return [" ".join(map(str, predicted.tolist())) for predicted in own]


def bootstrap_mean_per_class(confusion: np.ndarray, *, seed: int, resamples: int = 2000) -> Interval | None:
    """Percentile bootstrap of `mean_per_class`, pictures resampled within each true class.

    Of n pictures of one class, resampled with replacement, a binomial number is right, so only numbers are drawn. It
    measures the sampling of test pictures alone, not the spread over training seeds. A class of one picture would add
    nothing to its width, since every resample is that picture: there is none with such a class, nor where the pictures
    of each class are all right or all wrong. Where many classes have few pictures it is too short.
    """
    totals, right = confusion.sum(axis=1), np.diagonal(confusion)
    totals, right = totals[totals > 0], right[totals > 0]
    if (totals < 2).any() or not ((right > 0) & (right < totals)).any():
        return None
    drawn = np.random.default_rng(seed).binomial(totals, right / totals, size=(resamples, len(totals)))
    means = (drawn / totals).mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    kind = f"percentile bootstrap, {resamples} resamples of the pictures within each class"
    return Interval(low=float(low), high=float(high), level=LEVEL, kind=kind)


def _predictions(network: TaskNetwork, images: ImageSet, recipe: Recipe) -> Predictions:
    batches = shown_batches(images, recipe, next(network.parameters()).device)
    return predict(network, batches, flip=recipe.evaluate.flip)


def confusion_of(network: TaskNetwork, images: ImageSet, recipe: Recipe) -> np.ndarray:
    """Confusion counts ``(C, C)`` of a network in evaluation mode, pictures and flip as the recipe says."""
    return confusion_matrix(_predictions(network, images, recipe), len(images.classes))


def accuracy_record(
    checkpoint: Checkpoint, network: TaskNetwork, images: ImageSet, *, split: str, recipe: Recipe
) -> AccuracyRecord:
    """Measure one checkpoint on one split, as its recipe says."""
    predictions = _predictions(network, images, recipe)
    confusion = confusion_matrix(predictions, len(images.classes))
    each = per_class_accuracy(confusion)
    return AccuracyRecord(
        run=run_info(checkpoint),
        data=data_info(images, split=split, recipe=recipe),
        classes=list(images.classes),
        confusion=confusion.tolist(),
        flip=recipe.evaluate.flip,
        per_class=[None if np.isnan(value) else float(value) for value in each],
        mean_per_class=mean_per_class(confusion),
        overall=float(np.trace(confusion) / confusion.sum()),
        interval=bootstrap_mean_per_class(confusion, seed=seed_for(0, "bootstrap")),
        predicted=by_true_class(predictions, len(images.classes)),
    )
