"""Sets of pictures in every layout that we know: what they list, and how a file is decoded."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
