"""Backbones by their name in torchvision: every classifier of its ``list_models``.

ResNets, ResNeXts and Wide ResNets keep the paper's stages, ``layer1`` to ``layer4``, modules of theirs behind a ReLU.
Of every other network the stages are found by running it without memory, on torch's meta device: the last map at each
of the four coarsest resolutions on the way from the picture to the pooling before the classifier, before a final
normalisation (of a DenseNet too, whose activation behind that overwrites its own input). ViTs are cut into quarters of
their depth. ``layer1`` to ``layer4`` are other names of the same maps.

Normalisation and input size are those of the first weights that torchvision publishes under the name, mostly
``IMAGENET1K_V1``, which are also the ones that are fetched. ViT and MaxViT take pictures of that size alone.

For segmentation a ResNet can keep its resolution: beyond ``output_stride`` every stride is traded for dilation. The
weights are the same, and the dilated map, taken at every second (fourth, ...) position, is the strided one. torchvision
does so for Bottleneck networks and refuses resnet18 and resnet34; `dilate` gives the same for the former and holds for
both, because each convolution is dilated by the strides removed before it, also inside a block.
"""

import functools
import itertools
import re
import urllib.error
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Size, Tensor, nn
from torchvision.models import MaxVit, MNASNet, ResNet, VisionTransformer
from torchvision.ops import Permute

from csg_train.errors import UserError
from csg_train.files import sha256_file
from csg_train.models.maps import MapLayout
from csg_train.models.outline import outline
from csg_train.models.spec import BackboneSpec, StateDict

__all__ = ["dilate", "resnet_spec", "torchvision_names", "torchvision_size", "torchvision_spec"]

_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
_RENAMED = {
    r"(denselayer\d+\.(?:norm|conv))\.([12])\.": r"\1\2.",
    r"\.mlp\.linear_1\.": ".mlp.0.",  # ViT
    r"\.mlp\.linear_2\.": ".mlp.3.",
}


@functools.cache
def torchvision_names() -> tuple[str, ...]:
    """Names of torchvision's classifiers."""
    return tuple(torchvision.models.list_models(module=torchvision.models))


def torchvision_size(name: str) -> int:
    """Side in pixels of the pictures that a classifier of `torchvision_names` was made for."""
    return int(_published(name).transforms().crop_size[0])


@functools.cache
def torchvision_spec(name: str) -> BackboneSpec:
    """What is found of a classifier of `torchvision_names`."""
    size, own = torchvision_size(name), _published(name).transforms()
    options = _options(name, size)
    net = outline(lambda: _network(name, options).eval())
    if isinstance(net, ResNet):
        return resnet_spec(name, net.fc.in_features)
    shapes = _shapes(net, size)
    classifier = next(path for path in reversed(shapes) if net.get_submodule(path)._parameters)
    vit = isinstance(net, VisionTransformer)
    paths = _quarters(net) if vit else _last_maps(net, shapes, classifier)
    given = [shapes[path][1] for path in paths]  # (N, L, C), (N, H, W, C) with H = W, or (N, C, H, H)
    channels_last = not vit and given[-1][2] != given[-1][3]
    channels = [shape[-1] if vit or channels_last else shape[1] for shape in given]

    return BackboneSpec(
        build=functools.partial(_build, name, options),
        imagenet=functools.partial(_imagenet, name),
        stages={f"stage{i}": pair for i, pair in enumerate(zip(paths, channels, strict=True), start=1)},
        aliases={f"layer{i}": f"stage{i}" for i in (1, 2, 3, 4)},
        classifiers=(classifier,),
        mean=tuple(own.mean),
        std=tuple(own.std),
        size=size,
        multiple=None if isinstance(net, VisionTransformer | MaxVit) else 1,
        smallest=1
        if channels_last
        else int(_published(name).meta["min_size"][0]),  # Swin pads, whatever its entry says
        signed=True,
        layout=MapLayout(prefix=1 if vit else 0, channels_last=channels_last),
        explained={"stage4": f"{paths[-1]}.ln_1"} if vit else {},  # no patch reaches the class token behind it
        adapt=functools.partial(_as_today, own=tuple(net.state_dict())),
    )


def resnet_spec(name: str, width: int) -> BackboneSpec:
    """A torchvision ResNet; ``width`` is the channel count of layer4."""
    return BackboneSpec(
        build=functools.partial(_build_resnet, name),
        imagenet=functools.partial(_imagenet, name),
        stages={f"layer{i}": (f"layer{i}", width >> (4 - i)) for i in (1, 2, 3, 4)},
        classifiers=("fc",),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )


def _build(name: str, options: Mapping[str, Any], output_stride: int = 32) -> nn.Module:
    if output_stride != 32:
        raise UserError(
            f"model.backbone: torchvision's {name} cannot trade its strides for dilation to an output stride of "
            f"{output_stride}, which segmentation needs; choose a ResNet, or a RegNet, EfficientNet or ConvNeXt of "
            "timm (timm/NAME)"
        )
    return _network(name, options)


def _build_resnet(name: str, output_stride: int = 32) -> nn.Module:
    return dilate(torchvision.models.get_model(name, weights=None), output_stride)


def dilate(net: nn.Module, output_stride: int) -> nn.Module:
    """Trade the strides of a torchvision ResNet beyond ``output_stride`` for dilation, in place."""
    dilation = 1
    for stride, layer in ((16, "layer3"), (32, "layer4")):
        for conv in net.get_submodule(layer).modules() if stride > output_stride else ():
            if not isinstance(conv, nn.Conv2d):
                continue
            removed, conv.stride = conv.stride[0], (1, 1)
            if conv.kernel_size == (3, 3):  # the others are 1x1, the shortcut among them
                conv.dilation = conv.padding = (dilation, dilation)
                dilation *= removed
    return net


def _published(name: str) -> Any:
    """The first weights under a name."""
    return next(iter(torchvision.models.get_model_weights(name)))


def _imagenet(name: str) -> tuple[StateDict, str]:
    """The published weights, and the SHA-256 of their file."""
    weights = _published(name)
    if torch.hub.get_dir().startswith("~"):  # else a folder of that name would be made here
        raise UserError(
            f"ImageNet weights of {name}: no home folder to keep them in (HOME is not set); set HOME or "
            "TORCH_HOME, or give a file: --weights FILE, or --model NAME:FILE"
        )
    try:
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (urllib.error.URLError, OSError) as error:
        raise UserError(
            f"ImageNet weights of {name}: torchvision cannot download them ({error}); "
            f"give a file: --weights FILE, or --model NAME:FILE ({weights.url.rsplit('/', 1)[-1]})"
        ) from error
    cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
    return dict(state), sha256_file(cached)


def _options(name: str, size: int) -> dict[str, Any]:
    """How to build a network so that its published weights fit; the auxiliary heads stay out."""
    match torchvision.models.get_model_builder(name).__module__.rpartition(".")[2]:
        case "vision_transformer":
            return {"image_size": size}
        case "googlenet" | "inception":
            return {"aux_logits": False, "transform_input": True, "init_weights": True}
    return {}


def _network(name: str, options: Mapping[str, Any]) -> nn.Module:
    net: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    if isinstance(net, MNASNet):  # refuses tensors without torch's own note of the version; shapes tell an old one
        vars(net)["_load_from_state_dict"] = functools.partial(nn.Module._load_from_state_dict, net)
    return net


def _name_today(key: str) -> str:
    for old, new in _RENAMED.items():
        key = re.sub(old, new, key)
    return key


def _as_today(content: Mapping[str, Tensor], *, own: tuple[str, ...]) -> StateDict:
    """A published file's state dict as the network of today names it, which has no auxiliary heads."""
    state = {_name_today(str(key)): value for key, value in content.items() if not str(key).startswith(_AUXILIARY)}
    counts = (key for key in own if key.endswith(".num_batches_tracked"))  # files before torch 0.4.1 have none
    missing = {key for key in counts if key.replace("num_batches_tracked", "running_mean") in state} - set(state)
    return state | {key: torch.tensor(0) for key in missing}


def _shapes(net: nn.Module, size: int) -> dict[str, tuple[Size, Size]]:
    """What modules take and give for a square picture, in the order in which they end."""
    shapes: dict[str, tuple[Size, Size]] = {}

    def keep(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
                shapes[path] = (inputs[0].shape, output.shape)

        return hook

    hooks = [module.register_forward_hook(keep(path)) for path, module in net.named_modules() if path]
    with torch.no_grad():
        net(torch.zeros(1, 3, size, size, device="meta"))
    for hook in hooks:
        hook.remove()
    return shapes


def _quarters(net: VisionTransformer) -> list[str]:
    """The blocks at the ends of the quarters of the depth."""
    blocks = [f"encoder.layers.{name}" for name, _ in net.encoder.layers.named_children()]
    return [blocks[-(-len(blocks) * quarter // 4) - 1] for quarter in (1, 2, 3, 4)]


def _last_maps(net: nn.Module, shapes: Mapping[str, tuple[Size, Size]], classifier: str) -> list[str]:
    """The last modules at each of the four coarsest resolutions before the pooling.

    They are seen as a chain of the largest modules that make no more than one step from one resolution to the next, so
    that the norm at the beginning of a downsampling is no end of a stage.
    """

    def spans(path: str) -> bool:
        taken, given = shapes[path]
        steps = len(taken) == len(given) == 4 and taken[2] >= 3 * given[2]
        return steps and any(True for _ in net.get_submodule(path).children())

    def in_chain(path: str) -> bool:
        around = itertools.accumulate(path.split(".")[:-1], "{}.{}".format)
        return not spans(path) and all(outer not in shapes or spans(outer) for outer in around)

    def before_pooling(path: str) -> bool:
        pooling = isinstance(net.get_submodule(path), nn.AdaptiveAvgPool2d)
        return not pooling and path.split(".")[0] != classifier.split(".")[0]

    last: dict[int, str] = {}
    for path in itertools.takewhile(before_pooling, filter(in_chain, shapes)):
        if len(shapes[path][1]) == 4 and not isinstance(
            net.get_submodule(path), nn.LayerNorm | nn.BatchNorm2d | Permute
        ):
            last[shapes[path][1][2]] = path  # rows, whether channels come first or last
    return list(last.values())[-4:]
