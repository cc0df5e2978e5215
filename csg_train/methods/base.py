"""The seam between the training loop and a method.

One step of the loop, with the points at which a method acts::

    method.rewrite(backbone)                  # once, on the ImageNet weights: another architecture
    method.prepare(model, setup)              # once, before the optimiser exists: teachers, anchors, frozen parts
    for batch in loader:                      # batch.views: one tensor for each name in method.views
        output = model(batch.views[0])        # the student's logits, stage maps and ImageNet logits
        loss = cross_entropy(output.logits, batch.labels) + sum(method.loss(model, batch, output).values())
        loss.backward()
        method.before_step(model, optimizer)  # gradients are there: add to them, record them, set a group's lr
        optimizer.step()
        method.after_step(model)              # weights have moved: averages, queues, path integrals

A method keeps what must survive a restart in parameters and buffers: it is an ``nn.Module``, so ``state_dict`` holds
them, and parameters that require gradients are trained at the head's learning rate.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn, optim

from csg_train.data.loaders.batch import Batch
from csg_train.data.views.restyle import Styles
from csg_train.errors import UserError
from csg_train.methods.info import MethodInfo
from csg_train.models.backbones import Backbone
from csg_train.models.network import Output, TaskNetwork

__all__ = ["Method", "Setup"]


@dataclass(frozen=True)
class Setup:
    """What a method may use to prepare itself.

    Attributes:
        seed: The run's seed; draw from it by name through `csg_train.seeds`.
        source: Makes a fresh pass over the source pictures, without augmentation, in file order; over so many, evenly
            spread, where a number is given.
        steps: Optimiser steps of the run.
        weights: SHA-256 of the starting weights, or ``"none"`` where they are random.
    """

    seed: int
    source: Callable[[int | None], Iterator[Batch]]
    steps: int
    weights: str

    def require_imagenet(self, field: str, backbone: Backbone) -> None:
        """Refuse what has no ImageNet classifier; ``field`` names what needs it.

        Raises:
            UserError: The backbone has no classifier of ImageNet's classes, or the run starts from random weights.
        """
        if not backbone.solves_imagenet:
            own = f"{backbone.classes} outputs of another kind" if backbone.classes else "no classifier"
            raise UserError(
                f"{field}: needs the ImageNet classifier, and this backbone has {own}; choose a model.backbone or "
                "weights with one"
            )
        if self.weights == "none":
            raise UserError(f"{field}: needs the ImageNet classifier; set model.weights to imagenet or a file")


class Method(nn.Module):
    """A training method: the base class does nothing beyond the cross-entropy of the loop."""

    info: ClassVar[MethodInfo]
    Config: ClassVar[type[Any]]
    paper_augment: ClassVar[str] = "none"
    """What the recipe field ``augment: paper`` gives this method; of CSG and ASG as their code for VisDA-17 does."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.figures: dict[str, Tensor] = {}
        """Numbers of the last step, of no gradient, that are logged and added to nothing."""

    @property
    def views(self) -> tuple[str, ...]:
        """The views of each picture that a step needs; the first is the student's."""
        return ("student",)

    @property
    def rewrite_first(self) -> bool:
        """Whether the starting weights are those of the rewritten backbone."""
        return False

    def rewrite(self, backbone: Backbone) -> None:
        """Change the backbone's architecture in place; done again when a checkpoint is opened."""

    def styles(self) -> Styles | None:
        """The pictures whose look the views named ``styled`` take."""
        return None

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:
        """Build teachers and anchors from the model's starting weights, or freeze or rewrite parts of it."""

    def loss(self, model: TaskNetwork, batch: Batch, output: Output) -> dict[str, Tensor]:  # noqa: ARG002
        """Weighted scalar terms to add to the cross-entropy, by name."""
        return {}

    def before_step(self, model: TaskNetwork, optimizer: optim.Optimizer) -> None:
        """Act on gradients or learning rates."""

    def after_step(self, model: TaskNetwork) -> None:
        """Act on the moved weights."""
