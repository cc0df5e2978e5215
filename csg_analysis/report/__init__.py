"""Reports from records: tables, figures, one page; built, checked and compared without a checkpoint."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
