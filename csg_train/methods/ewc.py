"""Elastic Weight Consolidation: the distance to the ImageNet weights, each weighted by its Fisher information."""

import warnings
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.func import functional_call, grad, vmap

from csg_train.methods.anchored import Anchored, flatten
from csg_train.methods.base import Setup
from csg_train.methods.config import STRICT
from csg_train.methods.info import MethodInfo
from csg_train.models.backbones import Backbone
from csg_train.models.network import TaskNetwork
from csg_train.seeds import generator_for

__all__ = ["EWC", "diagonal_fisher"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EWCConfig:
    """Strength and estimator; no value was found published."""

    weight: Annotated[float, Field(ge=0)] = 1000.0
    """lambda of the penalty, which is lambda / 2 times the Fisher-weighted distance."""
    estimator: Literal["sampled", "empirical"] = "sampled"
    """Label of each picture's gradient: drawn from the model's own ImageNet prediction, or its most likely class."""
    samples: Annotated[int, Field(ge=1)] = 256
    """Source pictures used, without their labels."""
    spread: bool = True
    """They lie evenly in file order, so of a list sorted by class every class has its share; if not, the first."""
    chunk: Annotated[int, Field(ge=1)] = 8
    """Pictures whose gradients are held at once; changes memory and speed, and the result to rounding alone."""
    update: Literal["proximal", "gradient"] = "proximal"
    """``proximal``: after each step of the optimiser an exact step of the penalty alone, stable for every strength.
    ``gradient``: a term of the loss, which ends in infinity where strength and learning rate are high."""


def diagonal_fisher(backbone: Backbone, images_NCHW: Tensor, labels_N: Tensor, *, chunk: int) -> Tensor:
    """Sum over pictures of the squared gradient of each picture's own log-likelihood of an ImageNet class.

    Per-sample gradients, never the square of a batch's mean, so neither batch nor chunk size changes the result.

    Args:
        backbone: In evaluation mode.
        images_NCHW: uint8 or in [0, 1].
        labels_N: ImageNet class of each picture.
        chunk: Pictures differentiated at once.

    Returns:
        ``(K,)`` over the trained weights of the backbone, in the order of ``parameters()``.
    """
    trained = {name: value.detach() for name, value in backbone.net.named_parameters() if value.requires_grad}

    def log_likelihood(weights: dict[str, Tensor], image_CHW: Tensor, label: Tensor) -> Tensor:
        logits: Tensor = functional_call(backbone.net, weights, (image_CHW[None],))
        return logits.log_softmax(dim=1)[0].gather(0, label[None])[0]

    per_sample = vmap(grad(log_likelihood), in_dims=(None, 0, 0))
    normalised = backbone.normalise(images_NCHW)
    total = torch.zeros(sum(value.numel() for value in trained.values()), device=images_NCHW.device)
    for start in range(0, len(normalised), chunk):
        with warnings.catch_warnings():  # pooling a channels-last map falls back to a loop over the chunk: no matter
            warnings.filterwarnings("ignore", message="There is a performance drop")
            gradients = per_sample(trained, normalised[start : start + chunk], labels_N[start : start + chunk])
        total += flatten(value.square().sum(dim=0) for value in gradients.values())
    return total


class EWC(Anchored):
    """Weights matter as much as ImageNet's likelihood depends on them."""

    info = MethodInfo(
        name="ewc",
        title="Elastic Weight Consolidation",
        summary="Pulls each backbone weight towards its ImageNet value by its Fisher information.",
        equation="L = CE + lambda/2 * sum_k F_k (w_k - w*_k)^2,  F_k = mean_x (d log p(y|x) / d w_k)^2",
        source="Kirkpatrick et al., PNAS 2017, Eq 3",
        deviation="Fisher information on source pictures, not ImageNet's; an exact proximal step after the optimiser's "
        "(update)",
        cost="three copies of the weights; before the first step a gradient for each of `samples` pictures",
    )
    Config = EWCConfig
    config: EWCConfig
    fisher_K: Tensor

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:
        """Take the Fisher information on the ImageNet task, over source pictures."""
        setup.require_imagenet("method ewc", model.backbone)
        super().prepare(model, setup)
        total, seen = torch.zeros_like(self._anchor[0]), 0
        generator = generator_for(setup.seed, "ewc-labels")
        model.backbone.eval()
        for batch in setup.source(self.config.samples if self.config.spread else None):
            images = batch.views[0][: self.config.samples - seen]
            with torch.no_grad():
                probabilities = model.backbone(images).imagenet_logits.softmax(dim=1).cpu()
            if self.config.estimator == "sampled":
                draws = torch.rand(len(images), 1, generator=generator)
                labels = (probabilities.cumsum(dim=1) < draws).sum(dim=1).clamp_max(probabilities.shape[1] - 1)
            else:
                labels = probabilities.argmax(dim=1)
            total += diagonal_fisher(model.backbone, images, labels.to(images.device), chunk=self.config.chunk)
            seen += len(images)
            if seen == self.config.samples:
                break
        self.register_buffer("fisher_K", total / seen)

    @property
    def strength(self) -> float:
        """Half of lambda."""
        return self.config.weight / 2

    def importance(self, weights_K: Tensor) -> Tensor:  # noqa: ARG002
        """The Fisher information."""
        return self.fisher_K
