"""What every picture of ours shares: SVG and PNG with equal bytes, a method's colour, numbers as text, overlays."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
