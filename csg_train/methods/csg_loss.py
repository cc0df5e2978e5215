"""CSG's loss for a loop of one's own, around any backbone that gives named maps."""

import copy
from collections.abc import Mapping
from typing import Literal, Self

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from csg_train.devices import ordinary_tensors, without_autocast
from csg_train.errors import UserError
from csg_train.methods.csg import CSGConfig, contrast_of

__all__ = ["CSGLoss"]


class CSGLoss(nn.Module):
    """CSG's contrastive terms summed over layers, not weighted: ``sum_{l in G} NCE_l`` (`csg_train.methods.csg`).

    It holds a frozen copy of the backbone as it is now, the teacher, and for each layer a projection head, its moving
    average and a queue. ``parameters()`` go to the optimiser, which moves the heads alone; ``state_dict()`` has all
    that a restart needs. Every step calls it once and, when the optimiser has moved the weights, `after_step`.

    Args:
        backbone: Pretrained; takes pictures and gives a mapping of names to maps ``(N, C, H, W)`` (or an object with
            such ``stages``), new ones each time. Copied before it is compiled or wrapped; heads and queues are put on
            its device, in float32 (``to`` takes them to another type), and maps of other types are taken to theirs,
            under autocast too.
        layers: Names of the maps to contrast, which are names of submodules too, and their channels.
        temperature: tau.
        pool: ``attention`` (A-pool) or ``average``.
        patches: To a side of each map, contrasted one by one (Eq 6, for segmentation).
        queue_size: Keys kept for each layer.
        head: ``mlp`` (Linear, ReLU, Linear to ``dim``), ``fixed`` (the same, not trained), or ``none``.
        dim: Width of the projection.
        momentum: Of the heads' moving average.
        seed: Of the heads' start and of the first, random keys.

    Raises:
        UserError: No layers, one that cannot be named or has no channels, or a value out of range.
    """

    def __init__(
        self,
        backbone: nn.Module,
        layers: Mapping[str, int],
        *,
        temperature: float = 0.07,
        pool: Literal["attention", "average"] = "attention",
        patches: int = 1,
        queue_size: int = 65536,
        head: Literal["mlp", "fixed", "none"] = "mlp",
        dim: int = 128,
        momentum: float = 0.999,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, width in layers.items() if isinstance(layers, Mapping) else [(layers, None)]:
            if not isinstance(width, int) or width < 1:
                raise UserError(f"CSGLoss: layers: {name!r}: {width}; give names and channels, {{'layer4': 2048}}")
            if not isinstance(name, str) or "." in name or not name or hasattr(nn.ModuleDict(), name):
                fix = f"create_feature_extractor(net, {{{name!r}: 'last'}})"
                raise UserError(f"CSGLoss: layers: {name!r} cannot name a submodule; name the map otherwise, as {fix}")
        try:
            config = CSGConfig(
                layers=tuple(layers),
                temperature=temperature,
                pool=pool,
                patches=patches,
                queue_size=queue_size,
                head=head,
                dim=dim,
                momentum=momentum,
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise UserError(f"CSGLoss: {first['loc'][0]}={first['input']!r}: {first['msg']}") from error
        self.teacher = copy.deepcopy(backbone).requires_grad_(False).eval()
        self.widths = dict(layers)
        with ordinary_tensors():
            self.contrast = contrast_of(config, self.widths, seed=seed)
        if (weight := next(self.teacher.parameters(), None)) is not None:
            self.contrast.to(weight.device)

    def forward(self, backbone: nn.Module, maps: Mapping[str, Tensor], key_NCHW: Tensor) -> Tensor:
        """The loss of one batch, a scalar >= 0.

        Args:
            backbone: The student; the key view goes through it and the teacher without gradients.
            maps: What it made of the query view.
            key_NCHW: Another view of the same pictures, in the same order.

        Raises:
            UserError: A layer is missing or of other channels, the views are not of as many pictures, or the teacher,
                a copy, writes its maps where the student's are, as hooks do that hold the student itself.
        """
        count = len(key_NCHW)
        query = self._taken(maps, count)  # before the backbone runs again, which may give the same dictionary
        if self.teacher.training:  # a copy of this module, whose teacher torch.fx has built anew
            self.teacher.eval()
        with torch.no_grad():
            given = backbone(key_NCHW)
            attended = self._taken(given, count)
            taught = self._taken(self.teacher(key_NCHW), count)
        if any(_stages(given)[name] is not attended[name] for name in attended):
            raise UserError(
                "CSGLoss: the teacher writes into the student's maps: its hooks hold the student; let the backbone "
                "give its maps (torchvision's create_feature_extractor)"
            )
        kind = next(self.contrast.buffers()).dtype  # of the queues' keys
        of_kind = ({name: map_NCHW.to(kind) for name, map_NCHW in maps.items()} for maps in (query, attended, taught))
        with without_autocast(key_NCHW.device):
            terms = self.contrast(*of_kind)
        return torch.stack(list(terms.values())).sum()

    def _taken(self, given: object, count: int) -> dict[str, Tensor]:
        """The maps of the layers."""
        maps = _stages(given)
        for name, width in self.widths.items():
            if name not in maps:
                raise UserError(f"CSGLoss: layers: no map {name!r}; the backbone gives {', '.join(map(str, maps))}")
            if maps[name].ndim != 4 or maps[name].shape[1] != width:
                raise UserError(
                    f"CSGLoss: layers: {name} is {tuple(maps[name].shape)}, not (N, {width}, H, W); give its channels"
                )
            if len(maps[name]) != count:
                raise UserError(
                    f"CSGLoss: {len(maps[name])} pictures, and {count} in the other view; give two views of each"
                )
        return {name: maps[name] for name in self.widths}

    def after_step(self) -> None:
        """Move the teacher heads' average and enqueue the batch's keys, those of all processes.

        Once for each of the optimiser's steps: of accumulated gradients the keys of every batch are enqueued.
        """
        self.contrast.update()

    def train(self, mode: bool = True) -> Self:
        """Training mode for all but the teacher."""
        super().train(mode)
        self.teacher.eval()
        return self


def _stages(given: object) -> Mapping[str, Tensor]:
    maps = given if isinstance(given, Mapping) else getattr(given, "stages", None)
    if not isinstance(maps, Mapping):
        raise UserError(f"CSGLoss: the backbone gives a {type(given).__name__}; let it give names and maps")
    return maps
