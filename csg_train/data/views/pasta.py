"""PASTA: noise on the amplitudes of a picture's frequencies, the stronger the higher the frequency; phases stay.

With the two-dimensional Fourier transform F of each colour, and r the distance of a frequency from zero::

    x' = clip(Re F^-1( a * |F(x)| * exp(i arg F(x)) )),     a ~ N(1, s^2),     s = (alpha r / r_max)^k + beta

Chattopadhyay, Sarangmath, Vijaykumar, Hoffman: PASTA: Proportional Amplitude Spectrum Training Augmentation for
Syn-to-Real Domain Generalization, ICCV 2023. As in the released code the draws of opposite frequencies are independent,
so the real part is taken, and an amplitude may become negative. Its grid of r is off by one (n = 8: 0 1 2 3 3 2 1 0);
``exact`` is |fftfreq| (0 1 2 3 4 3 2 1), ``released`` is theirs.

Shapes: H rows, W columns, pictures ``(H, W, 3)`` in 0..255.
"""

from typing import Literal, NamedTuple

import numpy as np

__all__ = ["Pasta", "pasta", "perturbation", "spread"]

Grid = Literal["exact", "released"]


class Pasta(NamedTuple):
    """Settings; the published ones are the defaults of `csg_train.recipes.options.Pasta`."""

    alpha: float
    beta: float
    k: float
    grid: Grid


def _frequencies(length: int, grid: Grid) -> np.ndarray:
    """Whole periods in ``length`` pixels of each place of the transform, ``(length,)`` >= 0."""
    place = np.arange(length)
    released = np.minimum(place + length % 2, length - 1 - place)
    result: np.ndarray = np.abs(np.fft.fftfreq(length, 1 / length)) if grid == "exact" else released
    return result


def spread(height: int, width: int, settings: Pasta) -> np.ndarray:
    """``s`` of each frequency, ``(H, W)``: the standard deviation of the factor on its amplitude."""
    radius_HW = np.hypot(*np.ix_(_frequencies(height, settings.grid), _frequencies(width, settings.grid)))
    share_HW = radius_HW / (radius_HW.max() or 1.0)
    result: np.ndarray = (settings.alpha * share_HW) ** settings.k + settings.beta
    return result


def perturbation(shape: tuple[int, int, int], settings: Pasta, rng: np.random.Generator) -> np.ndarray:
    """The factors ``a ~ N(1, s^2)``, ``(H, W, 3)``, independent of each other."""
    return rng.normal(1.0, np.broadcast_to(spread(*shape[:2], settings)[..., None], shape))


def pasta(image_HW3: np.ndarray, settings: Pasta, rng: np.random.Generator) -> np.ndarray:
    """One picture with perturbed amplitudes.

    Args:
        image_HW3: uint8.
        settings: alpha, beta, k and the grid; alpha = beta = 0 gives the picture itself.
        rng: Drawn from H W 3 times.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    spectrum = np.fft.fft2(image_HW3.astype(np.float64), axes=(0, 1))
    changed = np.fft.ifft2(spectrum * perturbation(image_HW3.shape, settings, rng), axes=(0, 1)).real
    result: np.ndarray = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
    return result
