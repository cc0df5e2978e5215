"""IBN-Net: InstanceNorm beside BatchNorm, as a rewrite of a network that is already there.

Pan, Luo, Shi, Tang: Two at Once, Enhancing Learning and Generalization Capacities via IBN-Net, ECCV 2018.

- ``a``: the first BatchNorm of every block in ``layer1`` to ``layer3`` becomes InstanceNorm on the first half of its
  channels and BatchNorm on the second.
- ``b``: InstanceNorm takes the place of the stem's BatchNorm, and stands between the residual sum and the last ReLU of
  the last block in ``layer1`` and in ``layer2``.

The BatchNorm half keeps its slice of weights and statistics, InstanceNorm takes the slice of scale and shift. Modules
are named as in the authors' code, so that their released weights fit (``csg-train import --kind ibn-net``). A rewrite
of plain ImageNet weights is only a start: the published rows begin from weights that were trained with InstanceNorm.

Deviation: an EfficientNet is no ResNet. Its variant ``a`` splits the BatchNorm after the expansion in the blocks at
strides 4 to 16 (of tf_efficientnet_lite0 ``blocks.1`` to ``blocks.4``), which are those of ``layer1`` to ``layer3``;
it has no ``b``, nor has timm's ResNet, whose blocks come in too many forms. Other families have neither.
"""

from typing import Any, Literal

import torch
from timm import models
from torch import Tensor, nn
from torchvision.models import ResNet

from csg_train.errors import UserError

__all__ = ["SplitNorm", "SumNormBlock", "rewrite_ibn"]


class SplitNorm(nn.Module):
    """InstanceNorm on the first half of the channels, BatchNorm on the rest, then the activation of the original."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        half = norm.num_features // 2
        rest = nn.BatchNorm2d(norm.num_features - half, eps=norm.eps, momentum=norm.momentum)
        rest.load_state_dict({name: value[half:] if value.ndim else value for name, value in norm.state_dict().items()})
        rest.weight.requires_grad_(norm.weight.requires_grad)
        rest.bias.requires_grad_(norm.bias.requires_grad)
        self.IN = _instance_norm(norm, half)
        self.BN = rest.to(norm.weight).train(norm.training)
        self.act = getattr(norm, "act", nn.Identity())  # timm's BatchNorm holds the activation

    def forward(self, features_NCHW: Tensor) -> Tensor:
        """Both halves, in their order."""
        first, rest = features_NCHW.tensor_split([self.IN.num_features], dim=1)
        activated: Tensor = self.act(torch.cat([self.IN(first), self.BN(rest)], dim=1))
        return activated


class SumNormBlock(nn.Module):
    """A block of a ResNet with InstanceNorm, at first of scale 1 and shift 0, between the sum and the last ReLU."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        for name, module in block.named_children():
            self.add_module(name, module)
        self.depth = sum(name.startswith("conv") for name in self._modules)
        last = self.get_submodule(f"bn{self.depth}")
        assert isinstance(last, nn.BatchNorm2d)
        self.IN = nn.InstanceNorm2d(last.num_features, affine=True).to(last.weight)
        self.train(block.training)

    def forward(self, features_NCHW: Tensor) -> Tensor:
        """Convolutions and BatchNorm in turn, the shortcut's sum, InstanceNorm, ReLU."""
        relu, out_NCHW = self.get_submodule("relu"), features_NCHW
        for i in range(1, self.depth + 1):
            out_NCHW = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(out_NCHW))
            if i < self.depth:
                out_NCHW = relu(out_NCHW)
        shortcut = self._modules.get("downsample")
        out_NCHW = out_NCHW + (features_NCHW if shortcut is None else shortcut(features_NCHW))
        normed: Tensor = relu(self.IN(out_NCHW))
        return normed


def rewrite_ibn(net: nn.Module, variant: Literal["a", "b"]) -> None:
    """Rewrite a torchvision ResNet, or a ResNet or EfficientNet of timm (``a`` only), in place.

    New InstanceNorm weights require gradients; those of a BatchNorm half do where the original's did.

    Raises:
        UserError: The variant is not defined for this network.
    """
    if isinstance(net, ResNet) and variant == "b":
        net.bn1 = _instance_norm(net.bn1, net.bn1.num_features)
        for layer in (net.layer1, net.layer2):
            layer[-1] = SumNormBlock(layer[-1])
    elif isinstance(net, ResNet | models.ResNet) and variant == "a":
        _split(net, [net.get_submodule(layer) for layer in ("layer1", "layer2", "layer3")])
    elif isinstance(net, models.EfficientNet) and variant == "a":
        _split(net, _blocks_at_strides_4_to_16(net))
    elif isinstance(net, models.ResNet | models.EfficientNet):
        raise UserError(
            f"method.variant: IBN-Net's b is not defined for timm's {type(net).__name__}; use a, or a ResNet of "
            "torchvision (model.backbone: resnet50)"
        )
    else:
        raise UserError(
            f"method ibn-net: not defined for {type(net).__name__} of {type(net).__module__.partition('.')[0]}; "
            "choose a ResNet, or an EfficientNet of timm, as model.backbone"
        )


def _blocks_at_strides_4_to_16(net: models.EfficientNet) -> list[nn.Module]:
    """From behind the last block at stride 2 to the last at stride 16."""
    ends = {entry["reduction"]: entry["module"] for entry in net.feature_info}
    first, last = (
        int(name.removeprefix("blocks.")) if name.startswith("blocks.") else -1 for name in (ends[2], ends[16])
    )
    return list(net.blocks[first + 1 : last + 1])


def _split(net: nn.Module, layers: list[nn.Module]) -> None:
    blocks: list[Any] = [block for layer in layers for block in layer.children()]
    if not all(isinstance(getattr(block, "bn1", None), nn.BatchNorm2d) for block in blocks):
        raise UserError(
            f"method ibn-net: this {type(net).__name__} has blocks without BatchNorm; choose another model.backbone"
        )
    for block in blocks:
        block.bn1 = SplitNorm(block.bn1)


def _instance_norm(norm: nn.BatchNorm2d, channels: int) -> nn.InstanceNorm2d:
    """InstanceNorm with the scale and shift of a BatchNorm's first channels."""
    instance = nn.InstanceNorm2d(channels, eps=norm.eps, affine=True)
    instance.load_state_dict({"weight": norm.weight[:channels].detach(), "bias": norm.bias[:channels].detach()})
    return instance.to(norm.weight).train(norm.training)
