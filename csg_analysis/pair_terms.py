"""What one pair of unit vectors adds to the energies, and the sums of it by row and by class.

Shape suffixes: N rows, D features, S exponents, B rows of a strip, C its columns, P listed pairs.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from csg_analysis.unit_rows import UnitRows

__all__ = ["COINCIDENT", "PairSums", "Strip", "powers", "squared_distances"]

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


class Strip(NamedTuple):
    """Where some rows of a block lie: first and last position of the rows and of the columns.

    A diagonal strip holds each of its pairs twice, and rows paired with themselves, which its owner made infinitely
    distant.
    """

    top: int
    bottom: int
    left: int
    right: int
    diagonal: bool


class PairSums:
    """Sums over pairs, float64; coincident pairs contribute nothing and are counted.

    Attributes:
        s: The orders.
        by_row: Shape (S, N): for each order and position, the sum over the pairs of that row.
        coincident: Shape (N,): the number of coincident pairs of that row.
        within: Shape (S + 1,): the sums over pairs of one class, then the number of coincident ones among them.
        labels: Shape (N,): class numbers by position, or None. The positions of one class in a strip are consecutive.
    """

    def __init__(self, rows: UnitRows, s: tuple[float, ...], labels: Tensor | None) -> None:
        self.s, self.labels = s, labels
        self.by_row = torch.zeros(len(s), rows.n, dtype=torch.float64, device=rows.device)
        self.coincident = torch.zeros(rows.n, dtype=torch.float64, device=rows.device)
        self.within = torch.zeros(len(s) + 1, dtype=torch.float64, device=rows.device)

    def add_pairs(self, squared_P: Tensor, first_P: Tensor, second_P: Tensor, diagonal: bool) -> None:
        """Add pairs of the listed positions by their squared distances, 0 where they coincide."""
        same_P = squared_P == 0
        terms_P = [*(powers(squared_P, s).masked_fill_(same_P, 0) for s in self.s), same_P.double()]
        for sums_N, term_P in zip([*self.by_row, self.coincident], terms_P, strict=True):
            sums_N.index_add_(0, first_P, term_P)
            if not diagonal:
                sums_N.index_add_(0, second_P, term_P)
        if self.labels is not None:
            one_class_P = self.labels[first_P] == self.labels[second_P]
            sums = torch.stack([(term_P * one_class_P).sum() for term_P in terms_P])
            self.within += sums / 2 if diagonal else sums

    def add_strip(self, squared_BC: Tensor, strip: Strip, done_P2: Tensor | None) -> None:
        """Add all pairs of a strip but the listed ones by their squared distances, which are overwritten.

        Sums along a row or column of the strip run in its own precision (pairwise), those of strips in float64.
        """
        if done_P2 is not None:
            squared_BC[done_P2[:, 0], done_P2[:, 1]] = torch.inf
        rectangles = self._rectangles(strip)
        for index, term_BC in self._terms(squared_BC, strip, done_P2):
            self.by_row[index, strip.top : strip.bottom] += term_BC.sum(1)
            if not strip.diagonal:
                self.by_row[index, strip.left : strip.right] += term_BC.sum(0)
            for rectangle in rectangles:
                part = term_BC[rectangle].sum(1).double().sum()
                self.within[index] += part / 2 if strip.diagonal else part

    def _terms(self, squared_BC: Tensor, strip: Strip, done_P2: Tensor | None) -> Iterator[tuple[int, Tensor]]:
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
            if strip.diagonal:
                squared_BC.diagonal(strip.top - strip.left).fill_(1)
            if done_P2 is not None:
                squared_BC[done_P2[:, 0], done_P2[:, 1]] = 1
            yield self.s.index(0), squared_BC.log_().mul_(-0.5)

    def _rectangles(self, strip: Strip) -> list[tuple[slice, slice]]:
        """The parts of a strip whose rows and columns share a class."""
        if self.labels is None:
            return []
        high, wide = (_runs(self.labels[a:b]) for a, b in ((strip.top, strip.bottom), (strip.left, strip.right)))
        return [(high[label], wide[label]) for label in high if label in wide]


def _runs(labels: Tensor) -> dict[int, slice]:
    """The slice of each class among labels that are consecutive by class."""
    found, counts = torch.unique_consecutive(labels, return_counts=True)
    ends: list[int] = counts.cumsum(0).tolist()
    return {label: slice(low, high) for label, low, high in zip(found.tolist(), [0, *ends[:-1]], ends, strict=True)}
