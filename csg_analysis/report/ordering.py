"""How well a number orders runs by their score: rank correlation and regret, with a bootstrap over the runs.

Runs of one source and seed share their start and the order of their pictures, so they are drawn together: a resample
takes as many groups as there are, with replacement, and every run of a group as often as the group was drawn. The
weights ``(R, N)`` say how often; a weighted statistic is that of the resample written out.

Shape suffixes: N runs, R resamples.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from csg_analysis.report.stats import RESAMPLES, fewest_groups, percentile_interval, rank_correlation

__all__ = ["Ordering", "correlations", "order", "regrets", "resampled"]


_Ends = tuple[float, float] | None


@dataclass(frozen=True)
class Ordering:
    """What a number is worth for choosing among runs; None where it cannot be said.

    Attributes:
        runs: How many have the number.
        chosen: Positions of the runs with the highest.
        score: Mean score of the chosen.
        regret: Score of the best run of all, less ``score``.
        regret_ends: Its interval.
        rank: Spearman's correlation of the number with the score.
        rank_ends: Its interval.
        gain: ``rank`` less that of another number, over the runs that have both.
        gain_ends: Its interval, adjusted for the number of comparisons.
    """

    runs: int
    chosen: tuple[int, ...]
    score: float | None = None
    regret: float | None = None
    regret_ends: _Ends = None
    rank: float | None = None
    rank_ends: _Ends = None
    gain: float | None = None
    gain_ends: _Ends = None


def order(
    values_N: np.ndarray,
    scores_N: np.ndarray,
    weights_RN: np.ndarray | None,
    *,
    against_N: np.ndarray | None = None,
    comparisons: int = 1,
) -> Ordering:
    """Compare a number of each run with its score.

    Args:
        values_N: Higher is better; NaN where a run has none.
        scores_N: What the runs are worth.
        weights_RN: Of `resampled`; without them there are no intervals.
        against_N: The number to be better than, likewise.
        comparisons: How many numbers are compared with it.
    """
    has_N = ~np.isnan(values_N)
    if not has_N.any():
        return Ordering(0, ())
    chosen = np.flatnonzero(values_N == np.nanmax(values_N))
    score = float(scores_N[chosen].mean())
    rank, ranks_R = _rank(values_N, scores_N, weights_RN, has_N)
    gain, gain_ends = None, None
    if against_N is not None:
        both_N = has_N & ~np.isnan(against_N)
        ours, ours_R = _rank(values_N, scores_N, weights_RN, both_N)
        theirs, theirs_R = _rank(against_N, scores_N, weights_RN, both_N)
        if ours is not None and theirs is not None:
            gain = ours - theirs
            if ours_R is not None and theirs_R is not None:
                gain_ends = percentile_interval(ours_R - theirs_R, comparisons)
    return Ordering(
        runs=int(has_N.sum()),
        chosen=tuple(map(int, chosen)),
        score=score,
        regret=float(scores_N.max()) - score,
        regret_ends=None if weights_RN is None else percentile_interval(regrets(values_N, scores_N, weights_RN)),
        rank=rank,
        rank_ends=None if ranks_R is None else percentile_interval(ranks_R),
        gain=gain,
        gain_ends=gain_ends,
    )


def _rank(
    values_N: np.ndarray, scores_N: np.ndarray, weights_RN: np.ndarray | None, used_N: np.ndarray
) -> tuple[float | None, np.ndarray | None]:
    rank = rank_correlation(values_N[used_N].tolist(), scores_N[used_N].tolist())
    if rank is None or weights_RN is None:
        return rank, None
    return rank, correlations(values_N[used_N], scores_N[used_N], weights_RN[:, used_N])


def resampled(groups: Sequence[Hashable]) -> np.ndarray | None:
    """``(R, N)`` float64: how often each run is in each resample, drawn with a fixed seed.

    Args:
        groups: Of each run, the group that it is drawn with.

    Returns:
        None below `fewest_groups`, from which no interval can be made.
    """
    names = list(dict.fromkeys(groups))
    if len(names) < fewest_groups():
        return None
    shares = np.full(len(names), 1 / len(names))
    drawn_RG = np.random.default_rng(0).multinomial(len(names), shares, size=RESAMPLES)
    return np.asarray(drawn_RG[:, [names.index(group) for group in groups]], dtype=np.float64)


def correlations(first_N: np.ndarray, second_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation in each resample, ``(R,)``; NaN where one side is constant or nothing is drawn."""
    with np.errstate(invalid="ignore", divide="ignore"):
        x_RN, y_RN = (_centred_ranks(values_N, weights_RN) for values_N in (first_N, second_N))
        norms_R = np.sqrt((weights_RN * x_RN**2).sum(1) * (weights_RN * y_RN**2).sum(1))
        return np.asarray((weights_RN * x_RN * y_RN).sum(1) / norms_R)


def _centred_ranks(values_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    below_NN = (values_N[:, None] > values_N) + 0.5 * (values_N[:, None] == values_N)
    ranks_RN = weights_RN @ below_NN.T  # of integers and halves, so exact, and the same bytes everywhere
    means_R1 = (weights_RN * ranks_RN).sum(1, keepdims=True) / weights_RN.sum(1, keepdims=True)
    return np.asarray(ranks_RN - means_R1)


def regrets(values_N: np.ndarray, scores_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """Score of the best run of each resample less that of the run of the highest value, ``(R,)``, 0 or more.

    Of equal values the mean over these runs is taken, and NaN is never chosen; NaN where no drawn run has a value.
    """
    drawn_RN = weights_RN > 0
    signed_RN = np.where(drawn_RN & ~np.isnan(values_N), values_N, -np.inf)
    top_R1 = signed_RN.max(1, keepdims=True)
    chosen_RN = weights_RN * ((signed_RN == top_R1) & np.isfinite(top_R1))
    with np.errstate(invalid="ignore"):
        own_R = (chosen_RN * scores_N).sum(1) / chosen_RN.sum(1)
    return np.asarray(np.where(drawn_RN, scores_N, -np.inf).max(1) - own_R)
