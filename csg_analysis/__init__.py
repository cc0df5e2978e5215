"""Measure features: hyperspherical energy, attention, similarity. Importing it costs nothing until a name is used.

`energy`, `features`, `attention`, `similarity`, `sphere` measure; `report` builds pages from their records; `commands`
are ``csg-analyze``. docs/python.md shows each name of this surface at work, and says what may change.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
