"""What is said of a backbone before it is built: a line of the table, or what timm or torchvision says of its model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from csg_train.models.maps import MapLayout

__all__ = ["IMAGENET_CLASSES", "BackboneSpec", "StateDict"]

StateDict = dict[str, Tensor]

IMAGENET_CLASSES = frozenset({1000, 1001, 11221, 11821, 21841, 21842, 21843})
"""Sizes of classifiers of ImageNet-1k (1001 with a background) and of ImageNet-12k and -21k in their releases."""


def _as_it_is(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return state


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """How one backbone is built, what it takes and what it gives; its functions are of a module, so that it pickles.

    Attributes:
        build: Makes the network with its own classifier, randomly initialised; takes ``output_stride`` as an
            optional argument.
        imagenet: Gives the published state dict and its SHA-256.
        stages: Stage name -> (module path whose output is the map, channels), from low to high.
        aliases: Other name of a stage -> its name.
        classifiers: Module paths of the network's own classifier: one, of distilled networks two, or none. Where
            ``classes`` is 0 nothing but its place is there.
        classes: Outputs of that classifier, 0 where it has none.
        mean: Of the input normalisation, a value for each of R, G, B in [0, 1].
        std: Likewise.
        size: Side in pixels of the square pictures that the network was made for.
        multiple: A picture's sides have to be multiples of it; None: they have to be ``size``.
        smallest: A picture's sides have to be no shorter.
        signed: Maps may hold negative values.
        layout: How modules lay out what they give.
        explained: Stage name -> module path, where the own classifier does not depend on the stage's own map, and
            this earlier output is the last that it does depend on.
        adapt: Makes of a published file's state dict, which may be older, the one that the network takes today.
    """

    build: Callable[..., nn.Module]
    imagenet: Callable[[], tuple[StateDict, str]]
    stages: Mapping[str, tuple[str, int]]
    classifiers: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: int = 1000
    aliases: Mapping[str, str] = field(default_factory=dict)
    size: int = 224
    multiple: int | None = 1
    smallest: int = 1
    signed: bool = False
    layout: MapLayout = field(default_factory=MapLayout)
    explained: Mapping[str, str] = field(default_factory=dict)
    adapt: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = _as_it_is

    @property
    def grid(self) -> int:
        """Of what the sides of a whole picture are made multiples, for a segmentation."""
        return self.multiple or 1
