"""Records: JSON files in which every number carries its definition. Reports are built from them alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
