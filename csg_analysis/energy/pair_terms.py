"""What one pair of unit vectors adds to the energies, and the sums of it in a block of pairs.

Shape suffixes: D features, S orders, T terms (orders and the count), B rows, C columns, P listed pairs.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from csg_analysis.energy.unit_rows import UnitRows

__all__ = ["COINCIDENT", "TermSums", "powers", "squared_distances"]

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


class TermSums:
    """Sums of the terms of the pairs of one block, float64; coincident pairs contribute nothing and are counted.

    A diagonal block, whose rows and columns are the same, holds each pair twice; a row paired with itself must be
    infinitely distant there.

    Attributes:
        rows: Shape (S + 1, B): for each order and row the sum over its pairs; last, its number of coincident pairs.
        columns: Shape (S + 1, C): the same for the columns; zero in a diagonal block, where the rows say it all.
        within: Shape (S + 1,): the same for the pairs of one class, in all.
    """

    def __init__(
        self,
        s: tuple[float, ...],
        shape: tuple[int, int],
        device: torch.device,
        *,
        diagonal: bool = False,
        labels: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """``labels``: class numbers of the rows and of the columns, those of one class consecutive."""
        self.s, self.diagonal, self.labels = s, diagonal, labels
        self.rows = torch.zeros(len(s) + 1, shape[0], dtype=torch.float64, device=device)
        self.columns = torch.zeros(len(s) + 1, shape[1], dtype=torch.float64, device=device)
        self.within = torch.zeros(len(s) + 1, dtype=torch.float64, device=device)

    def add_pairs(self, squared_P: Tensor, row_P: Tensor, column_P: Tensor) -> None:
        """Add listed pairs by their squared distances, 0 where they coincide."""
        same_P = squared_P == 0
        terms_P = [*(powers(squared_P, s).masked_fill_(same_P, 0) for s in self.s), same_P.double()]
        terms_TP = torch.stack(terms_P)
        self.rows.index_add_(1, row_P, terms_TP)
        if not self.diagonal:
            self.columns.index_add_(1, column_P, terms_TP)
        if self.labels is not None:
            one_class_P = self.labels[0][row_P] == self.labels[1][column_P]
            self.within += (terms_TP * one_class_P).sum(1) / (2 if self.diagonal else 1)

    def add_strip(self, squared_BC: Tensor, top: int, done_P2: Tensor | None) -> None:
        """Add all pairs of some rows but the listed ones by their squared distances, which are overwritten.

        Sums along a row or column of the strip run in its own precision (pairwise), those of strips in float64.

        Args:
            squared_BC: Squared distances of the rows from ``top`` on and all columns.
            top: First row.
            done_P2: Row (from ``top`` on) and column of the pairs to leave out.
        """
        if done_P2 is not None:
            squared_BC[done_P2[:, 0], done_P2[:, 1]] = torch.inf
        rectangles = self._rectangles(top, top + len(squared_BC))
        for index, term_BC in self._terms(squared_BC, top, done_P2):
            self.rows[index, top : top + len(squared_BC)] += term_BC.sum(1)
            if not self.diagonal:
                self.columns[index] += term_BC.sum(0)
            for rectangle in rectangles:
                self.within[index] += term_BC[rectangle].sum(1).double().sum() / (2 if self.diagonal else 1)

    def _terms(self, squared_BC: Tensor, top: int, done_P2: Tensor | None) -> Iterator[tuple[int, Tensor]]:
        """The terms of each order with its index, 0 for infinite distances; order 0 comes last and in place."""
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
            if self.diagonal:
                squared_BC.diagonal(top).fill_(1)
            if done_P2 is not None:
                squared_BC[done_P2[:, 0], done_P2[:, 1]] = 1
            yield self.s.index(0), squared_BC.log_().mul_(-0.5)

    def _rectangles(self, top: int, bottom: int) -> list[tuple[slice, slice]]:
        """The parts of a strip whose rows and columns share a class."""
        if self.labels is None:
            return []
        high, wide = _runs(self.labels[0][top:bottom]), _runs(self.labels[1])
        return [(high[label], wide[label]) for label in high if label in wide]


def _runs(labels: Tensor) -> dict[int, slice]:
    """The slice of each class among labels that are consecutive by class."""
    found, counts = torch.unique_consecutive(labels, return_counts=True)
    ends: list[int] = counts.cumsum(0).tolist()
    return {label: slice(low, high) for label, low, high in zip(found.tolist(), [0, *ends[:-1]], ends, strict=True)}
