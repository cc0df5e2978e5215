"""CSG: a contrastive pull of the student towards a frozen ImageNet teacher, with a push between images.

Chen, Yu, De Mello, Liu, Alvarez, Wang, Anandkumar: Contrastive Syn-to-Real Generalization, ICLR 2021.

For each layer l in G, with student features v of the query view and of the key view, and teacher features v~ of the
key view, h the student's projection head and h~ its moving average::

    z   = h(apool(v_q))          z+  = h~(apool(v~_k; attention of v_k))         (both L2-normalised)
    NCE = -log  exp(z.z+ / tau) / (exp(z.z+ / tau) + sum_{z- in queue} exp(z.z- / tau))           (Eq 3, Eq 5)
    L   = CE + lambda * sum_{l in G} NCE_l

For segmentation each map is cut into patches, each contrasted with the teacher's patch of the same place (Eq 6).
Variants are fields: average pooling, other layers, no projection head, ASG's divergence added.

Deviations from the official code, on purpose: the queue wraps around correctly for any batch size, an all-zero map is
pooled to zero instead of 0/0, the pooling is the one that the configuration names, with or without a head, and adding
ASG is possible (there the ImageNet classifier is lost).
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from csg_train.data.loaders.batch import Batch
from csg_train.methods.base import Setup
from csg_train.methods.config import STRICT
from csg_train.methods.contrastive import attention_stability
from csg_train.methods.csg_contrast import Contrast
from csg_train.methods.info import MethodInfo
from csg_train.methods.patches import patches
from csg_train.methods.teacher import Taught, imagenet_kl
from csg_train.models.network import Output, TaskNetwork

__all__ = ["CSG", "CSGConfig", "contrast_of"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CSGConfig:
    """Strengths and sizes; the defaults are the released code's for VisDA-17."""

    weight: Annotated[float, Field(ge=0)] = 0.1
    """lambda, for each layer."""
    temperature: Annotated[float, Field(gt=0)] = 0.07
    layers: Annotated[tuple[str, ...], Field(min_length=1)] = ("layer3", "layer4")
    pool: Literal["attention", "average"] = "attention"
    patches: Annotated[int, Field(ge=1)] = 1
    """Patches to a side of each map, contrasted one by one (Eq 6, for segmentation); 1 contrasts whole pictures."""
    queue_size: Annotated[int, Field(ge=1, le=1 << 24)] = 65536
    """Keys kept for each layer. Of the keys of q epochs an image's own old one is a negative with probability q^2 / 2
    for q <= 1, in every step beyond 2."""
    head: Literal["mlp", "fixed", "none"] = "mlp"
    """Projection h: Linear, ReLU, Linear to ``dim``; ``none`` compares the pooled features themselves. ``fixed`` leaves
    the projection at its random start, as the released code for segmentation does, whose optimiser lacks it."""
    dim: Annotated[int, Field(ge=1, le=65536)] = 128
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
            setup.require_imagenet("method.asg_weight", model.backbone)
        widths = {name: model.backbone.widths[name] for name in self.config.layers}
        contrast = contrast_of(self.config, widths, seed=setup.seed)
        self.heads, self.teacher_heads, self.queues = contrast.heads, contrast.teacher_heads, contrast.queues
        self._contrast = (contrast,)  # hidden, for checkpoints have its parts under the names above

    def loss(self, model: TaskNetwork, batch: Batch, output: Output) -> dict[str, Tensor]:
        """One InfoNCE term a layer, weighted by lambda, and ASG's divergence where it has a weight."""
        with torch.no_grad():
            student_k = model.backbone(batch.views[1]).stages
            teacher_k = self.teacher(batch.views[1]).stages
        nce = self._contrast[0](output.stages, student_k, teacher_k)
        terms = {f"nce_{name}": self.config.weight * value for name, value in nce.items()}
        if self.config.pool == "attention" and model.backbone.spec.signed:
            for name in nce:
                parts = patches(output.stages[name].detach(), self.config.patches)
                self.figures[f"stability_{name}"] = attention_stability(parts).mean()
        if self.config.asg_weight:
            with torch.no_grad():
                logits = self.teacher(batch.views[0]).imagenet_logits
            terms["asg_kl"] = self.config.asg_weight * imagenet_kl(logits, output.imagenet_logits)
        return terms

    def after_step(self, model: TaskNetwork) -> None:  # noqa: ARG002
        """Move the teacher heads' average and enqueue the global batch's keys."""
        self._contrast[0].update()


def contrast_of(config: CSGConfig, widths: Mapping[str, int], *, seed: int) -> Contrast:
    """The contrastive term that a configuration describes, for layers of these channels."""
    return Contrast(
        widths,
        temperature=config.temperature,
        pool=config.pool,
        patches=config.patches,
        queue_size=config.queue_size,
        head=config.head,
        dim=config.dim,
        momentum=config.momentum,
        seed=seed,
    )
