"""The demo data sets: which packages hold them, how each is built, and their domains as image sets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
