"""GradCAM through captum: raw maps kept as arrays, overlays side by side for several checkpoints.

Selvaraju et al., Grad-CAM, ICCV 2017: ``ReLU(sum_c alpha_c A_c)`` with ``alpha_c`` the spatial mean of the gradient of
the class's logit with respect to channel c of the layer's map A. Of a segmentation, the logits of a class are summed
over its predicted region (Vinogradova et al., Seg-Grad-CAM, AAAI 2020).
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
from matplotlib.patches import Patch
from torch import Tensor

from csg_analysis.regions import explained_region
from csg_train.data.batch import Batch
from csg_train.data.domains import AnySet
from csg_train.data.images import ImageSet, image_files, over_white
from csg_train.data.masks import MaskedSet
from csg_train.data.segmentation_views import segmentation_evaluation_view
from csg_train.data.shown import shown_batches
from csg_train.errors import UserError
from csg_train.files import atomic_write
from csg_train.models.network import TaskNetwork
from csg_train.recipe import Recipe
from csg_train.seeds import random_for

__all__ = ["Maps", "attend", "attend_batches", "grad_cam", "overlay", "pick", "sample", "side_by_side", "unlabelled"]


@dataclass(frozen=True)
class Maps:
    """GradCAM of some pictures; those of a segmentation may differ in size.

    Attributes:
        maps_NHW: ``(N, H, W)`` float32 >= 0, upsampled to the input's size, on the gradient's own scale; 0 beyond a
            smaller picture's right and lower edge.
        images_NHWC: ``(N, H, W, 3)`` uint8, the pictures as the model saw them; white beyond those edges.
        predicted: Class index with the largest logit, for each picture; of a segmentation see `Region`.
        explained: Class index that the map explains.
        flat: Why a map is zero everywhere; empty where it is not.
        sizes: Rows and columns of each picture.
    """

    maps_NHW: np.ndarray
    images_NHWC: np.ndarray
    predicted: list[int]
    explained: list[int]
    flat: list[str]
    sizes: list[tuple[int, int]]

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One picture ``(H, W, 3)`` and its map ``(H, W)``, in their own size."""
        rows, columns = self.sizes[index]
        return self.images_NHWC[index, :rows, :columns], self.maps_NHW[index, :rows, :columns]


def grad_cam(
    network: TaskNetwork, images_NCHW: Tensor, classes: Tensor, *, layer: str, regions_NHW: Tensor | None = None
) -> Tensor:
    """GradCAM maps, ReLU applied, bilinearly upsampled to the input.

    Args:
        network: In evaluation mode; left as it was, hooks removed.
        images_NCHW: Pictures in [0, 1].
        classes: ``(N,)`` class index to explain for each picture.
        layer: A stage of the backbone.
        regions_NHW: Of a segmentation, bool: the pixels over which a class's logits are summed.

    Returns:
        ``(N, H, W)`` >= 0; all zero where nothing speaks for the class, or its region is empty.
    """

    def scores(images_NCHW: Tensor) -> Tensor:
        logits: Tensor = network(images_NCHW).logits
        return logits if regions_NHW is None else (logits * regions_NHW.unsqueeze(1)).sum(dim=(2, 3))

    explainer = LayerGradCam(scores, network.backbone.stage(layer))
    coarse = explainer.attribute(images_NCHW.clone(), target=classes, relu_attributions=True).detach()
    return F.interpolate(coarse, images_NCHW.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def attend_batches(network: TaskNetwork, images: AnySet, recipe: Recipe, *, layer: str, explain: str) -> Iterator[Maps]:
    """GradCAM of every picture of a set, batch by batch in the order of ``images.files``; no batch is kept.

    Args:
        network: In evaluation mode.
        images: The pictures.
        recipe: Says the task and how pictures are shown; of a segmentation a batch is one picture.
        layer: A stage of the backbone.
        explain: ``predicted``, the name of a class of the checkpoint or, except of a segmentation, ``label``.

    Raises:
        UserError: No such layer or class.
    """
    network.backbone.require_stages([layer], "--layer")
    allowed = ["predicted", *(["label"] if recipe.segmentation is None else []), *images.classes]
    if explain not in allowed:
        raise UserError(f"--explain {explain}: allowed: {', '.join(allowed)}")
    device = next(network.parameters()).device
    for batch in _shown(images, recipe):
        pictures = batch.views[0].to(device).float() / 255
        with torch.no_grad():
            guesses = network(pictures).logits.argmax(dim=1)
        regions_NHW, missing = None, ""
        if recipe.segmentation is not None:
            region = explained_region(guesses[0], images.classes, explain)
            guesses, targets = (torch.tensor([one], device=device) for one in (region.predicted, region.explained))
            regions_NHW, missing = region.where_HW.unsqueeze(0), region.missing
        elif explain == "predicted":
            targets = guesses
        elif explain == "label":
            targets = batch.labels.to(device)
        else:
            targets = torch.full_like(guesses, images.classes.index(explain))
        maps_NHW = grad_cam(network, pictures, targets, layer=layer, regions_NHW=regions_NHW).cpu().numpy()
        images_NHWC = batch.views[0].permute(0, 2, 3, 1).numpy()
        flat = ["" if map_HW.any() else missing or "nothing speaks for the class" for map_HW in maps_NHW]
        sizes = [(map_HW.shape[0], map_HW.shape[1]) for map_HW in maps_NHW]
        yield Maps(maps_NHW, images_NHWC, guesses.tolist(), targets.tolist(), flat, sizes)


def _shown(images: AnySet, recipe: Recipe) -> Iterator[Batch]:
    """`shown_batches`, and pictures without masks as a segmentation shows those with masks."""
    if recipe.segmentation is None or isinstance(images, MaskedSet):
        yield from shown_batches(images, recipe)
        return
    for index, label in enumerate(images.labels):
        picture = over_white(images.picture(index))
        view = segmentation_evaluation_view(picture, longest_side=recipe.segmentation.longest_side)
        yield Batch((view[None],), torch.tensor([label]))


def attend(network: TaskNetwork, images: AnySet, recipe: Recipe, *, layer: str, explain: str) -> Maps:
    """GradCAM of every picture of a set in memory, see `attend_batches`."""
    batches = list(attend_batches(network, images, recipe, layer=layer, explain=explain))
    return Maps(
        _joined([batch.maps_NHW for batch in batches], 0),
        _joined([batch.images_NHWC for batch in batches], 255),
        [guess for batch in batches for guess in batch.predicted],
        [target for batch in batches for target in batch.explained],
        [reason for batch in batches for reason in batch.flat],
        [size for batch in batches for size in batch.sizes],
    )


def _joined(arrays: Sequence[np.ndarray], fill: int) -> np.ndarray:
    """Arrays ``(N, H, W, ...)`` as one of the largest H and W, ``fill`` at the right and below."""
    rows, columns = (max(array.shape[axis] for array in arrays) for axis in (1, 2))
    padded = [
        np.pad(
            array,
            [(0, 0), (0, rows - array.shape[1]), (0, columns - array.shape[2]), *[(0, 0)] * (array.ndim - 3)],
            constant_values=fill,
        )
        for array in arrays
    ]
    return np.concatenate(padded)


def pick(images: AnySet, per_class: int) -> AnySet:
    """``per_class`` pictures of each class, drawn with a fixed seed: no look at any prediction.

    A class with fewer gives all it has. Of pictures with masks, which show several classes, as many in all.
    """
    if isinstance(images, MaskedSet):
        return sample(images, per_class * len(images.classes))
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


def sample(images: MaskedSet, number: int) -> MaskedSet:
    """``number`` pictures with masks, or all if there are fewer, drawn with a fixed seed, in file order."""
    chosen = sorted(random_for(0, "gallery").sample(range(len(images)), min(number, len(images))))
    return dataclasses.replace(
        images,
        files=tuple(images.files[index] for index in chosen),
        masks=tuple(images.masks[index] for index in chosen),
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


def side_by_side(
    path: Path,
    columns: Sequence[tuple[str, np.ndarray]],
    legend: Sequence[tuple[str, tuple[int, int, int]]] = (),
) -> None:
    """Write captioned pictures beside one another as PNG.

    Args:
        path: To write, atomically.
        columns: Caption and ``(H, W, 3)`` uint8 picture of each column, all of one H and W.
        legend: Names and colours to explain below, where there are any.
    """
    rows, across = columns[0][1].shape[:2]
    abreast = max(1, round(1.4 * len(columns)))
    lines = -(-len(legend) // abreast)
    size = (2.2 * len(columns), 2.2 * rows / across + 0.4 + 0.2 * lines)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (caption, picture) in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        axes.imshow(picture)
        axes.set_title(caption, fontsize=9)
        axes.set_axis_off()
    if legend:
        handles = [Patch(color="#{:02x}{:02x}{:02x}".format(*colour), label=name) for name, colour in legend]
        figure.legend(handles=handles, loc="outside lower center", ncols=abreast, fontsize=7, frameon=False)
    atomic_write(path, lambda stream: figure.savefig(stream, format="png", metadata={"Software": None}))
