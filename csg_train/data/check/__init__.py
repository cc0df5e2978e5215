"""What a set holds: counts, duplicates, bad files, licence; and contact sheets to look at."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
