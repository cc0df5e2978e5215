"""What a module gives, as a map ``(N, C, H, W)`` and back: channels first, channels last, or a row of tokens.

Token networks put prefix tokens (class, registers) before the patches. How many is the network's own count, and some
add them only in their last blocks; the grid of the patches follows from the size of the input.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from csg_train.errors import UserError

__all__ = ["MapLayout"]


@dataclass(frozen=True, kw_only=True)
class MapLayout:
    """How a network's modules lay out what they give.

    Attributes:
        prefix: Tokens before the patches, where a module has them.
        channels_last: Four dimensions are ``(N, H, W, C)``; of a module whose channels are not known its shape decides,
            and only where it fits both is this believed.
    """

    prefix: int = 0
    channels_last: bool = False

    @classmethod
    def of(cls, net: nn.Module) -> "MapLayout":
        """What a network says of itself, as timm's do; channels first, without prefix, where it says nothing."""
        prefix = getattr(net, "num_prefix_tokens", None) or 0
        return cls(prefix=int(prefix), channels_last=getattr(net, "output_fmt", None) == "NHWC")

    def to_map(self, output: Any, image_HW: tuple[int, int], *, channels: int | None = None) -> Tensor:
        """The map in what a module gave; a view, which shares its memory.

        Args:
            output: What it gave: ``(N, C, H, W)``, ``(N, H, W, C)`` or tokens ``(N, L, C)``.
            image_HW: Size of the network's input.
            channels: Of the map, where known.

        Raises:
            UserError: It is no map, for instance a list of several.
        """
        if isinstance(output, Tensor) and output.ndim == 4:
            return output.permute(0, 3, 1, 2) if self._is_last(output, image_HW, channels) else output
        if isinstance(output, Tensor) and output.ndim == 3:
            for prefix in dict.fromkeys((self.prefix, 0)):
                if (grid := _grid(output.shape[1] - prefix, image_HW)) is not None:
                    return (
                        output[:, prefix:].transpose(1, 2).reshape(output.shape[0], -1, *grid)
                    )  # len() would fix a graph
        given = f"{tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise UserError(
            f"layer: it gives {given} for pictures of {image_HW[0]} x {image_HW[1]}, which is no map of positions; "
            "choose another layer or backbone"
        )

    def put_back(
        self, map_NCHW: Tensor, output: Tensor, image_HW: tuple[int, int], *, channels: int | None = None
    ) -> Tensor:
        """The inverse of `to_map`: what a module gave, with this map in the place of its own."""
        if output.ndim == 3:
            tokens = map_NCHW.flatten(2).transpose(1, 2)
            prefix = output.shape[1] - tokens.shape[1]
            return torch.cat([output[:, :prefix], tokens], dim=1)
        return map_NCHW.permute(0, 2, 3, 1) if self._is_last(output, image_HW, channels) else map_NCHW

    def _is_last(self, output_4D: Tensor, image_HW: tuple[int, int], channels: int | None) -> bool:
        _, first, middle, last = output_4D.shape
        if channels is not None:
            return self.channels_last or first != channels == last
        if_first, if_last = (_distortion(grid, image_HW) for grid in ((middle, last), (first, middle)))
        return if_last < if_first or (if_last == if_first and self.channels_last)


def _distortion(grid_HW: tuple[int, int], image_HW: tuple[int, int]) -> float:
    """How far a grid is from the picture's proportions."""
    return abs(math.log(grid_HW[0] * image_HW[1] / (grid_HW[1] * image_HW[0])))


def _grid(count: int, image_HW: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of so many square patches in the shape of the picture; None where they make no such grid."""
    height, width = image_HW
    rows = round((max(count, 0) * height / width) ** 0.5)
    columns = count // max(rows, 1)
    return (rows, columns) if 0 < count == rows * columns and rows * width == columns * height else None
