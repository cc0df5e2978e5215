"""Features on a circle that several checkpoints share: the projection, its figure, its record."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
