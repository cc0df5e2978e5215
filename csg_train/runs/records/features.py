"""Records of features: energies, similarity to the starting weights, the circle."""

from typing import Literal

from pydantic import Field

from csg_train.runs.records.parts import BaseRecord, Interval, Plain

__all__ = ["SPHERE_ANGLES", "UNSTABLE", "Dtype", "EnergyRecord", "PoolStability", "SimilarityRecord", "SphereRecord"]


UNSTABLE = 0.01


class PoolStability(Plain):
    """How well A-pool is defined on the maps of some pictures: ``|mean v|^2 / mean |v|^2`` of each map's positions v.

    1 where all positions are equal, 0 where they cancel, as they only can in maps of both signs.
    """

    mean: float
    smallest: float
    below: int
    """Pictures below `UNSTABLE`, whose pooled vectors are mostly chance."""


Dtype = Literal["float32", "float16", "float64", "bfloat16"]


class EnergyRecord(BaseRecord):
    """Hyperspherical energy of one checkpoint's features on one split; means over pairs of distinct images."""

    kind: Literal["energy"] = "energy"
    layer: str
    pool: str
    dim: int
    pairs: int
    """Unordered pairs, coincident ones included."""
    coincident: int
    coincident_rule: str
    paper: dict[str, float | None]
    """Eq 1 of the paper, mean over pairs, by s: log(1/d) for s=0, d^-s else. None where it is infinite, which only
    coincident pairs under the rule ``infinite`` make it."""
    mhe: dict[str, float | None]
    """As the paper's Table 1 was computed: s=0 doubled, else equal to ``paper``."""
    interval: dict[str, Interval]
    """By s, for the ``mhe`` value; none for an infinite value or fewer than three pictures."""
    uniform: dict[str, float | None]
    """``mhe`` energy of the uniform distribution on the same sphere, by s; None where it is infinite."""
    simplex: dict[str, float] = Field(default_factory=dict)
    """``mhe`` energy of the regular simplex, the least that so few pictures can have, by s; empty of more than dim + 1
    pictures, and in earlier records."""
    within: dict[str, float | None] = Field(default_factory=dict)
    """``mhe`` mean over the pairs of one class, by s; None where it is infinite. Empty without labels or such pairs,
    and in earlier records."""
    between: dict[str, float | None] = Field(default_factory=dict)
    """The same over the pairs of two classes."""
    dtype: Dtype = "float32"
    """Precision that the features were kept in; ``float16`` rounds each number to 11 bits, ``bfloat16`` to 8."""
    stability: PoolStability | None = None
    """Of the attention pool; none of another, and none in earlier records."""


class SimilarityRecord(BaseRecord):
    """One checkpoint beside the weights that its training started from, on the same pictures."""

    kind: Literal["similarity"] = "similarity"
    start: str
    """SHA-256 of the starting weights that it was compared with, or ``none`` (random, drawn again)."""
    pool: str
    cka: dict[str, float]
    """Linear CKA with the starting weights, by stage."""
    layer: str
    """Stage of all measures below."""
    dim: int
    measures: dict[str, float]
    """Of the checkpoint, by metric."""
    start_measures: dict[str, float]
    """Of the starting weights, by metric."""
    spread_by_class: dict[str, float]
    """Of the checkpoint, for each class that has pictures."""
    definitions: dict[str, str]
    """Formula and source of every metric."""
    stability: dict[str, PoolStability] = Field(default_factory=dict)
    """Of the attention pool, by stage, for the checkpoint; empty of another, and in earlier records."""


SPHERE_ANGLES = 360
"""Angles of a recorded density."""


class SphereRecord(BaseRecord):
    """Features of one checkpoint on one split, on a circle that several checkpoints share."""

    kind: Literal["sphere"] = "sphere"
    layer: str
    pool: str
    energy: float
    """E_0 in all dimensions, ``mhe`` convention."""
    together: list[str]
    """SHA-256 of the checkpoints whose features gave the plane, in the order of the panels."""
    share: float
    """Of the variance of all their unit vectors, how much lies in the plane, 0 to 1."""
    concentration: float
    """Of the von Mises kernel."""
    density: list[float] = Field(min_length=SPHERE_ANGLES, max_length=SPHERE_ANGLES)
    """Per radian, at equal steps from -pi; its integral over the circle is 1."""
    definition: str
    """Projection and kernel in words."""
