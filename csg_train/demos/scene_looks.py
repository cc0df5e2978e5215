"""Two looks of one actor: lit, and flat in one colour, for masks.

Shape suffixes: H height, W width, C channels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from csg_train.demos.render import off_screen

__all__ = ["Look", "Part", "two_looks"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How an actor is drawn: property, texture or none, whether as opaque, and whether in the colours of its points."""

    prop: Any
    texture: Any
    opaque: bool
    coloured: bool


@dataclass(frozen=True, slots=True)
class Part:
    """An actor with the two looks that it takes in turn."""

    actor: Any
    lit: Look
    flat: Look

    def take(self, look: Look, number: int = 0) -> None:
        """Draw it so from now on; flat, in the red of the number."""
        if look is self.flat:
            look.prop.color = (number / 255, 0.0, 0.0)
        self.actor.SetProperty(look.prop)
        self.actor.SetTexture(look.texture)
        self.actor.SetForceOpaque(look.opaque)
        self.actor.GetMapper().SetScalarVisibility(look.coloured)


def two_looks(actor: Any) -> Part:
    """The look that an actor has, and a flat one; what a texture cuts out is cut out of both alike."""
    texture, blank = actor.GetTexture(), None
    if texture is not None:
        blank = _blank(texture)  # white: without any, VTK would lay the texture's coordinates aside for good
    lit = Look(
        prop=actor.GetProperty(),
        texture=texture,
        opaque=bool(actor.GetForceOpaque()),
        coloured=bool(actor.GetMapper().GetScalarVisibility()),
    )
    prop = off_screen().Property(lighting=False, ambient=0.0, diffuse=1.0)
    return Part(actor, lit, Look(prop=prop, texture=blank, opaque=True, coloured=False))


def _blank(texture: Any) -> Any:
    """White, and transparent where a texture is; such a one is then no longer smoothed, so that both have one edge."""
    image_HWC = np.full((2, 2, 3), 255, dtype=np.uint8)
    if texture.n_components == 4:
        texture.interpolate = False
        image_HWC = np.array(texture.to_array())
        image_HWC[..., :3] = 255
    blank = off_screen().Texture(image_HWC)
    blank.repeat, blank.interpolate = True, False
    return blank
