"""All pairs of unit vectors: one pass over blocks of the upper triangle, near pairs computed twice.

A block of squared distances comes from one matrix product of residuals (rows minus the centre of their cluster, see
`csg_analysis.unit_rows`). A product rounds relative to the length of the residuals, so pairs much nearer than that
lose digits. They are recomputed: a few from the float64 difference of their rows, many by a float64 product first.

Shape suffixes: N rows, D features, K centres, B rows of a block, C its columns, P listed pairs.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from csg_analysis.pair_terms import COINCIDENT, PairSums, Strip, squared_distances
from csg_analysis.unit_rows import UnitRows, arrange, offsets
from csg_train.errors import UserError

__all__ = ["pair_sums"]

# A pair is near when its squared distance is below this share of the mean square of its residuals; above it the
# rounding of the product changes single squared distances by about 2e-6 (float32) and 1e-9 (float64), either way.
_NEAR_SINGLE, _NEAR_DOUBLE = 2.0**-4, 1e-7
_FLOOR = 4 * COINCIDENT**2  # residuals can be as short as coincident pairs are near; these are always looked at
_MANY = 256  # with one near pair in so many, a float64 product costs less than single pairs
_PANEL_BYTES, _BLOCK_BYTES, _STRIP_BYTES = 96 * 2**20, 16 * 2**20, 2**20
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


class _Block:
    """What the pairs of the rows of one side and the columns of another have in common, and when they are near."""

    def __init__(self, side: _Side, column: _Side, near: float) -> None:
        self.side, self.column, self.diagonal = side, column, side is column
        self.left_B, self.top_C = side.offset[:, column.piece.centre], column.offset[:, side.piece.centre]
        self.near_B = near / 4 * (self.left_B.abs() + side.square)
        self.near_C = near / 4 * (self.top_C.abs() + column.square)
        self.limit = float(self.near_B.max() + self.near_C.max()) + _FLOOR
        self.columns_CD: Tensor | None = None

    def near(self, squared_BC: Tensor, at: slice, finer: float = 1.0) -> Tensor:
        """The near pairs of a strip, shape (P, 2)."""
        return (squared_BC <= finer * (self.near_B[at, None] + self.near_C) + _FLOOR).nonzero()


class _Engine:
    """The pass over blocks and the sums it leaves."""

    def __init__(self, rows: UnitRows, s: tuple[float, ...], labels_N: Tensor | None, block: int | None) -> None:
        self.rows = rows
        self.layout = arrange(rows, labels_N, _NEAR_SINGLE, _NEAR_DOUBLE)
        self.dtype = torch.float32 if self.layout.single else torch.float64
        everyone = self.layout.rows(0, rows.n)
        self.groups_N = rows.copy_groups()[everyone]
        self.sums = PairSums(rows, s, None if labels_N is None else labels_N[everyone])
        size = self.dtype.itemsize
        square = int((_BLOCK_BYTES / size) ** 0.5) // _ALIGN * _ALIGN
        self.block = block or max(16, min(square, _BLOCK_BYTES // (size * rows.d)))
        self.panel = max(self.block, _PANEL_BYTES // (size * rows.d))
        width = -(-self.block // _ALIGN) * _ALIGN
        self.product = torch.empty(self.block, width, dtype=self.dtype, device=rows.device)
        self.strip = self.block if rows.device.type == "cuda" else max(1, _STRIP_BYTES // (size * width))

    def pieces(self) -> Iterator[_Piece]:
        """The positions in pieces of at most a block, each of one centre, all pieces of a centre equally long."""
        for centre, (start, stop) in enumerate(itertools.pairwise(self.layout.bounds)):
            count = -(-(stop - start) // self.block)
            edges = [start + (stop - start) * part // count for part in range(count + 1)] if count else []
            yield from (_Piece(low, high, centre) for low, high in itertools.pairwise(edges))

    def exact(self, start: int, stop: int, centre: int) -> Tensor:
        """Float64 residuals of the rows at some positions."""
        return self.rows.take(self.layout.rows(start, stop)).sub_(self.layout.centres[centre])

    def load(self, piece: _Piece) -> _Side:
        """Read a piece."""
        layout, count = self.layout, piece.stop - piece.start
        residual_BD = torch.empty(count, self.rows.d, dtype=self.dtype, device=self.rows.device)
        offset_BK = torch.empty(count, len(layout.centres), dtype=torch.float64, device=self.rows.device)
        square_B = torch.empty(count, dtype=torch.float64, device=self.rows.device)
        for start, stop in self.rows.chunks(piece.start, piece.stop):
            at = slice(start - piece.start, stop - piece.start)
            exact_BD = self.exact(start, stop, piece.centre)
            residual_BD[at] = exact_BD
            offset_BK[at] = offsets(exact_BD, piece.centre, layout.centres, layout.gaps)
            square_B[at] = exact_BD.square_().sum(1)
        return _Side(piece, residual_BD, offset_BK, square_B)

    def run(self, rank: int, world: int) -> None:
        """Every ``world``-th unit of work, from ``rank`` on; a unit is a panel of rows and one piece of columns.

        A panel stays in memory while the columns pass by, so the array is read about rows / panel / 2 times.
        """
        pieces = list(self.pieces())
        unit, first = 0, 0
        while first < len(pieces):
            last = first + 1
            while last < len(pieces) and pieces[last].stop - pieces[first].start <= self.panel:
                last += 1
            mine = [index for index in range(first, len(pieces)) if (unit + index - first) % world == rank]
            panel = [self.load(piece) for piece in pieces[first:last] if mine]
            for index in mine:
                column = panel[index - first] if index < last else self.load(pieces[index])
                for side in panel[: index - first + 1]:
                    self.add_block(side, column)
            unit, first = unit + len(pieces) - first, last

    def add_block(self, side: _Side, column: _Side) -> None:
        """Add the pairs of one block, strip by strip, so that a strip stays in the cache from first to last use."""
        block = _Block(side, column, _NEAR_SINGLE if self.layout.single else _NEAR_DOUBLE)
        product_BC = self.product[: len(side.residual), : len(column.residual)]
        torch.addmm(product_BC, side.residual, column.residual.T, beta=0, alpha=-2, out=product_BC)
        left_B, top_C = block.left_B.to(self.dtype), block.top_C.to(self.dtype)
        for low in range(0, len(product_BC), self.strip):
            at = slice(low, min(low + self.strip, len(product_BC)))
            start, (first, last, _) = side.piece.start, column.piece
            strip = Strip(start + at.start, start + at.stop, first, last, block.diagonal)
            squared_BC = product_BC[at].add_(left_B[at, None]).add_(top_C)
            if block.diagonal:
                squared_BC.diagonal(low).fill_(torch.inf)
            pairs_P2 = None
            if not float(squared_BC.amin()) > block.limit:
                squared_BC, pairs_P2 = self.refine(squared_BC, block, at)
                self.add_near(pairs_P2, strip)
            self.sums.add_strip(squared_BC, strip, pairs_P2)

    def refine(self, squared_BC: Tensor, block: _Block, at: slice) -> tuple[Tensor, Tensor]:
        """The strip, in float64 when it held many near pairs, and its near pairs, shape (P, 2)."""
        pairs_P2 = block.near(squared_BC, at)
        if not self.layout.single or len(pairs_P2) * _MANY <= squared_BC.numel():
            return squared_BC, pairs_P2
        piece = block.side.piece
        if block.columns_CD is None:
            block.columns_CD = self.exact(*block.column.piece)
        rows_BD = self.exact(piece.start + at.start, piece.start + at.stop, piece.centre)
        exact_BC = torch.addmm(block.left_B[at, None], rows_BD, block.columns_CD.T, alpha=-2).add_(block.top_C)
        if block.diagonal:
            exact_BC.diagonal(at.start).fill_(torch.inf)
        return exact_BC, block.near(exact_BC, at, _NEAR_DOUBLE / _NEAR_SINGLE)

    def add_near(self, pairs_P2: Tensor, strip: Strip) -> None:
        """Add listed pairs of a strip from the float64 differences of their rows, known copies without a look."""
        first_P, second_P = pairs_P2[:, 0] + strip.top, pairs_P2[:, 1] + strip.left
        squared_P = torch.zeros(len(first_P), dtype=torch.float64, device=self.rows.device)
        apart_P = self.groups_N[first_P] != self.groups_N[second_P]
        one_P, two_P = first_P[apart_P], second_P[apart_P]
        if self.layout.order is not None:
            one_P, two_P = self.layout.order[one_P], self.layout.order[two_P]
        squared_P[apart_P] = squared_distances(self.rows, one_P, two_P)
        self.sums.add_pairs(squared_P, first_P, second_P, strip.diagonal)


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
        block: Rows of a block; by default what fills 16 MB.
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
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
            engine = _Engine(rows, s, labels_N, block)
            engine.run(rank, world)
    finally:
        torch.set_float32_matmul_precision(precision)
    if distributed:
        for total in (engine.sums.by_row, engine.sums.coincident, engine.sums.within):
            dist.all_reduce(total)
    return engine.sums
