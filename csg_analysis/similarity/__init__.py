"""Metrics of features beside the energy, and a checkpoint beside the weights that it started from."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
