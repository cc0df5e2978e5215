"""Backbones by their name in timm: ``timm/NAME``, for every classifier that says where its maps are.

Stages are the outputs of the modules that timm's ``feature_info`` names: ``stage4`` is the last of all, ``stage3`` the
last at the next higher resolution, and so on; of most networks these lie at strides 4, 8, 16 and 32. A network of one
resolution (ViT) is cut into quarters of its depth instead. ``layer1`` to ``layer4`` are other names of the same maps.
Their values may be negative, and they are taken as they are, before a final normalisation.

Normalisation and input size are those of timm's configuration of the very name, tag included
(``timm/vit_base_patch16_clip_224.openai``). Networks that can take other sizes are built so that they do;
``timm/NAME@224`` is one that was made for pictures of 224 pixels.
"""

import difflib
import functools
import hashlib
import inspect
import logging
import math
from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from csg_train.console import console
from csg_train.errors import UserError
from csg_train.models.lite import lite_imagenet, ships_lite
from csg_train.models.maps import MapLayout
from csg_train.models.outline import outline
from csg_train.models.spec import BackboneSpec, StateDict

__all__ = ["PREFIX", "own_timm_name", "side_of_file", "timm_size", "timm_spec"]

PREFIX = "timm/"
_NO_GRID = {"Hiera": "its tokens lie in the order of its windows, not of the picture"}


def timm_size(name: str) -> int:
    """Side in pixels of the pictures that a model was made for.

    Raises:
        UserError: timm knows no such model.
    """
    config: Any = timm.get_pretrained_cfg(_known(name)[0])
    return timm_spec(name).size if config is None or _known(name)[1] else int(config.input_size[-1])


@functools.cache
def timm_spec(name: str) -> BackboneSpec:
    """What timm says of the model ``timm/NAME``.

    Raises:
        UserError: timm knows no such model, or does not say where its maps are.
    """
    model, side = _known(name)
    made: dict[str, Any] = {} if side is None else {"img_size": side}
    try:
        net = outline(lambda: timm.create_model(model, pretrained=False, **made))
    except Exception as error:  # of an unknown tag, or what a model of the user's own raises
        raise UserError(f"{name}: timm cannot build it ({error}); choose another model.backbone") from error
    own = resolve_model_data_config(net)  # type: ignore[no-untyped-call]
    stages = _stages(net, name)
    options, multiple = _sizes(net)
    options |= made
    classifier = net.pretrained_cfg.get("classifier") or ()
    return BackboneSpec(
        build=functools.partial(_build, name, model, type(net), options),
        imagenet=functools.partial(_imagenet, model, made),
        stages=stages,
        aliases={stage.replace("stage", "layer"): stage for stage in stages},
        classifiers=(classifier,) if isinstance(classifier, str) else tuple(classifier),
        classes=int(net.num_classes or 0),
        mean=tuple(own["mean"]),
        std=tuple(own["std"]),
        size=side or own["input_size"][-1],
        multiple=multiple,
        signed=True,
        layout=MapLayout.of(net),
        explained=_explained(net, stages),
    )


def _build(
    name: str, model: str, kind: type[nn.Module], options: Mapping[str, Any], output_stride: int = 32
) -> nn.Module:
    if output_stride == 32:
        return timm.create_model(model, pretrained=False, **options)
    try:
        if "output_stride" in inspect.signature(kind.__init__).parameters:
            return timm.create_model(model, pretrained=False, output_stride=output_stride, **options)
    except (AssertionError, NotImplementedError):
        pass
    net = timm.create_model(model, pretrained=False, **options)
    if {entry["reduction"] for entry in getattr(net, "feature_info", None) or ()} == {output_stride}:
        return net  # a ViT with patches of that size
    raise UserError(
        f"model.backbone: {name} ({kind.__name__}) cannot trade its strides for dilation to an output stride of "
        f"{output_stride}, which segmentation needs; choose a ResNet, RegNet, EfficientNet or ConvNeXt, or a ViT and "
        "as segmentation.output_stride the side of its patches, 14 or 16"
    )


def own_timm_name(name: str) -> str:
    """What timm calls ``timm/NAME@224``, with its tag: without what is ours."""
    return name.removeprefix(PREFIX).partition("@")[0]


def _known(name: str) -> tuple[str, int | None]:
    """The model's name in timm, and the side of its pictures where the name says one (``timm/NAME@224``)."""
    model, at, side = name.removeprefix(PREFIX).partition("@")
    if at and not (side.isdecimal() and 0 < int(side) < 65536):
        raise UserError(f"unknown backbone {name!r}: after @ give the side of its pictures in pixels")
    if not timm.is_model(model):
        close = difflib.get_close_matches(model, timm.list_models(), n=3)
        own = "; one of a module of yours: import that first (docs/backbones.md)"
        hint = f"; close to it: {', '.join(PREFIX + other for other in close)}" if close else own
        raise UserError(f"unknown backbone {name!r}, timm {timm.__version__} has no such model{hint}")
    return model, int(side) if at else None


def side_of_file(net: Any, state: Mapping[str, Tensor]) -> int | None:
    """Side of the pictures that a file's position embedding was made for; None where it has none, or ours.

    timm resamples it on the way into a network of another size, which then gives other numbers than the file's.
    """
    own, theirs = net.state_dict().get("pos_embed"), state.get("pos_embed")
    grid = getattr(getattr(net, "patch_embed", None), "grid_size", None)
    if own is None or theirs is None or grid is None or own.ndim != 3 or theirs.ndim != 3:
        return None
    rows = math.isqrt(max(0, theirs.shape[1] - own.shape[1] + math.prod(grid)))
    same = own.shape[1] - math.prod(grid) + rows**2 == theirs.shape[1] and own.shape[2] == theirs.shape[2]
    return int(rows * net.patch_embed.patch_size[0]) if same and (rows, rows) != tuple(grid) else None


def _stages(net: Any, name: str) -> dict[str, tuple[str, int]]:
    """The modules of the four stages, or of fewer where the network has fewer resolutions, and their channels."""
    if type(net).__name__ in _NO_GRID:
        raise UserError(f"{name}: {_NO_GRID[type(net).__name__]}; choose another model.backbone")
    info = getattr(net, "feature_info", None) or ()
    entries = [dict(entry) for entry in getattr(info, "info", info)]
    if len({entry["reduction"] for entry in entries}) == 1:
        chosen = [entries[-(-len(entries) * quarter // 4) - 1] for quarter in (1, 2, 3, 4)]
    else:
        chosen = list({entry["reduction"]: entry for entry in entries}.values())[-4:]
    modules = dict(net.named_modules())
    if not chosen or any(entry["module"] not in modules for entry in chosen):
        raise UserError(
            f"{name}: timm {timm.__version__} does not say where its maps are; choose another model.backbone"
        )
    first = 5 - len(chosen)
    return {f"stage{first + i}": (entry["module"], entry["num_chs"]) for i, entry in enumerate(chosen)}


def _sizes(net: Any) -> tuple[dict[str, Any], int | None]:
    """How to build the network for pictures of any size, and what their sides are multiples of; None: one size."""
    parameters = inspect.signature(type(net).__init__).parameters
    patch = getattr(getattr(net, "patch_embed", None), "patch_size", None)
    for option, value in {"dynamic_img_size": True, "strict_img_size": False}.items():
        if option in parameters and patch is not None:
            return {option: value}, int(patch[0])
    return {}, None if net.pretrained_cfg.get("fixed_input_size") else 1


def _explained(net: Any, stages: Mapping[str, tuple[str, int]]) -> dict[str, str]:
    """Of a network whose classifier reads the class token alone: what the last block's attention reads.

    Behind that attention no patch reaches the class token, so the gradient at the block's own output is zero there.
    """
    last, (path, _) = list(stages.items())[-1]
    by_token = getattr(net, "global_pool", None) == "token" and MapLayout.of(net).prefix > 0
    return {last: f"{path}.norm1"} if by_token and f"{path}.norm1" in dict(net.named_modules()) else {}


def _imagenet(model: str, made: Mapping[str, Any]) -> tuple[StateDict, str]:
    """The weights that timm publishes under the name, and the SHA-256 of the tensors as timm gives them."""
    if ships_lite(model):
        return lite_imagenet(model)
    console.print(f"fetching the weights of {PREFIX}{model}; where there is no network this fails within two minutes")
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)  # a line for each of its ten tries
    try:
        state = timm.create_model(model, pretrained=True, **made).state_dict()
    except Exception as error:  # the hub's client raises many types where there is no network
        reason = str(error).split("\n", 1)[0]
        raise UserError(
            f"weights of {PREFIX}{model}: timm cannot fetch them ({reason}); "
            "give a file: --weights FILE, or --model NAME:FILE"
        ) from error
    finally:
        hub.setLevel(level)
    digest = hashlib.sha256()
    for key, value in state.items():
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return dict(state), digest.hexdigest()
