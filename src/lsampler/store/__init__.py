"""Latent stores: single files, shards and arrays, their writer, import and export."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
