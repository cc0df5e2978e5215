"""Pictures and masks, from a file to the batch that a network takes.

`readers` list and decode files, `views` make tensors of them, `loaders` make batches; `check` looks through a whole
set, and `cache` decodes one once.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
