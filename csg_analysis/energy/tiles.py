"""All pairs on a GPU: large tiles of the upper triangle, one after another, without a look at any of them.

A tile has the squared distances of some rows and some columns, o_i(l) + o_j(k) - 2 r_i . r_j of residuals r and
offsets o (see `csg_analysis.energy.unit_rows`), from two products: of offsets and clusters, and of residuals. Pairs too
near for the product are put at distance 1, and where they were is kept. The host asks for their number once in some
tiles; a tile with many is computed again in float64, the others' pairs from the float64 difference of their rows, a
million at a time.

Shape suffixes: D features, K centres, T terms (orders and the count), B rows of a tile, C its columns, P listed pairs.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from csg_analysis.energy.pair_terms import TermSums, pair_terms
from csg_analysis.energy.positions import FLOOR, MANY, NEAR_DOUBLE, NEAR_SINGLE, Positions, shares
from csg_analysis.energy.unit_rows import offsets

__all__ = ["Tiles"]

_ROWS, _SIDE_NUMBERS = 2048, 2**24  # a tile and its terms stay in the cache of a large GPU
_PANEL_BYTES, _GROUP, _LISTED = 2**30, 16, 2**20  # rows in memory; tiles between two looks; pairs at a time
_ALIGN = 64


class _Side(NamedTuple):
    """Consecutive positions ready for products.

    ``residual`` (B, D); ``offset`` (B, 2 K) to every centre and which centre is a row's own; ``member`` (B, 2 K) the
    same in the other order; ``near`` (B,): a pair at most the sum of two of these apart, squared, is too near.
    """

    start: int
    stop: int
    residual: Tensor
    offset: Tensor
    member: Tensor
    near: Tensor


class Tiles:
    """The pass over tiles."""

    def __init__(self, positions: Positions, block: int | None) -> None:
        self.positions = positions
        layout, n, d, device = positions.layout, positions.rows.n, positions.rows.d, positions.rows.device
        most = block or max(16, min(_ROWS, _SIDE_NUMBERS // d))
        count = -(-n // most)
        self.step = min(most, -(-n // (count * _ALIGN)) * _ALIGN)
        self.panel = _PANEL_BYTES // (positions.dtype.itemsize * (d + 4 * len(layout.centres)))
        self.bounds = torch.tensor(layout.bounds, device=device)
        self.filler_T1 = torch.tensor([[float(s > 0)] for s in positions.s] + [[0.0]], device=device)  # at distance 1
        self.waiting: list[tuple[_Side, _Side, TermSums, Tensor]] = []
        self.near_P2: list[Tensor] = []

    def run(self, rank: int, world: int) -> None:
        """The share of one process."""
        n = self.positions.rows.n
        spans = [(start, min(start + self.step, n)) for start in range(0, n, self.step)]
        for rows, columns in shares([stop - start for start, stop in spans], self.panel, rank, world):
            self.run_panel(spans, rows, columns)
        self.add_near()

    def run_panel(self, spans: list[tuple[int, int]], rows: range, columns: list[int]) -> None:
        """The tiles of some rows, which are in memory until it ends."""
        dtype = self.positions.dtype
        panel = [self.load(*spans[index], dtype) for index in rows]
        for index in columns:
            column = panel[index - rows.start] if index in rows else self.load(*spans[index], dtype)
            for row in panel[: index - rows.start + 1]:
                self.waiting.append((row, column, *self.tile(row, column)))
                if len(self.waiting) == _GROUP:
                    self.settle()
        self.settle()

    def load(self, start: int, stop: int, dtype: torch.dtype) -> _Side:
        """Read some positions, of whatever centres, for products of that precision."""
        layout = self.positions.layout
        cluster_B = torch.bucketize(torch.arange(start, stop, device=self.bounds.device), self.bounds, right=True) - 1
        residual_BD = self.positions.residuals(start, stop, cluster_B)
        offset_BK = offsets(residual_BD, cluster_B, layout.centres, layout.gaps)
        member_BK = torch.eye(len(layout.centres), dtype=torch.float64, device=offset_BK.device)[cluster_B]
        # The offsets of a pair add up to at most its squared distance and its squared residuals: what `NEAR_SINGLE`
        # says of their mean holds of this sum, whatever the two centres.
        near = NEAR_SINGLE if dtype == torch.float32 else NEAR_DOUBLE
        near_B = near / (2 - near / 2) * residual_BD.square().sum(1) + FLOOR / 2
        offset, member = torch.cat([offset_BK, member_BK], 1), torch.cat([member_BK, offset_BK], 1)
        return _Side(start, stop, residual_BD.to(dtype), offset.to(dtype), member.to(dtype), near_B.to(dtype))

    def tile(self, row: _Side, column: _Side) -> tuple[TermSums, Tensor]:
        """The sums of a tile in which near pairs are at distance 1, and which those are, shape (B, C)."""
        diagonal = 0 if row.start == column.start else None
        squared_BC = row.offset @ column.member.T
        squared_BC.addmm_(row.residual, column.residual.T, alpha=-2)
        near_BC = squared_BC <= row.near[:, None] + column.near
        filled_BC = near_BC
        if diagonal is not None:
            near_BC = near_BC.triu(1)  # each pair once
            filled_BC = near_BC | near_BC.T
        squared_BC.masked_fill_(filled_BC, 1)
        same_BC = None
        if (labels_N := self.positions.labels_N) is not None:
            same_BC = labels_N[row.start : row.stop, None] == labels_N[column.start : column.stop]
        shape = row.stop - row.start, column.stop - column.start
        sums = TermSums(self.positions.s, shape, squared_BC.device, diagonal=diagonal)
        sums.add_strip(squared_BC, same_BC=same_BC)
        return sums, near_BC

    def settle(self) -> None:
        """Add up the waiting tiles, those with many near pairs computed again, and list the near pairs."""
        if not self.waiting:
            return
        counts = torch.stack([near_BC.sum() for *_, near_BC in self.waiting]).tolist()  # here the host waits
        for (row, column, sums, near_BC), count in zip(self.waiting, counts, strict=True):
            if self.positions.dtype == torch.float32 and count * MANY > near_BC.numel():
                exact = [self.load(side.start, side.stop, torch.float64) for side in (row, column)]
                sums, near_BC = self.tile(*exact)
            self.positions.merge(sums, row.start, column.start)
            if count:
                near_P2 = near_BC.nonzero()  # here too
                near_P2[:, 0] += row.start
                near_P2[:, 1] += column.start
                self.near_P2.append(near_P2)
                if sum(map(len, self.near_P2)) > _LISTED:
                    self.add_near()
        self.waiting.clear()

    def add_near(self) -> None:
        """Put the listed pairs, by their float64 differences, in the place of pairs at distance 1."""
        positions, labels_N = self.positions, self.positions.labels_N
        for pairs_P2 in torch.split(torch.cat(self.near_P2), _LISTED) if self.near_P2 else ():
            first_P, second_P = pairs_P2.unbind(1)
            terms_TP = pair_terms(positions.pair_distances(first_P, second_P), positions.s) - self.filler_T1
            positions.sums_TN.index_add_(1, first_P, terms_TP).index_add_(1, second_P, terms_TP)
            if labels_N is not None:
                positions.within_T += (terms_TP * (labels_N[first_P] == labels_N[second_P])).sum(1)
        self.near_P2.clear()
