"""The look of one picture on the content of another: domain randomisation without a network.

Stand-ins for the stylised pictures of Yue et al. (ICCV 2019), who release neither code nor pictures: the low
frequencies' amplitude (Yang and Soatto, FDA, CVPR 2020), or mean and spread of each colour (the statistics of
AdaIN, Huang and Belongie, ICCV 2017, on colours instead of features). Both leave every edge where the mask has it.

Shapes: H rows, W columns, pictures ``(H, W, 3)`` in 0..255.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from csg_train.data.readers.images import decode, file_size

__all__ = ["Styles", "match_colour_moments", "swap_low_amplitude"]


def swap_low_amplitude(image_HW3: np.ndarray, style_HW3: np.ndarray, *, beta: float) -> np.ndarray:
    """Give a picture the amplitude of another's low frequencies; every phase stays.

    Args:
        image_HW3: Content.
        style_HW3: Style, of the same size.
        beta: Frequencies of at most ``beta`` cycles a pixel along both axes are swapped: 0 swaps the mean alone
            (frequency 0), 0.5 everything. FDA uses 0.01 to 0.09.

    Returns:
        ``(H, W, 3)`` float64, not yet clipped to 0..255.
    """
    assert image_HW3.shape == style_HW3.shape
    content, style = (np.fft.fft2(picture.astype(np.float64), axes=(0, 1)) for picture in (image_HW3, style_HW3))
    rows_H, columns_W = (np.abs(np.fft.fftfreq(length)) <= beta for length in image_HW3.shape[:2])
    low_HW1 = (rows_H[:, None] & columns_W)[..., None]
    amplitude = np.where(low_HW1, np.abs(style), np.abs(content))
    result: np.ndarray = np.fft.ifft2(amplitude * np.exp(1j * np.angle(content)), axes=(0, 1)).real
    return result


def match_colour_moments(image_HW3: np.ndarray, style_HW3: np.ndarray) -> np.ndarray:
    """Give each colour channel of a picture the mean and standard deviation that another has.

    Args:
        image_HW3: Content. A channel of one value stays so and takes the mean alone.
        style_HW3: Style, of any size.

    Returns:
        ``(H, W, 3)`` float64, not yet clipped to 0..255.
    """
    content, style = image_HW3.astype(np.float64), style_HW3.astype(np.float64)
    spread = content.std(axis=(0, 1))
    factor = np.divide(style.std(axis=(0, 1)), spread, out=np.ones_like(spread), where=spread > 0)
    result: np.ndarray = (content - content.mean(axis=(0, 1))) * factor + style.mean(axis=(0, 1))
    return result


@dataclass(frozen=True)
class Styles:
    """Pictures whose look is borrowed, and how.

    Attributes:
        files: The pictures; none of them needs a label.
        kind: ``fourier`` is `swap_low_amplitude`, ``moments`` is `match_colour_moments`.
        beta: Of ``fourier``.
    """

    files: Sequence[Path]
    kind: Literal["fourier", "moments"] = "fourier"
    beta: float = 0.01

    @property
    def identity(self) -> str:
        """SHA-256 over every (path, size in bytes): another is another set, as `ImageSet.identity`."""
        return hashlib.sha256("\n".join(f"{file}\t{file_size(file)}" for file in self.files).encode()).hexdigest()

    def apply(self, image_HW3: np.ndarray, rng: random.Random) -> np.ndarray:
        """The same picture in the look of a random file, ``(H, W, 3)`` uint8."""
        style = decode(rng.choice(self.files)).convert("RGB")
        if self.kind == "moments":
            styled = match_colour_moments(image_HW3, np.array(style))
        else:
            size = (image_HW3.shape[1], image_HW3.shape[0])
            styled = swap_low_amplitude(
                image_HW3, np.array(style.resize(size, Image.Resampling.BILINEAR)), beta=self.beta
            )
        result: np.ndarray = np.clip(np.rint(styled), 0, 255).astype(np.uint8)
        return result
