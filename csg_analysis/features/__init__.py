"""Features of a network, one vector a picture: computed batch by batch, and kept as files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
