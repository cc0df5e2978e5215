"""Hyperspherical energy of feature rows, exact or sampled, in bounded memory; it knows arrays and nothing else."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
