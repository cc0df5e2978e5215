"""CSG: a contrastive pull of the student towards a frozen ImageNet teacher, with a push between images.

Chen, Yu, De Mello, Liu, Alvarez, Wang, Anandkumar: Contrastive Syn-to-Real Generalization, ICLR 2021.

For each layer l in G, with student features v of the query view and of the key view, and teacher features v~ of the
key view, h the student's projection head and h~ its moving average::

    z   = h(apool(v_q))          z+  = h~(apool(v~_k; attention of v_k))         (both L2-normalised)
    NCE = -log  exp(z.z+ / tau) / (exp(z.z+ / tau) + sum_{z- in queue} exp(z.z- / tau))           (Eq 3, Eq 5)
    L   = CE + lambda * sum_{l in G} NCE_l

For segmentation each map is cut into patches, each contrasted with the teacher's patch of the same place (Eq 6).
The variants of the paper are fields: average pooling, other layers, no projection head, ASG's divergence added.

Deviations from the official code, on purpose: the queue wraps around correctly for any batch size, an all-zero map is
pooled to zero instead of 0/0, the pooling is the one that the configuration names, with or without a head, and adding
ASG is possible (there the ImageNet classifier is lost).
"""

import copy
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from csg_train.data.loaders.batch import Batch
from csg_train.distributed import gathered
from csg_train.methods.base import Setup
from csg_train.methods.contrastive import Queue, info_nce
from csg_train.methods.info import MethodInfo
from csg_train.methods.patches import patch_pool, patches
from csg_train.methods.teacher import Taught, imagenet_kl
from csg_train.models.network import Output, TaskNetwork
from csg_train.seeds import generator_for, seed_for

__all__ = ["CSG", "CSGConfig"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class CSGConfig:
    """Strengths and sizes; the defaults are the paper's for VisDA-17."""

    weight: Annotated[float, Field(ge=0)] = 0.1
    """lambda, for each layer."""
    temperature: Annotated[float, Field(gt=0)] = 0.07
    layers: Annotated[tuple[str, ...], Field(min_length=1)] = ("layer3", "layer4")
    pool: Literal["attention", "average"] = "attention"
    patches: Annotated[int, Field(ge=1)] = 1
    """Patches to a side of each map, contrasted one by one (Eq 6, for segmentation); 1 contrasts whole pictures."""
    queue_size: Annotated[int, Field(ge=1)] = 65536
    """Keys kept for each layer; more than about half an epoch puts an image's own old keys among its negatives."""
    head: Literal["mlp", "none"] = "mlp"
    """Projection h: Linear, ReLU, Linear to ``dim``; ``none`` compares the pooled features themselves."""
    dim: Annotated[int, Field(ge=1)] = 128
    """Width of the projection."""
    asg_weight: Annotated[float, Field(ge=0)] = 0.0
    """Of ASG's divergence between the ImageNet predictions on the student's view (``CSG + ASG``)."""
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
        deviation="the queue wraps around for any batch; an all-zero map pools to zero; any pooling with any head",
        cost="a second view, and forward passes of student and teacher on it, without gradient",
    )
    Config = CSGConfig
    config: CSGConfig
    paper_augment = "randaugment"

    @property
    def views(self) -> tuple[str, ...]:
        """The query view and the key view."""
        return ("student", "teacher")

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:
        """Copy the ImageNet backbone as teacher; make heads, their averages and queues."""
        super().prepare(model, setup)
        model.backbone.require_stages(self.config.layers, "method.layers")
        if self.config.asg_weight:
            setup.require_imagenet("method.asg_weight")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(setup.seed, "csg-heads"))
            self.heads = nn.ModuleDict({name: self._head(model.backbone.widths[name]) for name in self.config.layers})
        self.teacher_heads = copy.deepcopy(self.heads).requires_grad_(False)
        self.queues = nn.ModuleDict()
        for name in self.config.layers:
            dim = model.backbone.widths[name] if self.config.head == "none" else self.config.dim
            self.queues[name] = Queue(self.config.queue_size, dim, generator_for(setup.seed, "csg-queue", name))
        self._new_keys: dict[str, Tensor] = {}

    def _head(self, width: int) -> nn.Module:
        if self.config.head == "none":
            return nn.Identity()
        return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self.config.dim))

    def loss(self, model: TaskNetwork, batch: Batch, output: Output) -> dict[str, Tensor]:
        """One InfoNCE term a layer, weighted by lambda, and ASG's divergence where it has a weight."""
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
        if self.config.asg_weight:
            with torch.no_grad():
                logits = self.teacher(batch.views[0]).imagenet_logits
            terms["asg_kl"] = self.config.asg_weight * imagenet_kl(logits, output.imagenet_logits)
        return terms

    def _pool(self, features: Tensor, attended: Tensor) -> Tensor:
        if self.config.pool == "average":
            return patches(features, self.config.patches).mean(dim=(2, 3))
        return patch_pool(features, attended, self.config.patches)

    @torch.no_grad()
    def after_step(self, model: TaskNetwork) -> None:  # noqa: ARG002
        """Move the teacher heads' average and enqueue the global batch's keys (negatives exclude the current batch)."""
        for average, value in zip(self.teacher_heads.parameters(), self.heads.parameters(), strict=True):
            average.lerp_(value, 1 - self.config.momentum)
        for name, keys in self._new_keys.items():
            queue = self.queues[name]
            assert isinstance(queue, Queue)
            queue.push(gathered(keys))
