"""Recipes: what they may say, reading one, and the pictures, batches and network that it names; YAML files beside."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
