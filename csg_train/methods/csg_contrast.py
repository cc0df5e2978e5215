"""CSG's contrastive term with all that it keeps: the method `csg` has it in a recipe, `csg_loss` in any loop.

Chen, Yu, De Mello, Liu, Alvarez, Wang, Anandkumar: Contrastive Syn-to-Real Generalization, ICLR 2021. The equations are
in `csg_train.methods.csg`.
"""

import copy
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csg_train.distributed import gathered
from csg_train.methods.contrastive import Queue, info_nce
from csg_train.methods.patches import patch_pool, patches
from csg_train.seeds import generator_for, seed_for, seeded

__all__ = ["Contrast"]

_Maps = Mapping[str, Tensor]


class Contrast(nn.Module):
    """Projection heads, their moving averages and queues of keys, by layer; and InfoNCE between them.

    Args:
        widths: Channels of each layer.
        temperature: tau.
        pool: ``attention`` (A-pool) or ``average``.
        patches: To a side of each map (Eq 6).
        queue_size: Keys kept for each layer.
        head: ``mlp`` (Linear, ReLU, Linear), ``fixed`` (the same, not trained), or ``none``.
        dim: Width of the projection.
        momentum: Of the heads' moving average.
        seed: Of the heads' start and of the first, random keys.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        temperature: float,
        pool: Literal["attention", "average"],
        patches: int,
        queue_size: int,
        head: Literal["mlp", "fixed", "none"],
        dim: int,
        momentum: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.temperature, self.pool, self.patches, self.momentum = temperature, pool, patches, momentum
        with seeded(seed_for(seed, "csg-heads")):
            heads = {name: nn.Identity() if head == "none" else _mlp(width, dim) for name, width in widths.items()}
        self.heads = nn.ModuleDict(heads).requires_grad_(head == "mlp")
        self.teacher_heads = copy.deepcopy(self.heads).requires_grad_(False)
        self.queues = nn.ModuleDict()
        for name, width in widths.items():
            generator = generator_for(seed, "csg-queue", name)
            self.queues[name] = Queue(queue_size, width if head == "none" else dim, generator)
        self._new_keys: dict[str, list[Tensor]] = {name: [] for name in widths}

    def forward(self, query: _Maps, attended: _Maps, teacher: _Maps) -> dict[str, Tensor]:
        """InfoNCE of each layer, a scalar each, not weighted; `update` takes the keys where gradients are on.

        Args:
            query: The student's maps ``(N, C, H, W)`` of the query view, with gradients.
            attended: The student's maps of the key view, whose attention pools the teacher's.
            teacher: The teacher's maps of the key view.
        """
        terms = {}
        for name, head in self.heads.items():
            query_ND = F.normalize(head(self._pool(query[name], query[name])), dim=1)
            with torch.no_grad():
                key_ND = F.normalize(self.teacher_heads[name](self._pool(teacher[name], attended[name])), dim=1)
            terms[name] = info_nce(query_ND, key_ND, self._queue(name).keys_KD, temperature=self.temperature)
            if torch.is_grad_enabled():
                self._new_keys[name].append(key_ND)
        return terms

    def _pool(self, features: Tensor, attended: Tensor) -> Tensor:
        if self.pool == "average":
            return patches(features, self.patches).mean(dim=(2, 3))
        return patch_pool(features, attended, self.patches)

    def _queue(self, name: str) -> Queue:
        queue = self.queues[name]
        assert isinstance(queue, Queue)
        return queue

    @torch.no_grad()
    def update(self) -> None:
        """Move the heads' average and enqueue the global batch's keys (negatives exclude the current batch).

        Of several batches since the last call, as where gradients are accumulated, all keys.
        """
        averages: list[Tensor] = list(self.teacher_heads.parameters())
        if averages:
            torch._foreach_lerp_(averages, list(self.heads.parameters()), 1 - self.momentum)
        for name, batches in self._new_keys.items():
            for keys_ND in batches:
                self._queue(name).push(gathered(keys_ND))
            batches.clear()


def _mlp(width: int, dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dim))
