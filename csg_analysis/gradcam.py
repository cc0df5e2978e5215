"""GradCAM through captum: raw maps kept as arrays, overlays side by side for several checkpoints.

Selvaraju et al., Grad-CAM, ICCV 2017: ``ReLU(sum_c alpha_c A_c)`` with ``alpha_c`` the spatial mean of the gradient of
the class's logit with respect to channel c of the layer's map A.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from csg_train.data.images import ImageSet, image_files
from csg_train.data.loader import evaluation_batches
from csg_train.errors import UserError
from csg_train.files import atomic_write
from csg_train.models.network import TaskNetwork
from csg_train.recipe import Recipe
from csg_train.seeds import random_for

__all__ = ["Maps", "attend", "attend_batches", "grad_cam", "overlay", "pick", "side_by_side", "unlabelled"]


@dataclass(frozen=True)
class Maps:
    """GradCAM of some pictures.

    Attributes:
        maps_NHW: ``(N, H, W)`` float32 >= 0, upsampled to the input's size, on the gradient's own scale.
        images_NHWC: ``(N, H, W, 3)`` uint8, the pictures as the model saw them.
        predicted: Class index with the largest logit, for each picture.
        explained: Class index that the map explains.
    """

    maps_NHW: np.ndarray
    images_NHWC: np.ndarray
    predicted: list[int]
    explained: list[int]


def grad_cam(network: TaskNetwork, images_NCHW: Tensor, classes: Tensor, *, layer: str) -> Tensor:
    """GradCAM maps, ReLU applied, bilinearly upsampled to the input.

    Args:
        network: In evaluation mode; left as it was, hooks removed.
        images_NCHW: Pictures in [0, 1].
        classes: ``(N,)`` class index to explain for each picture.
        layer: A stage of the backbone.

    Returns:
        ``(N, H, W)`` >= 0; all zero where nothing speaks for the class.
    """
    explainer = LayerGradCam(lambda images: network(images).logits, network.backbone.stage(layer))
    coarse = explainer.attribute(images_NCHW.clone(), target=classes, relu_attributions=True).detach()
    return F.interpolate(coarse, images_NCHW.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def attend_batches(
    network: TaskNetwork, images: ImageSet, recipe: Recipe, *, layer: str, explain: str
) -> Iterator[Maps]:
    """GradCAM of every picture of a set, batch by batch in the order of ``images.files``; no batch is kept.

    Args:
        network: In evaluation mode.
        images: The pictures.
        recipe: Says size, fit and batch size.
        layer: A stage of the backbone.
        explain: ``predicted``, ``label``, or the name of a class of the checkpoint.

    Raises:
        UserError: No such layer or class.
    """
    network.backbone.require_stages([layer], "--layer")
    if explain not in ("predicted", "label", *images.classes):
        raise UserError(f"--explain {explain}: allowed: predicted, label, {', '.join(images.classes)}")
    device = next(network.parameters()).device
    data = recipe.data
    for batch in evaluation_batches(images, size=data.size, fit=data.fit, batch_size=recipe.train.batch_size):
        pictures = batch.views[0].to(device).float() / 255
        with torch.no_grad():
            guesses = network(pictures).logits.argmax(dim=1)
        targets = {"predicted": guesses, "label": batch.labels.to(device)}.get(explain)
        if targets is None:
            targets = torch.full_like(guesses, images.classes.index(explain))
        maps_NHW = grad_cam(network, pictures, targets, layer=layer).cpu().numpy()
        images_NHWC = batch.views[0].permute(0, 2, 3, 1).numpy()
        yield Maps(maps_NHW, images_NHWC, guesses.tolist(), targets.tolist())


def attend(network: TaskNetwork, images: ImageSet, recipe: Recipe, *, layer: str, explain: str) -> Maps:
    """GradCAM of every picture of a set in memory, see `attend_batches`."""
    batches = list(attend_batches(network, images, recipe, layer=layer, explain=explain))
    return Maps(
        np.concatenate([batch.maps_NHW for batch in batches]),
        np.concatenate([batch.images_NHWC for batch in batches]),
        [guess for batch in batches for guess in batch.predicted],
        [target for batch in batches for target in batch.explained],
    )


def pick(images: ImageSet, per_class: int) -> ImageSet:
    """``per_class`` pictures of each class, drawn with a fixed seed: no look at any prediction.

    A class with fewer gives all it has.
    """
    chosen: list[int] = []
    for label, name in enumerate(images.classes):
        own = [index for index, other in enumerate(images.labels) if other == label]
        chosen += sorted(random_for(0, "gallery", name).sample(own, min(per_class, len(own))))
    return dataclasses.replace(
        images,
        files=tuple(images.files[index] for index in chosen),
        labels=tuple(images.labels[index] for index in chosen),
        expected=None,
    )


def unlabelled(path: Path, classes: Sequence[str]) -> ImageSet:
    """One picture, or every picture below a folder, without labels (label 0 stands in; do not read it)."""
    if path.is_dir():
        root, files = path, image_files(path, path)
    elif path.is_file():
        root, files = path.parent, [path.name]
    else:
        raise UserError(f"--images {path}: no such file or folder, nor a split (source, validation, target)")
    return ImageSet(name=path.name, root=root, files=tuple(files), labels=(0,) * len(files), classes=tuple(classes))


def overlay(image_HWC: np.ndarray, map_HW: np.ndarray) -> np.ndarray:
    """A picture with its map in colour, the map divided by its own maximum; a flat map leaves the picture grey.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    peak = float(map_HW.max())
    share = map_HW / peak if peak > 0 else np.zeros_like(map_HW)
    colour = mpl.colormaps["turbo"](share)[..., :3] * 255
    grey = image_HWC.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    weight = (0.15 + 0.5 * share)[..., None] if peak > 0 else np.zeros((*share.shape, 1))
    return np.asarray(np.clip((1 - weight) * grey + weight * colour, 0, 255), dtype=np.uint8)


def side_by_side(path: Path, columns: Sequence[tuple[str, np.ndarray]]) -> None:
    """Write captioned pictures beside one another as PNG.

    Args:
        path: To write, atomically.
        columns: Caption and ``(H, W, 3)`` uint8 picture of each column.
    """
    figure = Figure(figsize=(2.2 * len(columns), 2.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (caption, picture) in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        axes.imshow(picture)
        axes.set_title(caption, fontsize=9)
        axes.set_axis_off()
    atomic_write(path, lambda stream: figure.savefig(stream, format="png", metadata={"Software": None}))
