"""CSG: a contrastive pull of the student towards a frozen ImageNet teacher, with a push between images.

Chen, Yu, De Mello, Liu, Alvarez, Wang, Anandkumar: Contrastive Syn-to-Real Generalization, ICLR 2021.

For each layer l in G, with student features v of the query view and of the key view, and teacher features v~ of the
key view, h the student's projection head and h~ its moving average::

    z   = h(apool(v_q))          z+  = h~(apool(v~_k; attention of v_k))         (both L2-normalised)
    NCE = -log  exp(z.z+ / tau) / (exp(z.z+ / tau) + sum_{z- in queue} exp(z.z- / tau))           (Eq 3, Eq 5)
    L   = CE + lambda * sum_{l in G} NCE_l

Deviations from the official code, on purpose: the queue wraps around correctly for any batch size, an all-zero map is
pooled to zero instead of 0/0, and the pooling is the one that the configuration names.
"""

import copy
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from csg_train.data.batch import Batch
from csg_train.methods.base import MethodInfo, Setup
from csg_train.methods.teacher import Taught
from csg_train.models.network import Network, Output
from csg_train.seeds import generator_for, seed_for

__all__ = ["CSG", "CSGConfig", "attention", "attention_pool", "info_nce"]


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
    """First in, first out: the last K keys of one layer; starts with random unit vectors."""

    keys_KD: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("keys_KD", F.normalize(torch.randn(size, dim, generator=generator), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, keys_ND: Tensor) -> None:
        """Replace the oldest N keys, wrapping around at the end."""
        count, size = len(keys_ND), len(self.keys_KD)
        slots = (self.position + torch.arange(count, device=self.position.device)) % size
        self.keys_KD[slots] = keys_ND.to(self.keys_KD.dtype)
        self.position.copy_((self.position + count) % size)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class CSGConfig:
    """Strengths and sizes; the defaults are the paper's for VisDA-17."""

    weight: Annotated[float, Field(ge=0)] = 0.1
    """lambda, for each layer."""
    temperature: Annotated[float, Field(gt=0)] = 0.07
    layers: Annotated[tuple[str, ...], Field(min_length=1)] = ("layer3", "layer4")
    pool: Literal["attention", "average"] = "attention"
    queue_size: Annotated[int, Field(ge=1)] = 65536
    """Keys kept for each layer; more than about half an epoch puts an image's own old keys among its negatives."""
    dim: Annotated[int, Field(ge=1)] = 128
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Of the teacher heads' moving average."""


class CSG(Taught):
    """Contrastive syn-to-real generalization with a queue and teacher heads for each layer."""

    info = MethodInfo(
        name="csg",
        title="CSG",
        summary="Pulls each image's features to a frozen ImageNet teacher's and pushes different images apart.",
        equation="L = CE + lambda * sum_l -log( exp(z.z+/tau) / (exp(z.z+/tau) + sum_K exp(z.z-/tau)) )",
        source="Chen et al., ICLR 2021, Eqs 3 and 5, A-pool",
    )
    Config = CSGConfig
    config: CSGConfig
    views = ("student", "teacher")
    paper_augment = "randaugment"

    def prepare(self, model: Network, setup: Setup) -> None:
        """Copy the ImageNet backbone as teacher; make heads, their averages and queues."""
        super().prepare(model, setup)
        model.backbone.require_stages(self.config.layers, "method.layers")
        width = model.backbone.widths
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(setup.seed, "csg-heads"))
            self.heads = nn.ModuleDict(
                {
                    name: nn.Sequential(
                        nn.Linear(width[name], width[name]), nn.ReLU(), nn.Linear(width[name], self.config.dim)
                    )
                    for name in self.config.layers
                }
            )
        self.teacher_heads = copy.deepcopy(self.heads).requires_grad_(False)
        self.queues = nn.ModuleDict(
            {
                name: Queue(self.config.queue_size, self.config.dim, generator_for(setup.seed, "csg-queue", name))
                for name in self.config.layers
            }
        )
        self._new_keys: dict[str, Tensor] = {}

    def loss(self, model: Network, batch: Batch, output: Output) -> dict[str, Tensor]:
        """One InfoNCE term a layer, weighted by lambda."""
        with torch.no_grad():
            student_k = model.backbone(batch.views[1]).stages
            teacher_k = self.teacher(batch.views[1]).stages
        terms = {}
        for name in self.config.layers:
            query_ND = F.normalize(self.heads[name](self._pool(output.stages[name], output.stages[name])), dim=1)
            with torch.no_grad():
                pooled = self._pool(teacher_k[name], student_k[name])
                key_ND = F.normalize(self.teacher_heads[name](pooled), dim=1)
            queue = self.queues[name]
            assert isinstance(queue, Queue)
            nce = info_nce(query_ND, key_ND, queue.keys_KD, temperature=self.config.temperature)
            terms[f"nce_{name}"] = self.config.weight * nce
            self._new_keys[name] = key_ND
        return terms

    def _pool(self, features: Tensor, attended: Tensor) -> Tensor:
        if self.config.pool == "average":
            return features.mean(dim=(2, 3))
        return attention_pool(features, attention(attended))

    @torch.no_grad()
    def after_step(self, model: Network) -> None:  # noqa: ARG002
        """Move the teacher heads' average and enqueue this step's keys (negatives exclude the current batch)."""
        for average, value in zip(self.teacher_heads.parameters(), self.heads.parameters(), strict=True):
            average.lerp_(value, 1 - self.config.momentum)
        for name, keys in self._new_keys.items():
            queue = self.queues[name]
            assert isinstance(queue, Queue)
            queue.push(keys)
