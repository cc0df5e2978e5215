"""All pairs on the processor: blocks of the upper triangle, worked off by threads of one core each.

A block of squared distances comes from one matrix product of residuals (rows minus the centre of their cluster, see
`csg_analysis.energy.unit_rows`). A product rounds relative to the length of the residuals, so pairs much nearer than
that lose digits. They are recomputed: a few from the float64 difference of their rows, many by a float64 product first.

Shape suffixes: D features, K centres, B rows of a block, C its columns, P listed pairs.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from csg_analysis.energy.pair_terms import TermSums, class_rectangles, pair_terms
from csg_analysis.energy.positions import FLOOR, MANY, NEAR_DOUBLE, NEAR_SINGLE, Positions, shares
from csg_analysis.energy.scratch import block_buffer
from csg_analysis.energy.unit_rows import offsets

__all__ = ["PANEL_BYTES", "Blocks"]

PANEL_BYTES, _STRIP_BYTES = 64 * 2**20, 2**20
_PRODUCT_BYTES, _EXACT_BYTES, _COLUMN_BYTES = 8 * 2**20, 16 * 2**20, 8 * 2**20  # two of all workers' and a piece's
_ALIGN = 64  # numbers: products into rows of odd length run at two thirds of the speed
_AHEAD = 2  # pieces of columns that are read while others are worked on


class _Piece(NamedTuple):
    """Consecutive positions around one centre."""

    start: int
    stop: int
    centre: int


class _Side(NamedTuple):
    """A piece ready for products: residuals (B, D), and offsets (B, K) in float64."""

    piece: _Piece
    residual: Tensor
    offset: Tensor

    @property
    def square(self) -> Tensor:
        """Squared residuals, shape (B,): the offsets to their own centre."""
        return self.offset[:, self.piece.centre]

    def parts(self, rows: int) -> "Iterator[_Side]":
        """The piece in parts of at most so many rows."""
        start, stop, centre = self.piece
        for low in range(start, stop, rows):
            part = _Piece(low, min(low + rows, stop), centre)
            at = slice(part.start - start, part.stop - start)
            yield _Side(part, self.residual[at], self.offset[at])


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
        self.side, self.columns = side, columns
        first = side.piece.start - column.piece.start
        self.diagonal = first if first >= 0 else None  # rows are never right of the columns
        self.left_B, self.top_C = side.offset[:, column.piece.centre], column.offset[:, side.piece.centre]
        self.near_B = near / 4 * (self.left_B.abs() + side.square)
        self.near_C = near / 4 * (self.top_C.abs() + column.square)
        self.limit = float(self.near_B.max() + self.near_C.max()) + FLOOR

    def near(self, squared_BC: Tensor, at: slice, finer: float = 1.0) -> Tensor:
        """The near pairs of a strip, shape (P, 2)."""
        return (squared_BC <= finer * (self.near_B[at, None] + self.near_C) + FLOOR).nonzero()

    def apart(self, squared_BC: Tensor, top: int) -> Tensor:
        """The strip from that row on, a row infinitely far from itself."""
        if self.diagonal is not None:
            squared_BC.diagonal(self.diagonal + top).fill_(torch.inf)
        return squared_BC


class Blocks:
    """The pass over blocks: a thread has some rows of a piece, all have the same columns.

    Operations of few rows would be short, and threads would wait for the interpreter: the more threads, the fewer rows
    each has of a piece, but never fewer columns.
    """

    def __init__(self, positions: Positions, block: int | None) -> None:
        workers = positions.rows.threads
        self.positions, self.workers = positions, workers
        self.rows, self.layout, self.dtype = positions.rows, positions.layout, positions.dtype
        size, d = self.dtype.itemsize, self.rows.d
        square = int((_PRODUCT_BYTES / 2 / size) ** 0.5) // _ALIGN * _ALIGN
        self.block = block or max(16, min(square, _COLUMN_BYTES // (size * d)))
        self.part = max(16, _PRODUCT_BYTES // (max(2, workers) * size * self.block))
        self.exact_rows = max(1, _EXACT_BYTES // (max(2, workers) * 8 * d))
        self.panel = max(self.block, PANEL_BYTES // (size * d + 8 * len(self.layout.centres)))
        self.strip = max(1, _STRIP_BYTES // (size * self.block))

    def pieces(self) -> Iterator[_Piece]:
        """The positions in pieces of at most a block, each of one centre, all pieces of a centre equally long."""
        for centre, (start, stop) in enumerate(itertools.pairwise(self.layout.bounds)):
            count = -(-(stop - start) // self.block)
            edges = [start + (stop - start) * part // count for part in range(count + 1)] if count else []
            yield from (_Piece(low, high, centre) for low, high in itertools.pairwise(edges))

    def exact(self, piece: _Piece) -> Tensor:
        """Float64 residuals of the rows of a piece, shape (B, D)."""
        exact_BD = block_buffer((piece.stop - piece.start, self.rows.d), torch.float64, self.rows.device)
        for start, stop in self.rows.chunks(piece.start, piece.stop):
            exact_BD[start - piece.start : stop - piece.start] = self.positions.residuals(start, stop, piece.centre)
        return exact_BD

    def load(self, piece: _Piece) -> _Side:
        """Read a piece."""
        layout, count = self.layout, piece.stop - piece.start
        residual_BD = block_buffer((count, self.rows.d), self.dtype, self.rows.device)
        offset_BK = block_buffer((count, len(layout.centres)), torch.float64, self.rows.device)
        for start, stop in self.rows.chunks(piece.start, piece.stop):
            at = slice(start - piece.start, stop - piece.start)
            exact_BD = self.positions.residuals(start, stop, piece.centre)
            residual_BD[at] = exact_BD
            offset_BK[at] = offsets(exact_BD, piece.centre, layout.centres, layout.gaps)
        return _Side(piece, residual_BD, offset_BK)

    def run(self, rank: int, world: int) -> None:
        """The share of one process.

        A panel of rows stays in memory while the columns pass by, so the array is read about rows / panel / 2 times.
        Blocks are added up in a fixed order.
        """
        pieces = list(self.pieces())
        counts = [piece.stop - piece.start for piece in pieces]
        with ThreadPoolExecutor(self.workers) as pool:
            for rows, columns in shares(counts, self.panel, rank, world):
                self.run_panel(pool, pieces, rows, columns)

    def run_panel(self, pool: ThreadPoolExecutor, pieces: list[_Piece], rows: range, columns: list[int]) -> None:
        """The blocks of some rows of pieces and some columns on or right of the diagonal."""
        panel = [*pool.map(self.load, pieces[rows.start : rows.stop])]
        waiting: deque[tuple[int, int, Future[TermSums]]] = deque()
        for index, side in self.read(pool, pieces, panel, rows, columns):
            unit = _Columns(side, self.exact)
            for part in itertools.chain.from_iterable(row.parts(self.part) for row in panel[: index - rows.start + 1]):
                waiting.append((part.piece.start, side.piece.start, pool.submit(self.block_sums, part, unit)))
                if len(waiting) > 2 * self.workers:
                    self.merge(*waiting.popleft())
        while waiting:
            self.merge(*waiting.popleft())

    def read(
        self, pool: ThreadPoolExecutor, pieces: list[_Piece], panel: list[_Side], rows: range, columns: list[int]
    ) -> Iterator[tuple[int, _Side]]:
        """Each piece of columns with its index: of the panel, or read by the threads while others are worked on."""
        loads = ((index, None if index in rows else pool.submit(self.load, pieces[index])) for index in columns)
        coming = deque(itertools.islice(loads, _AHEAD))
        while coming:
            index, load = coming.popleft()
            coming.extend(itertools.islice(loads, 1))
            yield index, panel[index - rows.start] if load is None else load.result()

    def merge(self, row: int, column: int, block: Future[TermSums]) -> None:
        """Add the sums of one block."""
        self.positions.merge(block.result(), row, column)

    def block_sums(self, side: _Side, columns: _Columns) -> TermSums:
        """One block, strip by strip, so that a strip stays in the cache from first to last use."""
        block = _Block(side, columns, NEAR_SINGLE if self.layout.single else NEAR_DOUBLE)
        column, labels_N = columns.side, self.positions.labels_N
        height, width = len(side.residual), len(column.residual)
        sums = TermSums(self.positions.s, (height, width), self.rows.device, diagonal=block.diagonal)
        padded = -(-width // _ALIGN) * _ALIGN
        product_BC = block_buffer((height, padded), self.dtype, self.rows.device)[:, :width]
        torch.addmm(product_BC, side.residual, column.residual.T, beta=0, alpha=-2, out=product_BC)
        left_B, top_C = block.left_B.to(self.dtype), block.top_C.to(self.dtype)
        for low in range(0, height, self.strip):
            at = slice(low, min(low + self.strip, height))
            squared_BC = block.apart(product_BC[at].add_(left_B[at, None]).add_(top_C), low)
            pairs_P2 = None
            if not float(squared_BC.amin()) > block.limit:
                squared_BC, pairs_P2 = self.refine(squared_BC, block, at)
                self.add_pairs(sums, block, pairs_P2[:, 0] + low, pairs_P2[:, 1])
            rectangles = []
            if labels_N is not None:
                label_B = labels_N[side.piece.start + at.start : side.piece.start + at.stop]
                rectangles = class_rectangles(label_B, labels_N[column.piece.start : column.piece.stop])
            sums.add_strip(squared_BC, low, pairs_P2, rectangles)
        return sums

    def add_pairs(self, sums: TermSums, block: _Block, row_P: Tensor, column_P: Tensor) -> None:
        """Add listed pairs of a block by their float64 differences."""
        labels_N = self.positions.labels_N
        first_P, second_P = row_P + block.side.piece.start, column_P + block.columns.side.piece.start
        terms_TP = pair_terms(self.positions.pair_distances(first_P, second_P), self.positions.s)
        sums.add_pairs(terms_TP, row_P, column_P)
        if labels_N is not None:
            sums.within += sums.share * (terms_TP * (labels_N[first_P] == labels_N[second_P])).sum(1)

    def refine(self, squared_BC: Tensor, block: _Block, at: slice) -> tuple[Tensor, Tensor]:
        """The strip, in float64 when it held many near pairs, and its near pairs, shape (P, 2)."""
        pairs_P2 = block.near(squared_BC, at)
        if not self.layout.single or len(pairs_P2) * MANY <= squared_BC.numel():
            return squared_BC, pairs_P2
        start, _, centre = block.side.piece
        columns_CD = block.columns.exact()
        exact_BC = torch.empty_like(squared_BC, dtype=torch.float64)
        for low in range(at.start, at.stop, self.exact_rows):
            high = min(low + self.exact_rows, at.stop)
            rows_BD = self.exact(_Piece(start + low, start + high, centre))
            out_BC = exact_BC[low - at.start : high - at.start]
            torch.addmm(block.left_B[low:high, None], rows_BD, columns_CD.T, alpha=-2, out=out_BC)
        exact_BC = block.apart(exact_BC.add_(block.top_C), at.start)
        return exact_BC, block.near(exact_BC, at, NEAR_DOUBLE / NEAR_SINGLE)
