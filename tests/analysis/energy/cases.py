"""Features to measure and the slow, sure way to their energy."""

import math

import numpy as np
from scipy.spatial.distance import pdist


def clusters(n, d, spread, count, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((count, d))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rows = centres[generator.integers(count, size=n)] + spread * generator.standard_normal((n, d)) / math.sqrt(d)
    return rows.astype(np.float32)


def brute_force(features, s, labels=None, within=None):
    unit = features.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    distance = pdist(unit)
    keep = distance >= 1e-12
    if within is not None:
        first, second = np.triu_indices(len(unit), 1)
        keep &= (labels[first] == labels[second]) == within
    distance = distance[keep]
    return float(np.mean(-np.log(distance) if s == 0 else distance**-s))


def values(energy):
    return [estimate.value for estimate in energy.paper.values()]
