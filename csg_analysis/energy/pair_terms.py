"""What one pair of unit vectors adds to the energies, and the sums of it in a block of pairs.

Shape suffixes: D features, S orders, T terms (orders and the count), B rows, C columns, P listed pairs.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from csg_analysis.energy.unit_rows import UnitRows

__all__ = ["COINCIDENT", "Rectangle", "TermSums", "class_rectangles", "pair_terms", "powers", "squared_distances"]

Rectangle = tuple[slice, slice]

COINCIDENT = 1e-12  # float64 distance of two normalised rows below which they are one point
_WIDE = 3.0  # above this order d^-s can leave the range of float32


def powers(squared: Tensor, s: float) -> Tensor:
    """The term of one pair from its squared distance: -ln(d^2) / 2 for s = 0, d^-s otherwise."""
    return squared.log().mul_(-0.5) if s == 0 else squared.pow(-s / 2)


def squared_distances(rows: UnitRows, first_P: Tensor, second_P: Tensor) -> Tensor:
    """Squared distances of listed pairs of rows from float64 differences, shape (P,); 0 where they coincide."""
    squared_P = torch.empty(len(first_P), dtype=torch.float64, device=rows.device)
    for start, stop in rows.chunks(0, len(first_P)):
        apart_PD = rows.take(first_P[start:stop]).sub_(rows.take(second_P[start:stop]))
        squared_P[start:stop] = apart_PD.square_().sum(1)
    return squared_P.masked_fill_(squared_P < COINCIDENT**2, 0)


def pair_terms(squared_P: Tensor, s: tuple[float, ...]) -> Tensor:
    """What listed pairs add by their squared distances, 0 where they coincide: float64, shape (T, P)."""
    same_P = squared_P == 0
    return torch.stack([*(powers(squared_P, order).masked_fill_(same_P, 0) for order in s), same_P.double()])


def class_rectangles(label_B: Tensor, label_C: Tensor) -> list[Rectangle]:
    """The parts of a block whose rows and columns share a class: its labels lie in few runs."""
    wide: dict[int, list[slice]] = {}
    for label, columns in _runs(label_C):
        wide.setdefault(label, []).append(columns)
    return [(rows, columns) for label, rows in _runs(label_B) for columns in wide.get(label, [])]


def _runs(label_N: Tensor) -> list[tuple[int, slice]]:
    """Each run of equal labels."""
    found, counts = torch.unique_consecutive(label_N, return_counts=True)
    ends: list[int] = counts.cumsum(0).tolist()
    return [(label, slice(low, high)) for label, low, high in zip(found.tolist(), [0, *ends[:-1]], ends, strict=True)]


class TermSums:
    """Sums of the terms of the pairs of one block, float64; coincident pairs contribute nothing and are counted.

    A diagonal block, whose rows are among its columns, holds each pair twice.

    Attributes:
        rows: Shape (S + 1, B): for each order and row the sum over its pairs; last, its number of coincident pairs.
        columns: Shape (S + 1, C): the same for the columns; zero in a diagonal block, where the rows say it all.
        within: Shape (S + 1,): the same for the pairs of one class, in all.
    """

    def __init__(
        self, s: tuple[float, ...], shape: tuple[int, int], device: torch.device, *, diagonal: int | None = None
    ) -> None:
        """``diagonal``: the column that the first row is, in a diagonal block."""
        self.s, self.diagonal = s, diagonal
        self.share = 1 if diagonal is None else 0.5
        self.rows = torch.zeros(len(s) + 1, shape[0], dtype=torch.float64, device=device)
        self.columns = torch.zeros(len(s) + 1, shape[1], dtype=torch.float64, device=device)
        self.within = torch.zeros(len(s) + 1, dtype=torch.float64, device=device)

    def add_pairs(self, terms_TP: Tensor, row_P: Tensor, column_P: Tensor) -> None:
        """Add what `pair_terms` says of listed pairs, both ways round in a diagonal block."""
        self.rows.index_add_(1, row_P, terms_TP)
        if self.diagonal is None:
            self.columns.index_add_(1, column_P, terms_TP)

    def add_strip(
        self,
        squared_BC: Tensor,
        top: int = 0,
        done_P2: Tensor | None = None,
        rectangles: Sequence[Rectangle] = (),
        same_BC: Tensor | None = None,
    ) -> None:
        """Add all pairs of some rows but the listed ones by their squared distances, which are overwritten.

        Sums along a row or column of the strip run in its own precision (pairwise), those of strips in float64.

        Args:
            squared_BC: Squared distances of the rows from ``top`` on and all columns; of a row and itself anything.
            top: First row.
            done_P2: Row (from ``top`` on) and column of the pairs to leave out.
            rectangles: The parts of the strip whose rows and columns share a class.
            same_BC: The pairs that do, instead: on a GPU one look at all costs less than many at parts.
        """
        for index, term_BC in self._terms(squared_BC, top, done_P2):
            self.rows[index, top : top + len(squared_BC)] += term_BC.sum(1)
            if self.diagonal is None:
                self.columns[index] += term_BC.sum(0)
            for rectangle in rectangles:
                self.within[index] += self.share * term_BC[rectangle].sum(1).double().sum()
            if same_BC is not None:
                self.within[index] += self.share * (term_BC * same_BC).sum(1).double().sum()

    def _leave_out(self, squared_BC: Tensor, top: int, done_P2: Tensor | None, value: float) -> None:
        if done_P2 is not None:
            squared_BC[done_P2[:, 0], done_P2[:, 1]] = value
        if self.diagonal is not None:
            squared_BC.diagonal(self.diagonal + top).fill_(value)

    def _terms(self, squared_BC: Tensor, top: int, done_P2: Tensor | None) -> Iterator[tuple[int, Tensor]]:
        """The terms of each order with its index, 0 for what is left out; order 0 comes last and in place."""
        self._leave_out(squared_BC, top, done_P2, torch.inf)
        if max(self.s) > _WIDE:
            squared_BC = squared_BC.double()
        root_BC = squared_BC.rsqrt() if {1.0, 2.0} & set(self.s) else squared_BC
        if 1 in self.s:
            yield self.s.index(1), root_BC
        if 2 in self.s:
            yield self.s.index(2), root_BC.square_()
        for index, s in enumerate(self.s):
            if s not in (0, 1, 2):
                yield index, torch.pow(squared_BC, -s / 2)
        if 0 in self.s:
            self._leave_out(squared_BC, top, done_P2, 1)
            yield self.s.index(0), squared_BC.log_().mul_(-0.5)
