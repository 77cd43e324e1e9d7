"""lsampler turns any trained autoencoder into a generator, and measures how well that worked.

The public names are listed in ``__init__.pyi``, which this module reads. Each is imported when it is first used, so
that ``import lsampler`` is quick and does not import torch.
"""

import lazy_loader

import lsampler.bundles
import lsampler.plugins  # noqa: F401 - with these two imports, bundles and plugins are found by name
from lsampler._version import __version__

__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __dir__() -> list[str]:
    return __all__
