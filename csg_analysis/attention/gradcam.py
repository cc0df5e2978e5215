"""GradCAM through captum: raw maps kept as arrays, overlays side by side for several checkpoints.

Selvaraju et al., Grad-CAM, ICCV 2017: ``ReLU(sum_c alpha_c A_c)`` with ``alpha_c`` the spatial mean of the gradient of
the class's logit with respect to channel c of the layer's map A. Of a segmentation, the logits of a class are summed
over its predicted region (Vinogradova et al., Seg-Grad-CAM, AAAI 2020).

A layer that gives tokens or channels last is led through its map on the way to the logits, so that activation and
gradient are both those of the map. Prefix tokens pass beside it: their share of the gradient is no position's.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch import Tensor, nn

from csg_analysis.attention.regions import explained_region
from csg_train.data.readers.images import ImageSet
from csg_train.data.readers.sets import AnySet
from csg_train.devices import full_float32
from csg_train.errors import UserError
from csg_train.evaluate.accuracy import require_numbers, without_numbers
from csg_train.models.backbones import Backbone, Features
from csg_train.models.maps import MapLayout
from csg_train.models.network import Output, TaskNetwork
from csg_train.recipes.sections import Recipe
from csg_train.recipes.shown import Showing, shown_batches

__all__ = ["Maps", "attend", "attend_batches", "grad_cam"]


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


@full_float32()
@torch.inference_mode(False)  # in which Lightning validates, and which has no gradient
def grad_cam(
    model: nn.Module,
    images_NCHW: Tensor,
    classes: Tensor | Sequence[int] | None = None,
    *,
    layer: str | nn.Module,
    regions_NHW: Tensor | None = None,
) -> Tensor:
    """GradCAM maps of any model, ReLU applied, bilinearly upsampled to the input.

    Args:
        model: Gives logits ``(N, classes)``, as they are, as ``.logits``, or in a dictionary as ``logits`` or ``out``;
            of a `Backbone` those of its own classifier are explained. In evaluation mode, so that a picture's map does
            not depend on its batch; left as it was, hooks removed.
        images_NCHW: What the model takes.
        classes: Class index to explain for each picture; by default the one with the largest logit.
        layer: The module whose output is explained, a map ``(N, C, H, W)``, or ``(N, H, W, C)`` or tokens ``(N, L, C)``
            (timm's ``num_prefix_tokens`` before them), or its dotted name; of our networks a stage. Channels are last
            where the other dimensions are then in the picture's proportions; of a layer that fits both ways timm's
            ``output_fmt`` says it. Of a model that reads its class token alone the last is ``norm1`` of the last
            block: no patch reaches the token behind it, and the map of a later layer is zero.
        regions_NHW: Of a segmentation, bool: the pixels over which a class's logits are summed.

    Returns:
        ``(N, H, W)`` >= 0; all zero where nothing speaks for the class, or its region is empty.

    Raises:
        UserError: A model in training mode, in part or whole, without classes or built in inference mode; no such
            layer, one that gives no map or does not run; pictures that are none; classes that are not one of the
            model's for each; regions that are not of the logits' size, or none for a segmentation.
    """
    _require_explainable(model, images_NCHW)
    images_NCHW = images_NCHW.clone()  # a tensor of inference mode takes part in no gradient
    asked = None if classes is None else torch.as_tensor(classes, device="cpu").flatten().tolist()
    if asked is not None and len(asked) != len(images_NCHW):
        raise UserError(f"grad_cam: {len(asked)} classes for {len(images_NCHW)} pictures; give one for each")
    if not all(type(one) is int for one in asked or ()):
        raise UserError(f"grad_cam: classes {asked}; give whole numbers")

    def logits(images_NCHW: Tensor) -> Tensor:
        given = _logits(model(images_NCHW))
        if asked and not 0 <= min(asked) <= max(asked) < given.shape[1]:
            raise UserError(f"grad_cam: classes {asked}; the model's are 0 to {given.shape[1] - 1}")
        size = (len(given), *given.shape[2:]) if given.ndim > 2 else None
        if size != (None if regions_NHW is None else tuple(regions_NHW.shape)):
            raise UserError(f"grad_cam: logits {tuple(given.shape)}; regions_NHW of a segmentation are {size}")
        return given if regions_NHW is None else (given * regions_NHW.unsqueeze(1)).sum(dim=(2, 3))

    if asked is None:
        with torch.no_grad():
            asked = logits(images_NCHW).argmax(dim=1).tolist()
    targets = torch.tensor(asked, device=images_NCHW.device)
    with _on_the_way(model, layer, images_NCHW) as way:
        try:
            coarse = LayerGradCam(logits, way).attribute(images_NCHW, target=targets, relu_attributions=True).detach()
        except AssertionError as error:
            if "Forward hook did not obtain" not in str(error):
                raise
            name = layer if isinstance(layer, str) else type(layer).__name__
            raise UserError(f"layer: {name} does not run in this model's evaluation mode; choose another") from error
    if not bool(coarse.isfinite().all()):
        raise UserError("grad_cam: a map with NaN or infinity; look for them in the pictures and the model's weights")
    return F.interpolate(coarse, images_NCHW.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def _require_explainable(model: nn.Module, images_NCHW: Any) -> None:
    if training := [name for name, module in model.named_modules() if module.training]:
        where = f" ({training[0]})" if training[0] else ""
        raise UserError(f"grad_cam: training mode{where}, where a map depends on its batch; call model.eval()")
    if any(weight.is_inference() for weight in model.parameters()):
        raise UserError("grad_cam: the model was built in torch.inference_mode, and has no gradient; build it outside")
    if not isinstance(images_NCHW, Tensor) or images_NCHW.ndim != 4 or not len(images_NCHW):
        given = f"shape {tuple(images_NCHW.shape)}" if isinstance(images_NCHW, Tensor) else type(images_NCHW).__name__
        raise UserError(f"grad_cam: pictures of {given}; give (N, 3, H, W) as a tensor, one at least")
    if not images_NCHW.is_floating_point() and not isinstance(model, Backbone | TaskNetwork):
        raise UserError(f"grad_cam: pictures of {images_NCHW.dtype}; give floating point, as the model takes them")


def _logits(output: Any) -> Tensor:
    """What a model gives for its classes."""
    given: Any = output
    if isinstance(output, Features):
        given = output.logits if isinstance(output, Output) else output.imagenet_logits
    elif isinstance(output, Mapping):
        given = output.get("logits", output.get("out"))
    elif not isinstance(output, Tensor):
        given = getattr(output, "logits", None)
    if not isinstance(given, Tensor) or given.ndim < 2:
        kind = f"logits {tuple(given.shape)}" if isinstance(given, Tensor) else f"a {type(output).__name__}"
        raise UserError(f"grad_cam: the model gives {kind}; wrap it in a module that gives logits (N, classes)")
    if not given.shape[1]:
        raise UserError("grad_cam: the model has no classifier, so there is no class to explain")
    return given


@contextlib.contextmanager
def _on_the_way(model: nn.Module, layer: str | nn.Module, images_NCHW: Tensor) -> Iterator[nn.Module]:
    """A module that gives the layer's map, and that everything behind the layer depends on."""
    way = nn.Identity()
    module, layout, channels = _module(model, layer)
    count, image_HW = len(images_NCHW), (images_NCHW.shape[-2], images_NCHW.shape[-1])

    def through(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
        map_NCHW = layout.to_map(output, image_HW, channels=channels)
        if len(map_NCHW) != count:  # windows of a Swin
            raise UserError(f"layer: it gives {len(map_NCHW)} maps for {count} pictures; choose another layer")
        return layout.put_back(way(map_NCHW), output, image_HW, channels=channels)

    hook = module.register_forward_hook(through)
    try:
        yield way
    finally:
        hook.remove()


def _module(model: nn.Module, layer: str | nn.Module) -> tuple[nn.Module, MapLayout, int | None]:
    """The module of a layer, how it lays out what it gives, and the channels of that where they are known."""
    backbone = model.backbone if isinstance(model, TaskNetwork) else model
    if isinstance(layer, nn.Module):
        return layer, backbone.spec.layout if isinstance(backbone, Backbone) else MapLayout.of(model), None
    if isinstance(backbone, Backbone):
        backbone.require_stages([layer], "layer")
        module = backbone.explained(layer) if backbone is model else backbone.stage(layer)
        return module, backbone.spec.layout, backbone.widths[layer]
    try:
        return model.get_submodule(layer), MapLayout.of(model), None
    except AttributeError as error:
        names = ", ".join(name for name, _ in model.named_children())
        raise UserError(f"layer {layer}: not in this {type(model).__name__}; it begins with one of {names}") from error


def attend_batches(
    network: TaskNetwork | Backbone, images: AnySet, recipe: Recipe | Showing, *, layer: str, explain: str
) -> Iterator[Maps]:
    """GradCAM of every picture of a set, batch by batch in the order of ``images.files``; no batch is kept.

    Args:
        network: In evaluation mode; of a `Backbone` the classes are those of its own classifier.
        images: The pictures, and the names of the classes.
        recipe: Says the task and how pictures are shown; of a segmentation a batch is one picture.
        layer: A stage of the backbone.
        explain: ``predicted``, the name of a class of the checkpoint or, except of a segmentation, ``label``.

    Raises:
        UserError: No such layer or class, or the network gives a picture no numbers.
    """
    backbone = network if isinstance(network, Backbone) else network.backbone
    backbone.require_stages([layer], "--layer")
    labelled = isinstance(images, ImageSet) and images.labelled
    allowed = ["predicted", *(["label"] if labelled else []), *images.classes]
    if explain not in allowed:
        more = f" and {len(allowed) - 50} more" if len(allowed) > 50 else ""
        raise UserError(f"--explain {explain}: allowed: {', '.join(allowed[:50])}{more}")
    device = next(network.parameters()).device
    for batch in shown_batches(images, recipe, device):
        pictures = batch.views[0].to(device, non_blocking=True).float() / 255
        with torch.no_grad(), full_float32():
            logits = _logits(network(pictures))
        require_numbers(without_numbers(logits))
        guesses = logits.argmax(dim=1)
        regions_NHW, missing = None, ""
        if isinstance(recipe, Recipe) and recipe.segmentation is not None:
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


def attend(
    network: TaskNetwork | Backbone, images: AnySet, recipe: Recipe | Showing, *, layer: str, explain: str
) -> Maps:
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
