"""What CSG's equations are made of: attention pooling, InfoNCE, the queue of negatives. `csg` puts them together.

Chen, Yu, De Mello, Liu, Alvarez, Wang, Anandkumar: Contrastive Syn-to-Real Generalization, ICLR 2021.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csg_train.devices import without_autocast
from csg_train.errors import UserError

__all__ = ["Queue", "attention", "attention_pool", "attention_stability", "info_nce"]

_HALF = (torch.float16, torch.bfloat16)


def attention(features_NCHW: Tensor) -> Tensor:
    """Attention of a map: each position's inner product with the mean, as shares that sum to 1.

    ``a_ij = <v_ij, vbar> / sum_kl <v_kl, vbar>`` with ``vbar`` the spatial mean (CSG's A-pool).

    The paper's maps are non-negative. On maps of any sign the sum is ``HW |vbar|^2``, so the shares still sum to 1 and
    pool to ``S vbar / |vbar|^2``, S being the mean of ``v v^T``; single shares may be negative, and all grow without
    bound as the mean vanishes. How near a map comes to that is `attention_stability`.

    A map of 16 bits is computed with in float32, under autocast too: the sum of its products passes float16's range.

    Returns:
        ``(N, H, W)`` weights of the map's type with sum 1, >= 0 on a non-negative map; all zero where the mean is zero,
        as of a map that is all zero, so that it pools to zero.

    Raises:
        UserError: Another shape.
    """
    if features_NCHW.ndim != 4:
        raise UserError(f"attention of shape {tuple(features_NCHW.shape)}; give maps (N, C, H, W)")
    wide_NCHW = features_NCHW.float() if features_NCHW.dtype in _HALF else features_NCHW
    with without_autocast(features_NCHW.device):
        scores_NHW = torch.einsum("nchw,nc->nhw", wide_NCHW, wide_NCHW.mean(dim=(2, 3)))
        total_N11 = scores_NHW.sum(dim=(1, 2), keepdim=True)
        tiny = torch.finfo(total_N11.dtype).tiny
        shares_NHW = scores_NHW / torch.where(total_N11 > 0, total_N11.clamp_min(tiny), torch.inf)
    return shares_NHW.to(features_NCHW.dtype)


def attention_stability(features_NCHW: Tensor) -> Tensor:
    """How far a map is from the one whose attention is undefined: ``|vbar|^2 / mean |v|^2``, ``(N,)`` in [0, 1].

    1 where all positions are equal, 0 where they cancel, which only maps of both signs can (and, by convention, where
    all are zero). The pooled vector's inner product with the mean is between 1 and its reciprocal times ``|vbar|^2``.
    """
    mean_N = features_NCHW.mean(dim=(2, 3)).square().sum(dim=1)
    return mean_N / features_NCHW.square().sum(dim=1).mean(dim=(1, 2)).clamp_min(torch.finfo(mean_N.dtype).tiny)


def attention_pool(features_NCHW: Tensor, attention_NHW: Tensor) -> Tensor:
    """A-pool: the weighted sum of a map over its positions, ``(N, C)``.

    Raises:
        UserError: Shapes that do not fit.
    """
    shape, weights = tuple(features_NCHW.shape), tuple(attention_NHW.shape)
    if len(shape) != 4 or weights != (shape[0], *shape[2:]):
        raise UserError(f"maps {shape} and weights {weights}; give (N, C, H, W) and (N, H, W)")
    return torch.einsum("nchw,nhw->nc", features_NCHW, attention_NHW)


def info_nce(query_ND: Tensor, positive_ND: Tensor, negatives_KD: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE of unit vectors: cross-entropy of the positive among itself and K negatives, mean over N (Eq 3).

    Raises:
        UserError: Shapes or types that do not fit, or a temperature that is not above 0.
    """
    query, positive, negatives = (tuple(rows.shape) for rows in (query_ND, positive_ND, negatives_KD))
    if len(query) != 2 or positive != query or negatives[1:] != query[1:]:
        raise UserError(f"rows {query}, {positive}, {negatives}; give queries and positives (N, D), negatives (K, D)")
    if len(types := {rows.dtype for rows in (query_ND, positive_ND, negatives_KD)}) > 1:
        raise UserError(f"rows of {' and '.join(sorted(map(str, types)))}; give one type")
    if not temperature > 0:
        raise UserError(f"temperature={temperature}; give a number above 0 (CSG's code: 0.07)")
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

    Raises:
        UserError: No keys or no dimensions; keys of another width.
    """

    keys_KD: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if size < 1 or dim < 1:
            raise UserError(f"a queue of {size} keys of {dim} numbers; give 1 or more of each")
        self.register_buffer("keys_KD", F.normalize(torch.randn(size, dim, generator=generator), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, keys_ND: Tensor) -> None:
        """Replace the oldest N keys, wrapping around at the end; of more than K the last K stay."""
        if keys_ND.shape[1:] != self.keys_KD.shape[1:]:
            raise UserError(f"keys {tuple(keys_ND.shape)} for a queue of {tuple(self.keys_KD.shape)}; give as wide")
        size, count = len(self.keys_KD), len(keys_ND)
        order = torch.arange(max(count - size, 0), count, device=self.position.device)
        self.keys_KD[(self.position + order) % size] = keys_ND[order].to(self.keys_KD.dtype)
        self.position.copy_((self.position + count) % size)
