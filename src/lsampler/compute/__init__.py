"""How numbers are computed: seeded blocks, threads, Dask clusters, exact neighbours, distances."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
