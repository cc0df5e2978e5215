"""The rows in the order of computation: their layout, classes and copies by position, and the sums over their pairs.

Shape suffixes: N rows, D features, S orders, T terms (orders and the count), B rows of a block, P listed pairs.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from csg_analysis.energy.pair_terms import COINCIDENT, TermSums, squared_distances
from csg_analysis.energy.scratch import row_array
from csg_analysis.energy.unit_rows import UnitRows, arrange

__all__ = ["FLOOR", "MANY", "NEAR_DOUBLE", "NEAR_SINGLE", "Positions", "shares"]

# A pair is near when its squared distance is below this share of the mean square of its residuals; above it the
# rounding of the product changes single squared distances by about 2e-6 (float32) and 1e-9 (float64), either way.
NEAR_SINGLE, NEAR_DOUBLE = 2.0**-4, 1e-7
FLOOR = 4 * COINCIDENT**2  # residuals can be as short as coincident pairs are near; these are always looked at
MANY = 256  # with one near pair in so many, a float64 product costs less than single pairs


class Positions:
    """Unit vectors arranged for the pass over their pairs.

    Attributes:
        layout: Which row each position has, and around which centre.
        dtype: Of the products.
        labels_N: Class numbers by position, or None.
        sums_TN: What the blocks so far add up to, by position, float64.
        within_T: The same for the pairs of one class, in all.
    """

    def __init__(self, rows: UnitRows, s: tuple[float, ...], labels_N: Tensor | None = None) -> None:
        self.rows, self.s = rows, s
        self.layout = arrange(rows, labels_N, NEAR_SINGLE, NEAR_DOUBLE)
        self.dtype = torch.float32 if self.layout.single else torch.float64
        self.groups_N = self.layout.arranged(rows.copy_groups())
        self.labels_N = None if labels_N is None else self.layout.arranged(labels_N)
        self.sums_TN = row_array((len(s) + 1, rows.n), torch.float64, rows.device)
        self.within_T = torch.zeros(len(s) + 1, dtype=torch.float64, device=rows.device)

    def residuals(self, start: int, stop: int, centre: int | Tensor) -> Tensor:
        """Float64 residuals of some rows around their centre or centres, shape (B, D)."""
        return self.rows.take(self.layout.rows(start, stop)).sub_(self.layout.centres[centre])

    def pair_distances(self, first_P: Tensor, second_P: Tensor) -> Tensor:
        """Squared distances of listed pairs of positions from float64 differences, of known copies without a look."""
        squared_P = torch.zeros(len(first_P), dtype=torch.float64, device=self.rows.device)
        apart_P = self.groups_N[first_P] != self.groups_N[second_P]
        one_P, two_P = first_P[apart_P], second_P[apart_P]
        if self.layout.order is not None:
            one_P, two_P = self.layout.order[one_P], self.layout.order[two_P]
        squared_P[apart_P] = squared_distances(self.rows, one_P, two_P)
        return squared_P

    def merge(self, sums: TermSums, row: int, column: int) -> None:
        """Add the sums of the block whose first row and column are at these positions."""
        self.sums_TN[:, row : row + sums.rows.shape[1]] += sums.rows
        self.sums_TN[:, column : column + sums.columns.shape[1]] += sums.columns
        self.within_T += sums.within


def shares(counts: list[int], panel: int, rank: int, world: int) -> Iterator[tuple[range, list[int]]]:
    """Deal the upper triangle of blocks to ``world`` processes; what ``rank`` has.

    A unit of work is a panel of consecutive pieces as rows and one piece on or right of the diagonal as columns.

    Args:
        counts: Rows of each piece.
        panel: At most so many rows in a panel, but one piece at least.
        rank: Of this process.
        world: Number of processes.

    Yields:
        The pieces of a panel and, one or more, its columns.
    """
    unit, first = 0, 0
    while first < len(counts):
        last, held = first + 1, counts[first]
        while last < len(counts) and held + counts[last] <= panel:
            held += counts[last]
            last += 1
        mine = [index for index in range(first, len(counts)) if (unit + index - first) % world == rank]
        if mine:
            yield range(first, last), mine
        unit, first = unit + len(counts) - first, last
