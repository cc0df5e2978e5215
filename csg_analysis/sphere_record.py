"""`SphereRecord`: the density of one checkpoint's features on a circle that several checkpoints share."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from csg_analysis.sphere import CONCENTRATION, on_circle, von_mises_density
from csg_train.records import DataInfo, RunInfo

__all__ = ["POINTS", "PROJECTION", "SphereRecord", "grid", "sphere_records"]

POINTS = 360
"""Angles of a recorded density."""

PROJECTION = (
    "unit vectors of all checkpoints together, less their mean, by PCA to 2-D, then to the circle; von Mises kernel "
    "density over the angle, per radian"
)


def grid() -> np.ndarray:
    """``(POINTS,)`` radians, equal steps from -pi; pi, which is the same angle, is left out."""
    return np.linspace(-np.pi, np.pi, POINTS, endpoint=False)


class SphereRecord(BaseModel):
    """Features of one checkpoint on one split, on a circle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["csg-record/1"] = "csg-record/1"
    kind: Literal["sphere"] = "sphere"
    run: RunInfo
    data: DataInfo
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
    density: list[float] = Field(min_length=POINTS, max_length=POINTS)
    """Per radian, at the angles of `grid`; its integral over the circle is 1."""
    definition: str
    """Projection and kernel in words."""


def sphere_records(
    features: Sequence[np.ndarray],
    runs: Sequence[RunInfo],
    *,
    data: DataInfo,
    layer: str,
    pool: str,
    energies: Sequence[float],
) -> list[SphereRecord]:
    """A record a checkpoint, from its features ``(N, D)`` of the same pictures.

    Raises:
        UserError: As of `on_circle`.
    """
    circle = on_circle(features)
    return [
        SphereRecord(
            run=run,
            data=data,
            layer=layer,
            pool=pool,
            energy=energy,
            together=[other.checkpoint_sha256 for other in runs],
            share=circle.share,
            concentration=CONCENTRATION,
            density=von_mises_density(angles_N, grid()).tolist(),
            definition=PROJECTION,
        )
        for run, energy, angles_N in zip(runs, energies, circle.angles, strict=True)
    ]
