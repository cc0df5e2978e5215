"""The training loop and its parts; `csg_train.methods.base` shows one step of it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
