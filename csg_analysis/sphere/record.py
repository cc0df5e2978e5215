"""Densities of several checkpoints' features on the circle that they share, as records."""

from collections.abc import Sequence

import numpy as np

from csg_analysis.sphere.circle import CONCENTRATION, Circle, von_mises_density
from csg_train.runs.records import SPHERE_ANGLES, DataInfo, OutsideInfo, RunInfo, SphereRecord

__all__ = ["PROJECTION", "grid", "sphere_records"]

PROJECTION = (
    "unit vectors of all checkpoints together, less their mean, by PCA to 2-D, then to the circle; von Mises kernel "
    "density over the angle, per radian"
)


def grid() -> np.ndarray:
    """``(SPHERE_ANGLES,)`` radians, equal steps from -pi; pi, which is the same angle, is left out."""
    return np.linspace(-np.pi, np.pi, SPHERE_ANGLES, endpoint=False)


def sphere_records(
    circle: Circle,
    runs: Sequence[RunInfo | OutsideInfo],
    *,
    data: Sequence[DataInfo],
    layer: str,
    pool: str,
    energies: Sequence[float],
) -> list[SphereRecord]:
    """A record a checkpoint, whose features of the same pictures, shown to each in its way, are on one circle."""
    return [
        SphereRecord(
            run=run,
            data=shown,
            layer=layer,
            pool=pool,
            energy=energy,
            together=[other.sha256 if isinstance(other, OutsideInfo) else other.checkpoint_sha256 for other in runs],
            share=circle.share,
            concentration=CONCENTRATION,
            density=von_mises_density(angles_N, grid()).tolist(),
            definition=PROJECTION,
        )
        for run, shown, energy, angles_N in zip(runs, data, energies, circle.angles, strict=True)
    ]
