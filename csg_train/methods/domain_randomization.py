"""Domain randomization and pyramid consistency: the same picture in several styles gives the same features."""

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from csg_train.data.loaders.batch import Batch
from csg_train.data.readers.listing import listing
from csg_train.data.views.restyle import Styles
from csg_train.demos.table import style_folder
from csg_train.errors import UserError
from csg_train.files import home_expanded
from csg_train.methods.base import Method, Setup
from csg_train.methods.config import STRICT
from csg_train.methods.info import MethodInfo
from csg_train.methods.pixels import task_loss
from csg_train.methods.pyramid import pyramid_consistency
from csg_train.models.network import Output, TaskNetwork

__all__ = ["DomainRandomization", "DomainRandomizationConfig"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DomainRandomizationConfig:
    """Whose styles, how many at a time, and how hard they must agree. The paper has no public code."""

    styles: str
    """Folder of real pictures without labels, or ``demo:scenes``, ``demo:render-scenes`` for a demo's textures."""
    transfer: Literal["fourier", "moments"] = "fourier"
    """``fourier`` swaps the amplitude of low frequencies, ``moments`` the mean and deviation of each colour."""
    beta: Annotated[float, Field(ge=0, le=0.5)] = 0.01
    """Highest frequency that ``fourier`` swaps, in cycles a pixel."""
    count: Annotated[int, Field(ge=2)] = 3
    """Looks of each picture in a step."""
    first: Literal["plain", "styled"] = "plain"
    """The first of them: the picture as it is, or in a style too, which some runs did not survive at their rates."""
    over_styles: Literal["mean", "sum"] = "mean"
    """Of their cross-entropies: with ``sum`` the gradient grows with ``count``, and the recipe's rates have to fall."""
    weight: Annotated[float, Field(ge=0)] = 0.1
    """Of the pyramid consistency, which smaller features lower as well."""
    layer: str = "layer4"
    levels: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 4, 8)
    """Patches to a side at each level of the pyramid."""


class DomainRandomization(Method):
    """Every step sees each picture in several looks, with styles of real ones; features must agree at every scale."""

    info = MethodInfo(
        name="domain-randomization",
        title="Domain randomization (pyramid consistency)",
        summary="Restyles each picture after several real ones and holds the features of all styles together.",
        equation="L = mean_k CE(y, f(x_k)) + lambda * mean_p mean_k |a_p(v(x_k)) - mean_j a_p(v(x_j))|",
        source="Yue et al., ICCV 2019",
        deviation="styles of any real pictures by amplitude or colour moments, not of 15 ImageNet classes by CycleGAN; "
        "mean over looks, one of them the plain picture",
        cost="a forward and a backward pass for every further style (count)",
    )
    Config = DomainRandomizationConfig
    config: DomainRandomizationConfig

    @property
    def views(self) -> tuple[str, ...]:
        """The same crop in ``count`` looks."""
        first = "student" if self.config.first == "plain" else "styled1"
        return (first, *(f"styled{k}" for k in range(2, self.config.count + 1)))

    def styles(self) -> Styles:
        """The pictures of the folder."""
        demo = self.config.styles.startswith("demo:")
        given = self.config.styles.removeprefix("demo:")
        root = style_folder(given) if demo else home_expanded(Path(given), "method.styles")
        files = [root / file for file in listing(root, root).files]
        if not files:
            raise UserError(f"{root}: no pictures to take styles from; put some there, or change method.styles")
        return Styles(files=files, kind=self.config.transfer, beta=self.config.beta)

    def prepare(self, model: TaskNetwork, setup: Setup) -> None:  # noqa: ARG002
        """Check the layer's name."""
        model.backbone.require_stages([self.config.layer], "method.layer")

    def loss(self, model: TaskNetwork, batch: Batch, output: Output) -> dict[str, Tensor]:
        """What the further looks add to the first one's cross-entropy, and the weighted consistency of all."""
        others = [model(view) for view in batch.views[1:]]
        maps_KNCHW = torch.stack([out.stages[self.config.layer] for out in (output, *others)])
        ce_K = torch.stack([task_loss(out.logits, batch.labels) for out in (output, *others)])
        ce = ce_K.mean() if self.config.over_styles == "mean" else ce_K.sum()
        return {
            "ce_styles": ce - ce_K[0],  # the loop adds that of the first
            "consistency": self.config.weight * pyramid_consistency(maps_KNCHW, self.config.levels),
        }
