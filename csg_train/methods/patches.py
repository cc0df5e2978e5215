"""Feature maps in patches: CSG's dense contrast for segmentation.

Chen, Yu, De Mello, Liu, Alvarez, Wang, Anandkumar: Contrastive Syn-to-Real Generalization, ICLR 2021.

Each map is cut into k x k patches, each patch pooled on its own, and patch i of the student is contrasted with patch i
of the teacher::

    NCE_l = 1 / N_l  sum_{i in 1..N_l}  NCE(z_i, z+_i),    N_l = k * k                                       (Eq 6)

As the patches of a batch are rows like pictures are, the mean of `csg_train.methods.contrastive.info_nce` over the rows
of `patch_pool` is Eq 6, with the pictures averaged too; k = 1 is the classification loss.
"""

from torch import Tensor

from csg_train.errors import UserError
from csg_train.methods.contrastive import attention, attention_pool

__all__ = ["patch_pool", "patches"]


def patches(features_NCHW: Tensor, k: int) -> Tensor:
    """Cut each map into k x k equal patches.

    Returns:
        ``(N * k * k, C, H / k, W / k)``: all patches of the first picture, row by row, left to right, then the next.

    Raises:
        UserError: k does not divide the map. Uneven patches would weigh positions differently, so none are made.
    """
    n, c, h, w = features_NCHW.shape
    if h % k or w % k:
        raise UserError(
            f"{k} x {k} patches: a map of {h} x {w} positions does not divide into equal ones; "
            f"choose a data.size whose maps do, or fewer patches"
        )
    if k == 1:  # the map as it lies in memory, so that sums over it round as they do without patches
        return features_NCHW
    grid = features_NCHW.reshape(n, c, k, h // k, k, w // k)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(n * k * k, c, h // k, w // k)


def patch_pool(features_NCHW: Tensor, attended_NCHW: Tensor, k: int) -> Tensor:
    """A-pool inside each patch, with the attention of another map's same patch (or of the map itself).

    Returns:
        ``(N * k * k, C)`` in the order of `patches`.
    """
    return attention_pool(patches(features_NCHW, k), attention(patches(attended_NCHW, k)))
