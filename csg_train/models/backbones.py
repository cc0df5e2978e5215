"""Backbones: how each is built, where its ImageNet weights come from, and what its stages are called.

A stage is a named feature map. ``layer3`` and ``layer4`` are the paper's (torchvision's ResNet outputs, after ReLU). An
EfficientNet block ends in a linear bottleneck, whose output may be negative, so the stages of the EfficientNets in the
table are the nearest activated maps of the same resolution: the last expansion at stride 16, and ``conv_head`` after
its ReLU6. Maps of the table are therefore non-negative; those of ``timm/NAME`` and of torchvision's
other networks need not be (`timm_models`, `torchvision_models`).
"""

import difflib
import functools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

from csg_train.errors import UserError
from csg_train.models.lite import lite_imagenet
from csg_train.models.spec import IMAGENET_CLASSES, BackboneSpec
from csg_train.models.timm_models import PREFIX, timm_size, timm_spec
from csg_train.models.torchvision_models import resnet_spec, torchvision_names, torchvision_size, torchvision_spec

__all__ = ["BACKBONES", "Backbone", "Features", "backbone_spec", "own_size"]


@dataclass(frozen=True)
class Features:
    """What a backbone makes of a batch.

    Attributes:
        stages: Maps ``(N, C, H, W)`` by name; a stage of two names is there under both.
        imagenet_logits: ``(N, classes)`` of the network's own classifier, of no columns where it has none.
    """

    stages: dict[str, Tensor]
    imagenet_logits: Tensor


class Backbone(nn.Module):
    """A network that takes pictures in [0, 1] (or uint8) and gives its named stage maps.

    Its own classifier stays in place and is never trained; batches are normalised inside.

    Args:
        spec: The line of the table to build, or what `backbone_spec` says of a name.
        output_stride: Pixels to a position of the last stages, 8 or 16 through dilation, or that of a ViT's patches;
            None as published (32).

    Raises:
        UserError: The network cannot be built so.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: BackboneSpec, *, output_stride: int | None = None) -> None:
        super().__init__()
        if output_stride == 14 and spec.multiple != 14:  # which dilation would round to 8
            raise UserError("segmentation.output_stride: 14 is for a ViT with patches of 14 pixels; use 8 or 16")
        self.net = spec.build() if output_stride is None else spec.build(output_stride=output_stride)
        self.spec, self.classes = spec, spec.classes
        self.stage_paths = {name: path for name, (path, _) in spec.stages.items()}
        self.widths = {name: channels for name, (_, channels) in spec.stages.items()}
        self.widths |= {alias: self.widths[name] for alias, name in spec.aliases.items()}
        for path in spec.classifiers:
            self.net.get_submodule(path).requires_grad_(False)
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)

    @property
    def solves_imagenet(self) -> bool:
        """Whether the network's own classifier is one of ImageNet's classes, of 1k, 12k or 21k."""
        return self.classes in IMAGENET_CLASSES

    def own_name(self, name: str) -> str:
        """The one name of a stage that ``stage_paths`` has, given any of its names."""
        return self.spec.aliases.get(name, name)

    def stage(self, name: str) -> nn.Module:
        """The module whose output is the stage's map, in the layout of ``spec.layout`` (what GradCAM hooks)."""
        return self.net.get_submodule(self.stage_paths[self.own_name(name)])

    def explained(self, name: str) -> nn.Module:
        """As `stage`, or an earlier module where the network's own classifier depends on no patch of the stage."""
        path = self.spec.explained.get(self.own_name(name))
        return self.stage(name) if path is None else self.net.get_submodule(path)

    def require_stages(self, names: Collection[str], field: str) -> None:
        """Refuse stages that this backbone does not have, or one named twice; ``field`` is the option that asked."""
        if unknown := sorted(set(names) - set(self.widths)):
            raise UserError(f"{field}: {', '.join(unknown)} not in this backbone; allowed: {', '.join(self.widths)}")
        if len({self.own_name(name) for name in names}) < len(names):
            raise UserError(f"{field}: {', '.join(names)} names a stage twice; name each once")

    def require_size(self, rows: int, columns: int) -> None:
        """Refuse pictures of a size that the network does not take."""
        own, multiple, smallest = self.spec.size, self.spec.multiple, self.spec.smallest
        if multiple is None and (rows, columns) != (own, own):
            raise UserError(f"data.size: this backbone takes {own} x {own} pixels alone, not {rows} x {columns}")
        if min(rows, columns) < smallest:
            raise UserError(f"data.size: this backbone takes {smallest} pixels or more, not {rows} x {columns}")
        if multiple is not None and (rows % multiple or columns % multiple):
            near = max(1, round(rows / multiple)) * multiple
            raise UserError(
                f"data.size: this backbone takes multiples of {multiple} pixels, not {rows} x {columns}; "
                f"use for instance {near}, or {own}, which it was made for"
            )

    def normalise(self, images_NCHW: Tensor) -> Tensor:
        """What the network takes, in its type: pictures in [0, 1] (or uint8), less the mean, over the deviation."""
        if images_NCHW.dtype == torch.uint8:
            images_NCHW = images_NCHW.float() / 255
        normalised = (images_NCHW - self.mean) / self.std
        return normalised if normalised.dtype == self.mean.dtype else normalised.to(self.mean.dtype)

    def forward(self, images_NCHW: Tensor) -> Features:
        """Run the network once and collect the stages.

        Args:
            images_NCHW: uint8 in 0..255, or floating point in [0, 1].

        Raises:
            UserError: These are no such pictures, the network does not take their size, or a stage gives no map.
        """
        if images_NCHW.ndim != 4 or images_NCHW.shape[1] != 3:
            raise UserError(f"pictures of shape {tuple(images_NCHW.shape)}; give (N, 3, H, W)")
        if images_NCHW.dtype != torch.uint8 and not images_NCHW.is_floating_point():
            raise UserError(f"pictures of {images_NCHW.dtype}; give uint8 in 0..255, or floating point in [0, 1]")
        rows, columns = images_NCHW.shape[-2:]
        self.require_size(rows, columns)
        normalised = self.normalise(images_NCHW).contiguous(memory_format=torch.channels_last)
        stages: dict[str, Tensor] = {}

        def keep(_module: nn.Module, _inputs: Any, output: Any, *, name: str) -> None:
            stages[name] = self.spec.layout.to_map(output, (rows, columns), channels=self.widths[name])

        hooks = [
            self.stage(name).register_forward_hook(functools.partial(keep, name=name)) for name in self.stage_paths
        ]
        try:
            logits = self.net(normalised)
        finally:
            for hook in hooks:
                hook.remove()
        if missing := sorted(set(self.stage_paths) - set(stages)):
            raise UserError(f"model.backbone: it runs past its {', '.join(missing)}; choose another")
        ordered = {name: stages[name] for name in self.stage_paths}
        other = {alias: stages[name] for alias, name in self.spec.aliases.items()}
        return Features(ordered | other, logits if self.classes else logits[:, :0])


def _lite(name: str, *, width: int, size: int = 224) -> BackboneSpec:
    """An EfficientNet-Lite of timm; ``width`` is the channel count of the last expansion at stride 16."""
    return BackboneSpec(
        build=functools.partial(timm.create_model, name, pretrained=False),
        imagenet=functools.partial(lite_imagenet, name),
        stages={"layer3": ("blocks.5.0.bn1", width), "layer4": ("bn2", 1280)},
        classifiers=("classifier",),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        size=size,
    )


BACKBONES: dict[str, BackboneSpec] = {
    "resnet18": resnet_spec("resnet18", 512),
    "resnet34": resnet_spec("resnet34", 512),
    "resnet50": resnet_spec("resnet50", 2048),
    "resnet101": resnet_spec("resnet101", 2048),
    "tf_efficientnet_lite0": _lite("tf_efficientnet_lite0", width=672),
    "tf_efficientnet_lite1": _lite("tf_efficientnet_lite1", width=672, size=240),
    "tf_efficientnet_lite2": _lite("tf_efficientnet_lite2", width=720, size=260),
}


def backbone_spec(name: str) -> BackboneSpec:
    """What is known of a backbone: a line of `BACKBONES`, or what timm or torchvision says of one of its names.

    Raises:
        UserError: There is no such backbone.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if name.startswith(PREFIX):
        return timm_spec(name)
    if name in torchvision_names():
        return torchvision_spec(name)
    close = difflib.get_close_matches(name, torchvision_names(), n=3)
    hint = f"; close to it: {', '.join(close)}" if close else ""
    allowed = f"{', '.join(BACKBONES)}, {PREFIX}NAME, or the name of a classifier in torchvision"
    raise UserError(f"unknown backbone {name!r}; allowed: {allowed}{hint}")


def own_size(name: str) -> int:
    """Side in pixels of the pictures that a backbone was made for; none is built for it.

    Raises:
        UserError: There is no such backbone.
    """
    if name.startswith(PREFIX):
        return timm_size(name)
    return torchvision_size(name) if name in torchvision_names() else backbone_spec(name).size
