"""A trained network for other places: what each format of file holds, and how it is read there."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
