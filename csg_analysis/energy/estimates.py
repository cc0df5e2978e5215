"""What an energy is worth: its record with intervals and conventions, and the closed forms to compare it with.

Shape suffixes: N rows.
"""

import math
from dataclasses import dataclass
from typing import Literal

from scipy.special import digamma, gammaln
from torch import Tensor

from csg_analysis.energy.scratch import spans
from csg_train.errors import UserError

__all__ = [
    "Coincident",
    "Convention",
    "Energy",
    "Estimate",
    "Parts",
    "jackknife_error",
    "simplex_energy",
    "uniform_energy",
]

Convention = Literal["paper", "mhe"]
Coincident = Literal["exclude", "infinite"]
_NORMAL_95 = 1.959963984540054


def _factor(s: float, convention: Convention) -> float:
    if convention not in ("paper", "mhe"):
        raise UserError(f'convention {convention!r}; choose "paper" or "mhe"')
    return 2.0 if convention == "mhe" and s == 0 else 1.0


def uniform_energy(d: int, s: float, *, convention: Convention = "paper") -> float:
    """The energy of the uniform distribution on the sphere S^(d-1) in d dimensions, the least of all distributions.

    E|x - y|^-s = 2^(d-2-s) G(d/2) G((d-1-s)/2) / (sqrt(pi) G(d-1-s/2)) with G the gamma function; for s = 0 minus its
    logarithmic derivative, (psi(d-1) - psi((d-1)/2)) / 2 - ln 2. A finite sample can lie below it.

    Args:
        d: Dimension, >= 1.
        s: Order, >= 0.
        convention: "paper" or "mhe".

    Returns:
        The energy; infinite for s >= d - 1.
    """
    if not (1 <= d < math.inf and s >= 0):
        raise UserError(f"uniform energy for d={d}, s={s}; give d >= 1 and s >= 0")
    factor = _factor(s, convention)
    if s >= d - 1:
        return math.inf
    if s == 0:
        return factor * float((digamma(d - 1) - digamma((d - 1) / 2)) / 2 - math.log(2))
    logarithm = (d - 2 - s) * math.log(2) + gammaln(d / 2) + gammaln((d - 1 - s) / 2) - gammaln(d - 1 - s / 2)
    return float(math.exp(logarithm - math.log(math.pi) / 2))


def simplex_energy(n: int, d: int, s: float, *, convention: Convention = "paper") -> float | None:
    """The least energy of n points in d dimensions where it is known for every s: the regular simplex, n <= d + 1.

    All its distances are sqrt(2 n / (n - 1)).

    Returns:
        The energy, or None for n > d + 1.
    """
    if n < 2 or d < 1 or not s >= 0:
        raise UserError(f"simplex energy for n={n}, d={d}, s={s}; give n >= 2, d >= 1 and s >= 0")
    factor = _factor(s, convention)
    if n > d + 1:
        return None
    squared = 2 * n / (n - 1)
    return -factor * math.log(squared) / 2 if s == 0 else float(squared ** (-s / 2))


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """An energy of one order in one convention, with what it is compared to.

    Attributes:
        s: The order.
        convention: "paper" or "mhe".
        value: The mean over pairs.
        standard_error: Of the value as an estimate for the distribution that the rows were drawn from; NaN below
            three rows and beside an infinite value.
        low: Lower end of the 95% interval, value - 1.96 standard errors.
        high: Upper end.
        within: Mean over the pairs of one class; None without labels or without such pairs.
        between: Mean over the pairs of two classes; likewise.
        uniform: `uniform_energy` in the same dimension and convention.
        simplex: `simplex_energy` for the same number of rows, or None.
    """

    s: float
    convention: Convention
    value: float
    standard_error: float
    low: float
    high: float
    within: float | None
    between: float | None
    uniform: float
    simplex: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Energy:
    """Energies of one set of features; ``energy.mhe[0].value`` is the number of Table 1's first column.

    Attributes:
        n: Rows.
        d: Dimensions.
        pairs: Pairs looked at: all N (N - 1) / 2, or the sampled ones.
        coincident_pairs: How many of them are one point: float64 distance of the normalised rows below 1e-12.
        coincident: The rule for them. "exclude": the means run over the other pairs. "infinite": one such pair makes
            every value of its kind infinite.
        sampled: Whether only some pairs were looked at.
        paper: Estimates by order s, textbook convention.
        mhe: Estimates by order s, convention of MHE's code.
    """

    n: int
    d: int
    pairs: int
    coincident_pairs: int
    coincident: Coincident
    sampled: bool
    paper: dict[float, Estimate]
    mhe: dict[float, Estimate]


def jackknife_error(row_N: Tensor, each: int, coincident_N: Tensor) -> float:
    """Standard error of sum / number of pairs when single rows are left out (Efron and Stein's variance).

    Leaving row i out leaves the mean (T - R_i) / (M - m_i), where R_i and m_i are its pairs' sum and number; the
    variance is (N - 1) / N times the sum of the squared deviations of these N means from their own mean.

    Args:
        row_N: R_i, without coincident pairs.
        each: Pairs of a row, coincident ones included.
        coincident_N: Coincident pairs of each row.
    """
    n, total, pairs = len(row_N), float(row_N.sum()) / 2, (len(row_N) * each - float(coincident_N.sum())) / 2
    if n < 3 or pairs - each + float(coincident_N.min()) <= 0:
        return math.nan

    def left_out(span: slice) -> Tensor:
        return (total - row_N[span]) / (pairs - each + coincident_N[span])

    mean = sum(float(left_out(span).sum()) for span in spans(n)) / n
    return math.sqrt(sum(float((left_out(span) - mean).square().sum()) for span in spans(n)) * (n - 1) / n)


@dataclass(frozen=True, slots=True)
class Parts:
    """Means of one order in the paper's convention, NaN where there is no pair or no label."""

    value: float
    error: float
    within: float = math.nan
    between: float = math.nan

    def estimate(self, s: float, convention: Convention, n: int, d: int) -> Estimate:
        """The same in one convention, for n rows in d dimensions."""
        factor = _factor(s, convention)
        value, error = factor * self.value, factor * self.error if math.isfinite(self.value) else math.nan
        return Estimate(
            s=s,
            convention=convention,
            value=value,
            standard_error=error,
            low=value - _NORMAL_95 * error,
            high=value + _NORMAL_95 * error,
            within=None if math.isnan(self.within) else factor * self.within,
            between=None if math.isnan(self.between) else factor * self.between,
            uniform=uniform_energy(d, s, convention=convention),
            simplex=simplex_energy(n, d, s, convention=convention),
        )
