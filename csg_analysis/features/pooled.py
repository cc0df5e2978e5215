"""Features of a checkpoint: one vector a picture, from named layers, pooled by a named rule."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from csg_train.data.readers.sets import AnySet
from csg_train.devices import full_float32, ordinary_tensors, usable_device
from csg_train.errors import UserError
from csg_train.methods.contrastive import attention, attention_pool, attention_stability
from csg_train.models.backbones import Backbone
from csg_train.models.network import TaskNetwork
from csg_train.recipes.sections import Recipe
from csg_train.recipes.shown import Showing, shown_batches
from csg_train.runs.checkpoint import load_checkpoint
from csg_train.runs.measured import load_measured
from csg_train.runs.records import UNSTABLE, PoolStability

__all__ = ["Copies", "Pool", "Stability", "extract", "pooled_batches", "pooled_features"]

Pool = Literal["average", "attention"]


def _pooled(stage_NCHW: Tensor, pool: Pool) -> Tensor:
    if pool not in get_args(Pool):
        raise UserError(f'pool {pool!r}; choose "average" or "attention"')
    if pool == "average":
        return stage_NCHW.mean(dim=(2, 3)).float()
    return attention_pool(stage_NCHW, attention(stage_NCHW)).float()


class Stability:
    """Collects, layer by layer, how well the attention pool is defined on the maps that it pools."""

    def __init__(self) -> None:
        self._values: dict[str, list[np.ndarray]] = defaultdict(list)

    def see(self, layer: str, stage_NCHW: Tensor) -> None:
        """Take in the maps of a batch."""
        self._values[layer].append(attention_stability(stage_NCHW).double().cpu().numpy())

    def of(self, layer: str) -> PoolStability | None:
        """Over all pictures seen; None where nothing was pooled so."""
        if layer not in self._values:
            return None
        values_N = np.concatenate(self._values[layer])
        below = int((values_N < UNSTABLE).sum())
        return PoolStability(mean=float(values_N.mean()), smallest=float(values_N.min()), below=below)


class Copies:
    """Finds pictures that are shown as the same pixels, and gives all of them the features of the first.

    A network rounds a picture otherwise in a batch of another size, and a last batch is mostly one. Two equal pictures
    would lie some 1e-7 apart, and a pair of them would not be counted but add d^-s: 1e13 to a sum of s = 2.
    """

    def __init__(self) -> None:
        self._first: dict[bytes, int] = {}
        self._seen = 0
        self._first_of: dict[int, int] = {}

    def see(self, views_NCHW: Tensor) -> None:
        """Take in the pictures of a batch, on the CPU."""
        for view_HWC in views_NCHW.permute(0, 2, 3, 1):
            digest = hashlib.sha256(view_HWC.contiguous().numpy())
            digest.update(repr(view_HWC.shape).encode())
            first = self._first.setdefault(digest.digest(), self._seen)
            if first != self._seen:
                self._first_of[self._seen] = first
            self._seen += 1

    def unify(self, rows_ND: np.ndarray) -> None:
        """Write over the rows of copies, in place; a row for each picture seen."""
        for copy, first in self._first_of.items():
            rows_ND[copy] = rows_ND[first]


def pooled_batches(
    backbone: Backbone,
    images: AnySet,
    recipe: Recipe | Showing,
    *,
    layers: Sequence[str],
    pool: Pool = "average",
    stability: Stability | None = None,
    copies: Copies | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Pooled features of every picture, batch by batch in the order of ``images.files``; one forward pass a batch.

    Args:
        backbone: In evaluation mode; its own normalisation is applied inside.
        images: The pictures; shown as they are measured, without augmentation.
        recipe: Says how.
        layers: Stages of the backbone.
        pool: ``average`` (GAP, what the task head sees) or ``attention`` (CSG's A-pool).
        stability: Takes in the maps that are pooled by attention.
        copies: Takes in the pictures.

    Yields:
        For each layer ``(B, C)`` float32, not normalised.

    Raises:
        UserError: The backbone has no such layer, there is no such pool, a picture cannot be read, or its features are
            not finite.
    """
    backbone.require_stages(layers, "--layer")
    device = next(backbone.parameters()).device
    seen = 0
    for batch in shown_batches(images, recipe, device):
        with torch.no_grad(), full_float32():
            stages = backbone(batch.views[0].to(device, non_blocking=True)).stages
            if copies is not None:  # while a GPU computes
                copies.see(batch.views[0])
            rows = {layer: _pooled(stages[layer], pool).cpu().numpy() for layer in layers}
            if pool == "attention" and stability is not None:
                for layer in layers:
                    stability.see(layer, stages[layer])
        for layer, rows_BC in rows.items():
            if not (finite_B := np.isfinite(rows_BC).all(axis=1)).all():
                raise UserError(
                    f"{images.path(seen + int(finite_B.argmin()))}: its features at {layer} are not finite, so the "
                    "network has diverged; take an earlier checkpoint"
                )
        seen += len(batch.views[0])
        yield rows


def extract(
    network: TaskNetwork | Backbone,
    images: AnySet,
    recipe: Recipe | Showing,
    *,
    layer: str = "layer4",
    pool: Pool = "average",
    stability: Stability | None = None,
) -> np.ndarray:
    """Pooled features of one layer in memory, see `pooled_batches`; pictures of the same pixels have the same.

    Returns:
        ``(N, C)`` float32, not normalised.
    """
    backbone = network if isinstance(network, Backbone) else network.backbone
    copies = Copies()
    batches = pooled_batches(backbone, images, recipe, layers=[layer], pool=pool, stability=stability, copies=copies)
    rows_ND = np.concatenate([batch[layer] for batch in batches])
    copies.unify(rows_ND)
    return rows_ND


@ordinary_tensors()
def pooled_features(
    checkpoint: Path | str,
    split: str = "target",
    *,
    layer: str = "layer4",
    pool: Pool = "average",
    device: torch.device | str = "auto",
) -> np.ndarray:
    """Features of a checkpoint's network on a split of its recipe: those whose energy ``csg-analyze energy`` measures.

    Args:
        checkpoint: A ``.pt`` file of ours.
        split: ``source``, ``validation`` or ``target``.
        layer: A stage of the backbone.
        pool: ``average``, or ``attention``, the paper's A-pool.
        device: Where; ``auto`` is the GPU where there is one.

    Returns:
        ``(N, C)`` float32, not normalised; pictures in the order of their set.

    Raises:
        UserError: The checkpoint or its pictures cannot be read, or there is no such layer or pool.
    """
    own = load_checkpoint(Path(checkpoint))
    recipe = own.resolved_recipe()
    images = load_measured(own, recipe, split)
    return extract(own.build_network(usable_device(device)), images, recipe, layer=layer, pool=pool)
