"""The training methods, a module each, and what they are made of.

To add one: its module, its line in `table`, its row in ``tests/train/methods/cases.py``. What any method may be
combined with stands in `options`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
