"""The features that benchmarks measure."""

import numpy as np

__all__ = ["clusters", "unit"]


def clusters(n: int, d: int, spread: float, count: int, copies: int = 0) -> np.ndarray:
    """Unit centres with normal noise of length about ``spread``, float32; the last rows repeat the first."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((count, d), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rows = generator.standard_normal((n, d), dtype=np.float32)
    rows *= np.float32(spread / d**0.5)
    rows += centres[generator.integers(count, size=n)]
    if copies:
        rows[-copies:] = rows[:copies]
    return rows


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows as float64 unit vectors."""
    wide = rows.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return wide
