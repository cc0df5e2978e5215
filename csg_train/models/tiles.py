"""A picture through a backbone tile by tile: the map of the whole picture, in less memory and more time.

A position of the map depends on the pixels within the backbone's receptive field. A tile that reaches so much further
on every side (its margin) gives its own positions as the whole picture does, but for the last digits of their sums;
there is zero padding only at the picture's border, where the whole picture has it too. Tiles begin at multiples of the
output stride and end as far from one as the picture does, so that strides and paddings fall on the same pixels. The
head takes the map as a whole: DeepLab v3 pools over all of it, and its rates reach further than a tile.

What a backbone takes from the whole picture (the statistics of InstanceNorm, squeeze and excitation) no margin gives;
such backbones are refused.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from csg_train.errors import UserError
from csg_train.models.backbones import Backbone

__all__ = ["Tiles"]

_PROBE = 128
"""Side of the picture that strides are read off, in pixels."""
_SAME = 1e-4
"""Of the largest value: what rounding may differ by."""
_Window = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d


class Tiles:
    """The map of ``layer4`` of whole pictures, tile by tile.

    Attributes:
        side: Of a tile without its margin, a multiple of the output stride.
        margin: Pixels on every side, likewise: the reach of the receptive field, from above.

    Args:
        backbone: In evaluation mode, with its weights.
        side: Of a tile without margin, at least; in pixels.

    Raises:
        UserError: The backbone takes more than a receptive field from a picture, or squares of one size alone.
    """

    def __init__(self, backbone: Backbone, side: int) -> None:
        if backbone.spec.multiple != 1:
            raise UserError("segmentation.tile: this backbone does not take pictures of any size; leave tile out")
        self.backbone = backbone
        self._stride, reach = _strides(backbone)
        self.side, self.margin = (math.ceil(length / self._stride) * self._stride for length in (side, reach))
        self._require_local()

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        """The map of ``layer4``, as the backbone makes it of whole pictures ``(N, 3, H, W)``."""
        height, width = images_NCHW.shape[2:]
        whole, rows, columns = None, 0, 0
        for top, bottom, above, below in self._spans(height):
            for left, right, before, behind in self._spans(width):
                part = self.backbone(images_NCHW[:, :, above:below, before:behind]).stages["layer4"]
                own = part[:, :, self._cut(top, bottom, above, height), self._cut(left, right, before, width)]
                if whole is None:
                    shape = (*own.shape[:2], *(math.ceil(length / self._stride) for length in (height, width)))
                    whole = torch.empty(shape, dtype=own.dtype, device=own.device, memory_format=torch.channels_last)
                row, column = top // self._stride, left // self._stride
                rows, columns = row + own.shape[2], column + own.shape[3]
                whole[:, :, row:rows, column:columns] = own
        assert whole is not None
        return whole[:, :, :rows, :columns]

    def _spans(self, length: int) -> Iterator[tuple[int, int, int, int]]:
        """Of each tile along one side of the picture: start and end without its margin, and with it."""
        for start in range(0, length, self.side):
            end = min(start + self.side, length)
            reach = end + self.margin + length % self._stride
            yield start, end, max(0, start - self.margin), min(length, reach)

    def _cut(self, start: int, end: int, above: int, length: int) -> slice:
        first = (start - above) // self._stride
        return slice(first, None if end == length else first + self.side // self._stride)

    @torch.no_grad()
    def _require_local(self) -> None:
        """Two strips of pixels that differ from the margin on, for a map that must not."""
        kept = self._stride * 4
        device = self.backbone.mean.device
        generator = torch.Generator().manual_seed(0)
        strips = torch.rand(1, 3, kept, 2 * kept + self.margin, generator=generator).repeat(2, 1, 1, 1)
        for strip, value in zip(strips, (0.0, 1.0), strict=True):
            strip[:, :, kept + self.margin :] = value
        near = self.backbone(strips.to(device)).stages["layer4"][..., :4]
        if (near[0] - near[1]).abs().max() > _SAME * near.abs().max():
            raise UserError(
                "segmentation.tile: this network takes statistics of the whole picture (InstanceNorm, squeeze and "
                "excitation), which tiles do not have; leave tile out, or set segmentation.longest_side"
            )


@torch.no_grad()
def _strides(backbone: Backbone) -> tuple[int, int]:
    """Output stride of ``layer4``, and how far a position reaches, from above: all windows one after the other."""
    reach, hooks = 0, []

    def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal reach
        assert isinstance(module, _Window)
        kernel, dilation = _longer(module.kernel_size), _longer(getattr(module, "dilation", 1))
        reach += math.ceil(_PROBE / inputs[0].shape[-1]) * math.ceil(dilation * (kernel - 1) / 2)

    for module in backbone.net.modules():
        if isinstance(module, _Window):
            hooks.append(module.register_forward_pre_hook(add))
    try:
        features = backbone(torch.zeros(1, 3, _PROBE, _PROBE, device=backbone.mean.device))
    finally:
        for hook in hooks:
            hook.remove()
    stride = _PROBE // features.stages["layer4"].shape[-1]
    return stride, reach + stride  # uneven padding moves a position by less than a stride


def _longer(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else max(value)
