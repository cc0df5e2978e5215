"""GradCAM, and what its maps are worth: overlap with the object, deletion and insertion."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
