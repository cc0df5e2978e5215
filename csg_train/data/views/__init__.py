"""How a decoded picture becomes the tensor that is trained on or measured: crops, augmentation, other looks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
