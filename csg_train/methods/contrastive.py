"""What CSG's equations are made of: attention pooling, InfoNCE, the queue of negatives. `csg` puts them together.

Chen, Yu, De Mello, Liu, Alvarez, Wang, Anandkumar: Contrastive Syn-to-Real Generalization, ICLR 2021.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Queue", "attention", "attention_pool", "info_nce"]


def attention(features_NCHW: Tensor) -> Tensor:
    """Attention of a non-negative map: each position's inner product with the mean, as shares that sum to 1.

    ``a_ij = <v_ij, vbar> / sum_kl <v_kl, vbar>`` with ``vbar`` the spatial mean (CSG section 3.3).

    Returns:
        ``(N, H, W)`` weights >= 0 with sum 1; all zero where the map is all zero, so that it pools to zero.
    """
    scores_NHW = torch.einsum("nchw,nc->nhw", features_NCHW, features_NCHW.mean(dim=(2, 3)))
    return scores_NHW / scores_NHW.sum(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(scores_NHW.dtype).tiny)


def attention_pool(features_NCHW: Tensor, attention_NHW: Tensor) -> Tensor:
    """A-pool: the weighted sum of a map over its positions, ``(N, C)``."""
    return torch.einsum("nchw,nhw->nc", features_NCHW, attention_NHW)


def info_nce(query_ND: Tensor, positive_ND: Tensor, negatives_KD: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE of unit vectors: cross-entropy of the positive among itself and K negatives, mean over N (Eq 3)."""
    positive_N1 = (query_ND * positive_ND).sum(dim=1, keepdim=True)
    logits = torch.cat([positive_N1, query_ND @ negatives_KD.T], dim=1) / temperature
    return (logits.logsumexp(dim=1) - logits[:, 0]).mean()


class Queue(nn.Module):
    """First in, first out: the last K keys of one layer; starts with random unit vectors.

    It wraps around correctly for any number of keys in a step (the official queue does not).

    Args:
        size: K.
        dim: Of a key.
        generator: Draws the first keys; torch's global one by default.
    """

    keys_KD: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.register_buffer("keys_KD", F.normalize(torch.randn(size, dim, generator=generator), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, keys_ND: Tensor) -> None:
        """Replace the oldest N keys, wrapping around at the end; of more than K the last K stay."""
        size, count = len(self.keys_KD), len(keys_ND)
        order = torch.arange(max(count - size, 0), count, device=self.position.device)
        self.keys_KD[(self.position + order) % size] = keys_ND[order].to(self.keys_KD.dtype)
        self.position.copy_((self.position + count) % size)
