"""Train and evaluate synthetic-to-real methods: CSG (ICLR 2021) and the baselines of its tables.

`data` reads pictures, `recipes` say how they are shown, `models` and `methods` make a loss of them, `engine` trains,
`runs` keep what comes out, `evaluate` measures it; `demos` fetch pictures, `commands` are ``csg-train``. Importing this
costs nothing until a name is used. docs/python.md shows each name at work, and says what may change.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
