"""What a checkpoint is worth: accuracy of pictures, IoU of masks, with intervals."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
