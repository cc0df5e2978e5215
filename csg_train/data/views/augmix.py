"""AugMix: a picture mixed with several chains of operations on it, ``x' = m x + (1 - m) sum_i w_i chain_i(x)``.

Three chains of one to three operations of severity 3; w ~ Dirichlet(1, 1, 1), m ~ Beta(1, 1); the nine operations of
the paper, without contrast, colour, brightness and sharpness. Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan:
AugMix, ICLR 2020; torchvision's implementation. Deviation: the augmentation alone, without the Jensen-Shannon term of
three views.
"""

import random

from PIL import Image
from torchvision.transforms import v2

from csg_train.seeds import seeded

__all__ = ["augmix"]

_MIX = v2.AugMix(severity=3, mixture_width=3, chain_depth=-1, alpha=1.0, all_ops=False)


def augmix(image: Image.Image, rng: random.Random) -> Image.Image:
    """The mixture of an ``RGB`` picture; torch's global generators, from one of which torchvision draws, stay."""
    with seeded(rng.getrandbits(63)):
        mixed: Image.Image = _MIX(image)
    return mixed
