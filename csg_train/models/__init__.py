"""Backbones with named stages, and the networks that are trained: a backbone and a task head."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
