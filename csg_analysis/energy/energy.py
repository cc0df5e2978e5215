"""Hyperspherical energy of features: every pair, both conventions, intervals, and the numbers to compare with.

For unit vectors u_i the energy of order s is the MEAN over the N (N - 1) / 2 unordered pairs of
    |u_i - u_j|^-s      for s > 0,
    ln(1 / |u_i - u_j|) for s = 0                        (CSG, Chen et al., ICLR 2021, Eq 1, which writes the sum).
Two conventions are computed and must be named beside a number:
    "paper"  as above.
    "mhe"    s = 0 doubled, the mean of -ln |u_i - u_j|^2; s > 0 as above. The numbers of the paper's Table 1 follow
             it: they were computed with the code of MHE (Liu et al., 2018).
Deviation from MHE's code: rows are normalised without its 1e-4 under the root, which there keeps coincident pairs
finite; here they are counted.

Shape suffixes: N rows, D features, S exponents, P sampled pairs.
"""

import math
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from csg_analysis.energy.estimates import (
    Coincident,
    Energy,
    Estimate,
    Parts,
    jackknife_error,
    simplex_energy,
    uniform_energy,
)
from csg_analysis.energy.labels import labels_of
from csg_analysis.energy.pair_terms import pair_terms, squared_distances
from csg_analysis.energy.pairs import pair_sums
from csg_analysis.energy.scratch import row_array, spans
from csg_analysis.energy.unit_rows import UnitRows
from csg_train.devices import full_float32, ordinary_tensors
from csg_train.errors import UserError
from csg_train.seeds import seed_for

__all__ = ["Energy", "Estimate", "hyperspherical_energy", "sampled_energy", "simplex_energy", "uniform_energy"]


def _orders(s: Any) -> tuple[float, ...]:
    try:
        orders = tuple(dict.fromkeys(map(float, (s,) if isinstance(s, Real) else [] if isinstance(s, str) else s)))
    except (TypeError, ValueError):
        orders = ()
    if not orders or not all(math.isfinite(order) and order >= 0 for order in orders):
        raise UserError(f"energy orders s={s!r}; give one or more finite numbers >= 0")
    return orders


def _mean(total: float, pairs: int, coincident: int, rule: Coincident) -> float:
    if coincident and rule == "infinite":
        return math.inf
    return total / (pairs - coincident) if pairs > coincident else math.nan


def _energy(
    rows: UnitRows, rule: Coincident, pairs: int, same: int, sampled: bool, parts: dict[float, Parts]
) -> Energy:
    return Energy(
        n=rows.n,
        d=rows.d,
        pairs=pairs,
        coincident_pairs=same,
        coincident=rule,
        sampled=sampled,
        paper={s: part.estimate(s, "paper", rows.n, rows.d) for s, part in parts.items()},
        mhe={s: part.estimate(s, "mhe", rows.n, rows.d) for s, part in parts.items()},
    )


def _require_rule(rule: Coincident) -> None:
    if rule not in ("exclude", "infinite"):
        raise UserError(f'coincident={rule!r}; choose "exclude" or "infinite"')


def _require_apart(rule: Coincident, pairs: int, coincident: int) -> None:
    if rule == "exclude" and coincident >= pairs:
        raise UserError(
            f"all {pairs} pairs coincide: the features collapsed to one point; lower the learning rates if training "
            'diverged, or count such pairs with coincident="infinite" (csg-analyze energy --coincident infinite)'
        )


def _class_numbers(labels: Any, rows: UnitRows) -> Tensor:
    given = labels_of(labels, rows.n)
    classes = np.unique(np.concatenate([np.unique(given[span]) for span in spans(rows.n)]))
    number_N = row_array((rows.n,), torch.int64, rows.device)
    for span in spans(rows.n):
        number_N[span] = torch.from_numpy(np.searchsorted(classes, given[span]))
    return number_N


def _shuffled(count: int, generator: np.random.Generator) -> Tensor:
    order_N = torch.arange(count, out=row_array((count,), torch.int64, torch.device("cpu")))
    generator.shuffle(order_N.numpy())
    return order_N


@full_float32()
@ordinary_tensors()
def hyperspherical_energy(
    features_ND: Any,
    *,
    s: float | tuple[float, ...] = (0, 1, 2),
    coincident: Coincident = "exclude",
    labels: Any = None,
    device: torch.device | str | None = None,
    distributed: bool = False,
    block_rows: int | None = None,
) -> Energy:
    """The energies of all pairs of feature rows, in one pass over blocks of pairs.

    The result does not depend on the order, the scale or a rotation of the rows, nor on the size of blocks, beyond
    rounding: relative error against float64 about 1e-8 (products in float32; up to s = 20, of larger orders more: 1e-5
    at s = 200) or 1e-12 (N <= 1024 or D <= 64, products in float64); `csg_analysis.energy.pairs` says how near pairs
    keep it.

    Args:
        features_ND: NumPy array, memory map or tensor, shape (N, D), N >= 2, floating point of any width. It is read
            in chunks and never changed. On the CPU memory beside it stays below 256 MB whatever N: what is kept for
            each of more than 130,000 rows lies in temporary files, some 100 bytes a row. On a GPU it is some 2 GB, and
            those bytes of each row.
        s: One order or several, each finite and >= 0.
        coincident: Rule for pairs at one point, see `Energy`.
        labels: One class for each row, none missing; adds the means within and between classes.
        device: Where to compute, CPU or CUDA; by default where the features are.
        distributed: Share the blocks among the processes of the default `torch.distributed` group.
        block_rows: Rows of a block; by default what keeps the memory below 256 MB, on a GPU 2048 at most.

    Raises:
        UserError: Wrong shapes or values; a row that is zero, NaN or infinite; all pairs coincide under "exclude".
    """
    orders = _orders(s)
    _require_rule(coincident)
    if block_rows is not None and (type(block_rows) is float or block_rows < 1):
        raise UserError(f"block_rows={block_rows}; give a whole number, 1 or more, or None")
    rows = UnitRows(features_ND, device)
    labels_N = None if labels is None else _class_numbers(labels, rows)
    sums = pair_sums(rows, orders, labels_N=labels_N, block=block_rows, distributed=distributed)
    pairs, same = rows.n * (rows.n - 1) // 2, round(float(sums.coincident.sum()) / 2)
    _require_apart(coincident, pairs, same)
    counts = [] if labels_N is None else torch.bincount(labels_N).tolist()
    inside, same_inside = sum(count * (count - 1) // 2 for count in counts), sums.within_coincident
    parts = {}
    for order, row_N, within in zip(orders, sums.rows, sums.within.tolist(), strict=True):
        total = float(row_N.sum()) / 2
        value = _mean(total, pairs, same, coincident)
        parts[order] = Parts(value, jackknife_error(row_N, rows.n - 1, sums.coincident))
        if labels_N is not None:
            between = _mean(total - within, pairs - inside, same - same_inside, coincident)
            parts[order] = replace(parts[order], within=_mean(within, inside, same_inside, coincident), between=between)
    return _energy(rows, coincident, pairs, same, False, parts)


@full_float32()
@ordinary_tensors()
def sampled_energy(
    features_ND: Any,
    *,
    pairs: int,
    seed: int,
    s: float | tuple[float, ...] = (0, 1, 2),
    coincident: Coincident = "exclude",
    device: torch.device | str | None = None,
) -> Energy:
    """Energies from a random part of the pairs, for numbers of rows whose pairs cannot all be visited.

    The design is balanced (an incomplete U-statistic): the rows, in random order on a circle, are paired with those k
    random distances ahead, so each row has 2 k pairs; k = pairs / N, and with fewer pairs than rows a random subset
    of the rows has k = 1. All pairs are float64 differences. Its variance for rows drawn from a distribution is
    4 z1 / n + (z2 - 2 z1) / M for M = n k pairs of n rows, with z1 the variance of a row's expected term and z2 that
    of a term. The jackknife over rows has the expectation 4 z1 / n + 2 (z2 - z1) / M; z2 / M is taken off it, and the
    result is at least z2 / M. The interval is for the energy of the distribution, as that of `hyperspherical_energy`,
    and contains the variation of all pairs of these rows around it. It needs terms of finite
    variance, d > 2 s + 1: in fewer dimensions, which no backbone has, it is too narrow.

    Args:
        features_ND: As for `hyperspherical_energy`; every row is read once, and twice for each of its pairs.
        pairs: At most so many pairs are visited; 3 at least.
        seed: Of the choice of pairs.
        s: One order or several, each finite and >= 0.
        coincident: Rule for pairs at one point, see `Energy`.
        device: Where to compute.

    Raises:
        UserError: As `hyperspherical_energy`, or ``pairs`` that exceed what the balanced design can give.
    """
    orders = _orders(s)
    _require_rule(coincident)
    rows = UnitRows(features_ND, device)
    most = (rows.n - 1) // 2 * rows.n
    if pairs % 1 or not 3 <= pairs <= most:
        raise UserError(f"pairs={pairs} of {rows.n} rows; give 3 to {most}, or use hyperspherical_energy for all")
    pairs = int(pairs)  # 1e6 is as good
    used = min(rows.n, pairs)
    generator = np.random.default_rng(seed_for(seed, "energy", "pairs"))
    order_N = _shuffled(rows.n, generator)[:used].to(rows.device)
    ahead = _shuffled((used - 1) // 2, generator)[: pairs // used] + 1
    row_TN = row_array((len(orders) + 1, used), torch.float64, rows.device)
    squares = torch.zeros(len(orders), dtype=torch.float64, device=rows.device)
    for distance in ahead.tolist():
        for start, stop in rows.chunks(0, used):
            first_P = torch.arange(start, stop, device=rows.device)
            second_P = (first_P + distance) % used
            squared_P = squared_distances(rows, order_N[first_P], order_N[second_P])
            terms_TP = pair_terms(squared_P, orders)
            row_TN[:, start:stop] += terms_TP
            row_TN.index_add_(1, second_P, terms_TP)
            squares += terms_TP[:-1].square().sum(1)
    row_TN = row_TN.cpu()
    visited, same = used * len(ahead), round(float(row_TN[-1].sum()) / 2)
    _require_apart(coincident, visited, same)
    kept = max(visited - same, 1)
    parts = {}
    for order, row_N, square in zip(orders, row_TN[:-1], squares.tolist(), strict=True):
        mean = float(row_N.sum()) / 2 / kept
        spread = max(square / kept - mean**2, 0) / kept
        variance = jackknife_error(row_N, 2 * len(ahead), row_TN[-1]) ** 2 - spread
        parts[order] = Parts(_mean(mean * kept, visited, same, coincident), max(variance, spread) ** 0.5)
    return _energy(rows, coincident, visited, same, True, parts)
