"""What a run leaves on the disk: checkpoints, records, logs; and released files of others made into checkpoints."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
