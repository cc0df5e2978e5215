"""Pictures to load."""

from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["jpeg"]

_WIDTH, _HEIGHT = 500, 375


def jpeg(path: Path, seed: int) -> None:
    """Write one of 500 x 375 pixels: noise whose amplitude falls as 1/f, as that of photographs does; about 115 kB."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(_HEIGHT)[:, None], np.fft.rfftfreq(_WIDTH))
    frequency[0, 0] = np.inf  # no mean
    grey_HW = rng.standard_normal((_HEIGHT, _WIDTH))
    noise_3HW = grey_HW + 0.3 * rng.standard_normal((3, _HEIGHT, _WIDTH))  # channels go together, but not wholly
    pixels_3HW = np.fft.irfft2(np.fft.rfft2(noise_3HW) / frequency, s=(_HEIGHT, _WIDTH))
    pixels_3HW = 120 + 50 * pixels_3HW / pixels_3HW.std()
    Image.fromarray(pixels_3HW.clip(0, 255).astype(np.uint8).transpose(1, 2, 0).copy()).save(path, quality=90)
