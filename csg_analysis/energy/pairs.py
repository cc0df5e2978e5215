"""All pairs of unit vectors: one pass over blocks of the upper triangle, near pairs computed twice.

A block of squared distances comes from one matrix product of residuals (rows minus the centre of their cluster, see
`csg_analysis.energy.unit_rows`). A product rounds relative to the length of the residuals, so pairs much nearer than
that lose digits. They are recomputed: a few from the float64 difference of their rows, many by a float64 product first.

Shape suffixes: N rows, D features, K centres, S orders, T terms, B rows of a block, C its columns, P listed pairs.
"""

import contextlib
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from csg_analysis.energy.pair_terms import COINCIDENT, TermSums, squared_distances
from csg_analysis.energy.scratch import block_buffer, row_array
from csg_analysis.energy.unit_rows import UnitRows, arrange, offsets
from csg_train.devices import full_float32
from csg_train.errors import UserError

__all__ = ["PairSums", "pair_sums"]

# A pair is near when its squared distance is below this share of the mean square of its residuals; above it the
# rounding of the product changes single squared distances by about 2e-6 (float32) and 1e-9 (float64), either way.
_NEAR_SINGLE, _NEAR_DOUBLE = 2.0**-4, 1e-7
_FLOOR = 4 * COINCIDENT**2  # residuals can be as short as coincident pairs are near; these are always looked at
_MANY = 256  # with one near pair in so many, a float64 product costs less than single pairs
_PANEL_BYTES, _STRIP_BYTES, _MAX_WORKERS = 48 * 2**20, 2**20, 16
_PRODUCT_BYTES, _EXACT_BYTES, _COLUMN_BYTES = 8 * 2**20, 16 * 2**20, 16 * 2**20  # of all workers at a time
_ALIGN = 64  # numbers: products into rows of odd length run at two thirds of the speed


class _Piece(NamedTuple):
    """Consecutive positions around one centre."""

    start: int
    stop: int
    centre: int


class _Side(NamedTuple):
    """A piece ready for products: residuals (B, D); offsets (B, K) and squared residuals (B,) in float64."""

    piece: _Piece
    residual: Tensor
    offset: Tensor
    square: Tensor


class _Columns:
    """The columns of one unit of work, with their float64 residuals once somebody needs them."""

    def __init__(self, side: _Side, exact: Callable[[_Piece], Tensor]) -> None:
        self.side, self._exact, self._lock = side, exact, threading.Lock()
        self._residual_CD: Tensor | None = None

    def exact(self) -> Tensor:
        """Float64 residuals, shape (C, D)."""
        with self._lock:
            if self._residual_CD is None:
                self._residual_CD = self._exact(self.side.piece)
            return self._residual_CD


class _Block:
    """What the pairs of the rows of one side and the columns of another have in common, and when they are near."""

    def __init__(self, side: _Side, columns: _Columns, near: float) -> None:
        column = columns.side
        self.side, self.columns, self.diagonal = side, columns, side is column
        self.left_B, self.top_C = side.offset[:, column.piece.centre], column.offset[:, side.piece.centre]
        self.near_B = near / 4 * (self.left_B.abs() + side.square)
        self.near_C = near / 4 * (self.top_C.abs() + column.square)
        self.limit = float(self.near_B.max() + self.near_C.max()) + _FLOOR

    def near(self, squared_BC: Tensor, at: slice, finer: float = 1.0) -> Tensor:
        """The near pairs of a strip, shape (P, 2)."""
        return (squared_BC <= finer * (self.near_B[at, None] + self.near_C) + _FLOOR).nonzero()


@dataclass(frozen=True, slots=True)
class PairSums:
    """Sums over all pairs, float64, by position in the order of computation.

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


class _Engine:
    """The pass over blocks and the sums it leaves."""

    def __init__(
        self, rows: UnitRows, s: tuple[float, ...], labels_N: Tensor | None, block: int | None, workers: int
    ) -> None:
        self.rows, self.s, self.workers = rows, s, workers
        self.layout = arrange(rows, labels_N, _NEAR_SINGLE, _NEAR_DOUBLE)
        self.dtype = torch.float32 if self.layout.single else torch.float64
        self.groups_N = self.layout.arranged(rows.copy_groups())
        self.labels_N = None if labels_N is None else self.layout.arranged(labels_N)
        size, workers = self.dtype.itemsize, max(2, workers)
        square = int((_PRODUCT_BYTES / workers / size) ** 0.5) // _ALIGN * _ALIGN
        self.block = block or max(16, min(square, _COLUMN_BYTES // (workers * size * rows.d)))
        self.exact_rows = max(1, _EXACT_BYTES // (workers * 8 * rows.d))
        self.panel = max(self.block, _PANEL_BYTES // (size * rows.d + 8 * len(self.layout.centres)))
        self.strip = self.block if rows.device.type == "cuda" else max(1, _STRIP_BYTES // (size * self.block))
        self.sums_TN = row_array((len(s) + 1, rows.n), torch.float64, rows.device)
        self.within_T = torch.zeros(len(s) + 1, dtype=torch.float64, device=rows.device)

    def pieces(self) -> Iterator[_Piece]:
        """The positions in pieces of at most a block, each of one centre, all pieces of a centre equally long."""
        for centre, (start, stop) in enumerate(itertools.pairwise(self.layout.bounds)):
            count = -(-(stop - start) // self.block)
            edges = [start + (stop - start) * part // count for part in range(count + 1)] if count else []
            yield from (_Piece(low, high, centre) for low, high in itertools.pairwise(edges))

    def residuals(self, start: int, stop: int, centre: int) -> Tensor:
        """Float64 residuals of a few rows, shape (B, D)."""
        return self.rows.take(self.layout.rows(start, stop)).sub_(self.layout.centres[centre])

    def exact(self, piece: _Piece) -> Tensor:
        """Float64 residuals of the rows of a piece, shape (B, D)."""
        exact_BD = block_buffer((piece.stop - piece.start, self.rows.d), torch.float64, self.rows.device)
        for start, stop in self.rows.chunks(piece.start, piece.stop):
            exact_BD[start - piece.start : stop - piece.start] = self.residuals(start, stop, piece.centre)
        return exact_BD

    def load(self, piece: _Piece) -> _Side:
        """Read a piece."""
        layout, count = self.layout, piece.stop - piece.start
        residual_BD = block_buffer((count, self.rows.d), self.dtype, self.rows.device)
        offset_BK = block_buffer((count, len(layout.centres)), torch.float64, self.rows.device)
        square_B = torch.empty(count, dtype=torch.float64, device=self.rows.device)
        for start, stop in self.rows.chunks(piece.start, piece.stop):
            at = slice(start - piece.start, stop - piece.start)
            exact_BD = self.residuals(start, stop, piece.centre)
            residual_BD[at] = exact_BD
            offset_BK[at] = offsets(exact_BD, piece.centre, layout.centres, layout.gaps)
            square_B[at] = exact_BD.square_().sum(1)
        return _Side(piece, residual_BD, offset_BK, square_B)

    def run(self, rank: int, world: int) -> None:
        """Every ``world``-th unit of work, from ``rank`` on; a unit is a panel of rows and one piece of columns.

        A panel stays in memory while the columns pass by, so the array is read about rows / panel / 2 times. Blocks
        are computed by threads of one core each, which wait for each other less than shared operations would, and
        are added up in a fixed order.
        """
        pieces = list(self.pieces())
        unit, first = 0, 0
        with ThreadPoolExecutor(self.workers) as pool:
            while first < len(pieces):
                last = first + 1
                while last < len(pieces) and pieces[last].stop - pieces[first].start <= self.panel:
                    last += 1
                mine = [index for index in range(first, len(pieces)) if (unit + index - first) % world == rank]
                self.run_panel(pool, pieces, range(first, last), mine)
                unit, first = unit + len(pieces) - first, last

    def run_panel(self, pool: ThreadPoolExecutor, pieces: list[_Piece], rows: range, columns: list[int]) -> None:
        """The blocks of some rows of pieces and some columns on or right of the diagonal."""
        panel = [*pool.map(self.load, pieces[rows.start : rows.stop])] if columns else []
        waiting: deque[tuple[_Side, _Side, Future[TermSums]]] = deque()
        for index in columns:
            side = panel[index - rows.start] if index in rows else self.load(pieces[index])
            unit = _Columns(side, self.exact)
            for row in panel[: index - rows.start + 1]:
                waiting.append((row, side, pool.submit(self.block_sums, row, unit)))
                if len(waiting) > 2 * self.workers:
                    self.merge(*waiting.popleft())
        while waiting:
            self.merge(*waiting.popleft())

    def merge(self, side: _Side, column: _Side, block: "Future[TermSums]") -> None:
        """Add the sums of one block."""
        sums = block.result()
        self.sums_TN[:, side.piece.start : side.piece.stop] += sums.rows
        self.sums_TN[:, column.piece.start : column.piece.stop] += sums.columns
        self.within_T += sums.within

    def block_sums(self, side: _Side, columns: _Columns) -> TermSums:
        """One block, strip by strip, so that a strip stays in the cache from first to last use."""
        block = _Block(side, columns, _NEAR_SINGLE if self.layout.single else _NEAR_DOUBLE)
        column = columns.side
        height, width = len(side.residual), len(column.residual)
        labels = None
        if self.labels_N is not None:
            labels = self.labels_N[slice(*side.piece[:2])], self.labels_N[slice(*column.piece[:2])]
        sums = TermSums(self.s, (height, width), self.rows.device, diagonal=block.diagonal, labels=labels)
        padded = -(-width // _ALIGN) * _ALIGN
        product_BC = torch.empty(height, padded, dtype=self.dtype, device=self.rows.device)[:, :width]
        torch.addmm(product_BC, side.residual, column.residual.T, beta=0, alpha=-2, out=product_BC)
        left_B, top_C = block.left_B.to(self.dtype), block.top_C.to(self.dtype)
        for low in range(0, height, self.strip):
            at = slice(low, min(low + self.strip, height))
            squared_BC = product_BC[at].add_(left_B[at, None]).add_(top_C)
            if block.diagonal:
                squared_BC.diagonal(low).fill_(torch.inf)
            pairs_P2 = None
            if not float(squared_BC.amin()) > block.limit:
                squared_BC, pairs_P2 = self.refine(squared_BC, block, at)
                row_P, column_P = pairs_P2[:, 0] + low, pairs_P2[:, 1]
                squared_P = self.pair_distances(row_P + side.piece.start, column_P + column.piece.start)
                sums.add_pairs(squared_P, row_P, column_P)
            sums.add_strip(squared_BC, low, pairs_P2)
        return sums

    def refine(self, squared_BC: Tensor, block: _Block, at: slice) -> tuple[Tensor, Tensor]:
        """The strip, in float64 when it held many near pairs, and its near pairs, shape (P, 2)."""
        pairs_P2 = block.near(squared_BC, at)
        if not self.layout.single or len(pairs_P2) * _MANY <= squared_BC.numel():
            return squared_BC, pairs_P2
        start, _, centre = block.side.piece
        columns_CD = block.columns.exact()
        exact_BC = torch.empty_like(squared_BC, dtype=torch.float64)
        for low in range(at.start, at.stop, self.exact_rows):
            high = min(low + self.exact_rows, at.stop)
            rows_BD = self.exact(_Piece(start + low, start + high, centre))
            out_BC = exact_BC[low - at.start : high - at.start]
            torch.addmm(block.left_B[low:high, None], rows_BD, columns_CD.T, alpha=-2, out=out_BC)
        exact_BC += block.top_C
        if block.diagonal:
            exact_BC.diagonal(at.start).fill_(torch.inf)
        return exact_BC, block.near(exact_BC, at, _NEAR_DOUBLE / _NEAR_SINGLE)

    def pair_distances(self, first_P: Tensor, second_P: Tensor) -> Tensor:
        """Squared distances of listed pairs of positions from float64 differences, of known copies without a look."""
        squared_P = torch.zeros(len(first_P), dtype=torch.float64, device=self.rows.device)
        apart_P = self.groups_N[first_P] != self.groups_N[second_P]
        one_P, two_P = first_P[apart_P], second_P[apart_P]
        if self.layout.order is not None:
            one_P, two_P = self.layout.order[one_P], self.layout.order[two_P]
        squared_P[apart_P] = squared_distances(self.rows, one_P, two_P)
        return squared_P


@contextlib.contextmanager
def _one_core_each(device: torch.device) -> Iterator[int]:
    """Full float32 precision, no gradients, and operations of one core: yields how many threads may run them.

    The settings belong to the process; they are put back at the end.
    """
    threads = torch.get_num_threads()
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False), full_float32():
            if device.type == "cpu":
                torch.set_num_threads(1)
            yield min(threads, _MAX_WORKERS) if device.type == "cpu" else 1
    finally:
        torch.set_num_threads(threads)


def pair_sums(
    rows: UnitRows,
    s: tuple[float, ...],
    *,
    labels_N: Tensor | None = None,
    block: int | None = None,
    distributed: bool = False,
) -> PairSums:
    """Sum the terms of the energies over all pairs of rows.

    Args:
        rows: The unit vectors.
        s: Orders, each >= 0, no two equal.
        labels_N: Class numbers, int64.
        block: Rows of a block; by default what keeps all memory below 256 MB.
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
    with _one_core_each(rows.device) as workers:
        engine = _Engine(rows, s, labels_N, block, workers)
        engine.run(rank, world)
    if distributed:
        dist.all_reduce(engine.sums_TN)
        dist.all_reduce(engine.within_T)
    return PairSums(engine.sums_TN[:-1], engine.sums_TN[-1], engine.within_T[:-1], round(float(engine.within_T[-1])))
