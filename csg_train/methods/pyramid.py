"""Pyramid consistency: the same picture in several styles gives the same features, coarse and fine.

Yue, Zhang, Zhao, Sangiovanni-Vincentelli, Keutzer, Gong: Domain Randomization and Pyramid Consistency, ICCV 2019.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from csg_train.methods.patches import patches

__all__ = ["pyramid_consistency"]


def pyramid_consistency(features_KNCHW: Tensor, levels: Sequence[int] = (1, 2, 4, 8)) -> Tensor:
    """Mean distance of each style's pooled features to their mean over the styles.

    ``L = mean over p in levels, k, n, c and the p x p patches of | a_p(v_k) - mean_j a_p(v_j) |``, with ``a_p`` the
    average of each of p x p equal patches.

    The paper has no public code. Ours are: L1 (robust to single styles that fail), the plain mean over the levels, and
    that the gradient flows through the mean over styles as well.

    Args:
        features_KNCHW: Maps of N pictures in each of K >= 2 styles.
        levels: Patches to a side; each has to divide H and W.

    Returns:
        A scalar >= 0, 0 if and only if all styles agree at every level.

    Raises:
        UserError: A level does not divide the map.
    """
    styles, n = features_KNCHW.shape[:2]
    assert styles > 1, "one style is always consistent with itself"
    distances = []
    for p in levels:
        pooled_KLC = patches(features_KNCHW.flatten(0, 1), p).mean(dim=(2, 3)).reshape(styles, n * p * p, -1)
        distances.append((pooled_KLC - pooled_KLC.mean(dim=0)).abs().mean())
    return torch.stack(distances).mean()
