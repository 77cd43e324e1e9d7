"""lsampler turns any trained autoencoder into a generator, and measures how well that worked.

The names below are the public API; everything else is private. They are looked up when first
used, so that ``import lsampler`` is quick and does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lsampler._version import __version__

if TYPE_CHECKING:
    from lsampler._analysis import Analysis, Verdict, analyze
    from lsampler._api import load_autoencoder, load_core, load_evaluator, load_sampler, plugin_names
    from lsampler._autoencoder import ConvAutoencoder, ConvConfig
    from lsampler._bundle import Bundle, load_bundle, load_safetensors_autoencoder
    from lsampler._core import Core
    from lsampler._decoding import decode_images, save_grid
    from lsampler._encoding import encode_images
    from lsampler._errors import LsamplerError
    from lsampler._evaluator import Evaluation, Evaluator, Samples, Score, evaluate, share_score
    from lsampler._hookspecs import hookimpl
    from lsampler._images import Preprocess, open_images
    from lsampler._interfaces import Autoencoder, AutoencoderLoader, Decoder, Encoder
    from lsampler._random import Block
    from lsampler._reference import ArrayReference, Reference
    from lsampler._sampler import LatentSampler, State
    from lsampler._statistics import FWHM_PER_SIGMA, HalfWidth, Pca, Statistics
    from lsampler._store import LatentStore
    from lsampler._store_writer import StoreWriter

_HOMES = {
    "_analysis": ("Analysis", "Verdict", "analyze"),
    "_api": ("load_autoencoder", "load_core", "load_evaluator", "load_sampler", "plugin_names"),
    "_autoencoder": ("ConvAutoencoder", "ConvConfig"),
    "_bundle": ("Bundle", "load_bundle", "load_safetensors_autoencoder"),
    "_core": ("Core",),
    "_decoding": ("decode_images", "save_grid"),
    "_encoding": ("encode_images",),
    "_errors": ("LsamplerError",),
    "_evaluator": ("Evaluation", "Evaluator", "Samples", "Score", "evaluate", "share_score"),
    "_hookspecs": ("hookimpl",),
    "_images": ("Preprocess", "open_images"),
    "_interfaces": ("Autoencoder", "AutoencoderLoader", "Decoder", "Encoder"),
    "_random": ("Block",),
    "_reference": ("ArrayReference", "Reference"),
    "_sampler": ("LatentSampler", "State"),
    "_statistics": ("FWHM_PER_SIGMA", "HalfWidth", "Pca", "Statistics"),
    "_store": ("LatentStore",),
    "_store_writer": ("StoreWriter",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "FWHM_PER_SIGMA",
    "Analysis",
    "ArrayReference",
    "Autoencoder",
    "AutoencoderLoader",
    "Block",
    "Bundle",
    "ConvAutoencoder",
    "ConvConfig",
    "Core",
    "Decoder",
    "Encoder",
    "Evaluation",
    "Evaluator",
    "HalfWidth",
    "LatentSampler",
    "LatentStore",
    "LsamplerError",
    "Pca",
    "Preprocess",
    "Reference",
    "Samples",
    "Score",
    "State",
    "Statistics",
    "StoreWriter",
    "Verdict",
    "__version__",
    "analyze",
    "decode_images",
    "encode_images",
    "evaluate",
    "hookimpl",
    "load_autoencoder",
    "load_bundle",
    "load_core",
    "load_evaluator",
    "load_safetensors_autoencoder",
    "load_sampler",
    "open_images",
    "plugin_names",
    "save_grid",
    "share_score",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'lsampler' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"lsampler.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
