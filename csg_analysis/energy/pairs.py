"""The sums over all pairs of unit vectors: blocks by threads on the processor, tiles on a GPU, shared by processes.

Shape suffixes: N rows, S orders.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from csg_analysis.energy.blocks import Blocks
from csg_analysis.energy.positions import Positions
from csg_analysis.energy.threads import one_core_each
from csg_analysis.energy.tiles import Tiles
from csg_analysis.energy.unit_rows import UnitRows
from csg_train.errors import UserError

__all__ = ["PairSums", "pair_sums"]

_TILED = "cuda"


@dataclass(frozen=True, slots=True)
class PairSums:
    """Sums over all pairs, float64, on the CPU, by position in the order of computation.

    Attributes:
        rows: Shape (S, N): for each order, the sum over the pairs of that row.
        coincident: Shape (N,): the number of coincident pairs of that row.
        within: Shape (S,): for each order, the sum over pairs of one class; 0 without labels.
        within_coincident: The number of coincident pairs of one class.
    """

    rows: Tensor
    coincident: Tensor
    within: Tensor
    within_coincident: int


def pair_sums(
    rows: UnitRows,
    s: tuple[float, ...],
    *,
    labels_N: Tensor | None = None,
    block: int | None = None,
    distributed: bool = False,
) -> PairSums:
    """Sum the terms of the energies over all pairs of rows, without gradients; within `full_float32`, as its caller is.

    Args:
        rows: The unit vectors.
        s: Orders, each >= 0, no two equal.
        labels_N: Class numbers, int64.
        block: Rows of a block; by default what keeps all memory below 256 MB, on a GPU what its cache holds.
        distributed: Deal the units of work to the processes of the default `torch.distributed` group and add up their
            sums; every process gives the same features and receives the same result.

    Returns:
        The sums, by position in the order of computation.

    Raises:
        UserError: ``distributed`` without an initialised process group.
    """
    rank, world = 0, 1
    if distributed:
        if not (dist.is_available() and dist.is_initialized()):
            raise UserError("distributed=True needs torch.distributed.init_process_group; start it with torchrun")
        rank, world = dist.get_rank(), dist.get_world_size()
    with torch.no_grad(), one_core_each():
        positions = Positions(rows, s, labels_N)
        (Tiles if rows.device.type == _TILED else Blocks)(positions, block).run(rank, world)
    if distributed:
        dist.all_reduce(positions.sums_TN)
        dist.all_reduce(positions.within_T)
    sums_TN, within_T = positions.sums_TN.cpu(), positions.within_T.cpu()
    return PairSums(sums_TN[:-1], sums_TN[-1], within_T[:-1], round(float(within_T[-1])))
