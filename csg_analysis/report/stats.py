"""The statistics of the report: spread over runs, paired differences with t-intervals, rank correlation."""

import functools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

__all__ = [
    "LEVEL",
    "MIN_METHODS",
    "MIN_PAIRS",
    "RESAMPLES",
    "Difference",
    "Spread",
    "fewest_groups",
    "paired_difference",
    "percentile_interval",
    "picture_variance",
    "rank_correlation",
    "rank_correlation_interval",
    "shared_pairs",
    "spread",
]

LEVEL = 0.95
MIN_PAIRS = 3
"""Fewer pairs give no interval, hence no statement about which method is better."""
MIN_METHODS = 4
"""Fewer methods give no rank correlation."""
RESAMPLES = 10_000
"""Of each bootstrap over runs."""

Sign = Literal["higher", "lower", "none", "few"]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) of one number over runs; no deviation for a single run."""

    mean: float
    sd: float | None
    n: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """Two-sided t-interval of the mean; None below `MIN_PAIRS` runs."""
        if self.sd is None or self.n < MIN_PAIRS:
            return None
        half = _half_width(self.sd, self.n)
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences, with its t-intervals where there are enough pairs.

    Attributes:
        mean: Mean difference.
        values: The differences, in the order of their keys.
        comparisons: How many differences are read together, this one among them.
        interval: Ends of this difference's own interval, None below `MIN_PAIRS` pairs.
        simultaneous: Ends of the interval adjusted for ``comparisons`` (Bonferroni): all of them cover their true
            differences together with a probability of `LEVEL` at least.
        crossed: As ``simultaneous``, over target pictures too; None where their variance is not known.
    """

    mean: float
    values: tuple[float, ...]
    comparisons: int = 1
    interval: tuple[float, float] | None = None
    simultaneous: tuple[float, float] | None = None
    crossed: tuple[float, float] | None = None

    @property
    def decisive(self) -> tuple[float, float] | None:
        """The interval that a statement needs: the one over pictures too, where there is one."""
        return self.crossed or self.simultaneous

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.values)

    @property
    def sign(self) -> Sign:
        """What `decisive` supports: ``few`` pairs for one, it covers 0 (``none``), ``higher`` or ``lower``."""
        if self.decisive is None:
            return "few"
        low, high = self.decisive
        if low > 0:
            return "higher"
        return "lower" if high < 0 else "none"


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and standard deviation of some runs' numbers; None without any."""
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    return Spread(mean, _deviation(values, mean) if len(values) > 1 else None, len(values))


def _deviation(values: Sequence[float], mean: float) -> float:
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _half_width(sd: float, n: int, comparisons: int = 1) -> float:
    """Of the two-sided t-interval of a mean, at the level 1 - (1 - `LEVEL`) / ``comparisons``."""
    return _quantile(n - 1, comparisons) * sd / math.sqrt(n)


@functools.cache
def _quantile(free: int, comparisons: int) -> float:
    return float(stats.t.ppf(1 - (1 - LEVEL) / (2 * comparisons), free))


def paired_difference(
    ours: Mapping[Hashable, float],
    theirs: Mapping[Hashable, float],
    comparisons: int = 1,
    pictures: float | None = None,
) -> Difference | None:
    """Differences ``ours - theirs`` over the keys that both have, with two-sided t-intervals.

    Over training runs alone ``mean +- t s / sqrt n``, with n - 1 degrees of freedom. With the variance v of the mean
    over pictures, ``mean +- t sqrt(s^2 / n + v)``: the two-way model of runs crossed with pictures, both drawn at
    random. It counts twice what an interaction of the two adds, and takes no degree of freedom for the pictures, so it
    is never narrower than the first and covers more than its level. A percentile bootstrap over both has a variance
    of runs that is (n - 1) / n of the right one and no tails of t: too narrow where few runs vary most.

    Args:
        ours: A number for each key; a key is what makes two runs a pair.
        theirs: The numbers to subtract.
        comparisons: How many such differences are read together.
        pictures: v, see `picture_variance`.

    Returns:
        The difference, without interval below `MIN_PAIRS` pairs; None without any pair.
    """
    keys = [key for key in ours if key in theirs]
    values = tuple(ours[key] - theirs[key] for key in keys)
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    if len(values) < MIN_PAIRS:
        return Difference(mean, values, comparisons)
    sd = _deviation(values, mean)
    own, wide = (_half_width(sd, len(values), count) for count in (1, comparisons))
    crossed = None if pictures is None else math.hypot(wide, _quantile(len(values) - 1, comparisons) * pictures**0.5)
    return Difference(
        mean,
        values,
        comparisons,
        interval=(mean - own, mean + own),
        simultaneous=(mean - wide, mean + wide),
        crossed=None if crossed is None else (mean - crossed, mean + crossed),
    )


def picture_variance(differences: Sequence[np.ndarray]) -> float | None:
    """Sampling variance of a mean-per-class difference over target pictures, drawn within each class.

    ``sum_c s_c^2 / n_c / C^2``, s_c^2 the variance (n - 1) of a picture's difference: right or not under one method
    minus the same under the other, mean over the pairs of runs. Both methods have the same pictures, so what is hard
    for both counts for neither. Of a class with one picture, which tells nothing of others, s_c^2 is 1, the largest
    that numbers in [-1, 1] can have about their mean.

    Args:
        differences: Of each class with pictures, ``(n_c,)`` in [-1, 1].

    Returns:
        The variance; None without any class.
    """
    if not differences:
        return None
    own = (float(own_N.var(ddof=1)) / len(own_N) if len(own_N) > 1 else 1.0 for own_N in differences)
    return math.fsum(own) / len(differences) ** 2


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None below `MIN_METHODS` points or where one side is constant."""
    if len(first) < MIN_METHODS or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return float(stats.spearmanr(first, second).statistic)


def fewest_groups(comparisons: int = 1) -> int:
    """The fewest groups of runs for a bootstrap over them: so many equal signs are a chance as rare as the level.

    ``2^(1 - n) <= 0.05 / m`` for m comparisons. A bootstrap of fewer has no resamples rare enough for its level: its
    interval is too short.
    """
    return math.ceil(1 + math.log2(comparisons / (1 - LEVEL)))


def shared_pairs(values: Sequence[Mapping[Hashable, float]]) -> list[Hashable]:
    """The pairs (source and seed) that every method has, in the order of the first."""
    return [key for key in values[0] if all(key in own for own in values)] if values else []


def rank_correlation_interval(
    first: Sequence[Mapping[Hashable, float]], second: Sequence[Mapping[Hashable, float]]
) -> tuple[float, float] | None:
    """Percentile bootstrap of the rank correlation of the methods' means, over the pairs that every method has.

    Of `RESAMPLES` resamples, drawn with a fixed seed. The same resampled pairs (source and seed) are taken for every
    method, so what they share stays shared. The methods themselves are fixed: the interval says how far the runs
    determine the correlation, not what other methods would do. What runs differ by at random draws the correlation of
    their means towards 0, and the interval with it: where it is as large as what the methods differ by, the
    correlation without it lies outside more often than the level says.

    Args:
        first: One number for each pair, a mapping a method.
        second: Likewise, the methods in the same order.

    Returns:
        The interval's ends; None below `MIN_METHODS` methods or `fewest_groups` shared pairs.
    """
    keys = shared_pairs([*first, *second])
    if len(first) < MIN_METHODS or len(keys) < fewest_groups():
        return None
    chosen_RP = np.random.default_rng(0).integers(len(keys), size=(RESAMPLES, len(keys)))
    ranks = []
    for side in (first, second):
        values_MP = np.array([[values[key] for key in keys] for values in side])
        ranks_RM = stats.rankdata(values_MP[:, chosen_RP].mean(axis=2).T, axis=1)
        ranks.append(ranks_RM - ranks_RM.mean(axis=1, keepdims=True))
    with np.errstate(invalid="ignore"):  # all equal on one side: no rank correlation in that resample
        found = (ranks[0] * ranks[1]).sum(axis=1) / np.sqrt((ranks[0] ** 2).sum(axis=1) * (ranks[1] ** 2).sum(axis=1))
    return percentile_interval(found)


def percentile_interval(values_R: np.ndarray, comparisons: int = 1) -> tuple[float, float] | None:
    """Of bootstrapped values, at level 1 - 0.05/m for m comparisons (Bonferroni); None where all are NaN."""
    if np.isnan(values_R).all():
        return None
    tail = (1 - LEVEL) / comparisons / 2
    low, high = np.nanquantile(values_R, [tail, 1 - tail])
    return float(low), float(high)
