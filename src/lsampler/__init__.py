"""lsampler turns any trained autoencoder into a generator, and measures how well that worked.

The names below are the public API; everything else is private. They are looked up when first
used, so that ``import lsampler`` is quick and does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lsampler._version import __version__

if TYPE_CHECKING:
    from lsampler._adapter import AdaptedAutoencoder, ForeignLoader, file_digest, module_digest
    from lsampler._analysis import Analysis, Verdict, analyze
    from lsampler._api import load_autoencoder, load_core, load_evaluator, load_sampler, plugin_names
    from lsampler._autoencoder import ConvAutoencoder, ConvConfig
    from lsampler._bundle import Bundle, build_bundle, load_bundle, load_safetensors_autoencoder
    from lsampler._cluster import on_cluster
    from lsampler._comparison import Comparison, Entry, compare, swept
    from lsampler._core import Core
    from lsampler._decoding import decode_images, save_grid
    from lsampler._distances import frechet_distance
    from lsampler._encoding import encode_images
    from lsampler._errors import LsamplerError
    from lsampler._evaluator import (
        Evaluation,
        Evaluator,
        RealData,
        Samples,
        Score,
        bootstrap_score,
        evaluate,
        share_score,
    )
    from lsampler._hookspecs import API_VERSION, hookimpl
    from lsampler._images import Preprocess, open_images
    from lsampler._interchange import export_latents, import_latents
    from lsampler._interfaces import Autoencoder, AutoencoderLoader, Decoder, Encoder
    from lsampler._neighbours import Balls, Neighbours, ball_counts, mutual_ball_counts, nearest_neighbours
    from lsampler._random import Block
    from lsampler._reference import ArrayReference, Reference
    from lsampler._sampler import LatentSampler, State
    from lsampler._sampling import sample_store
    from lsampler._shard_writer import merge_store, shard_store
    from lsampler._shards import ShardedStore, open_store
    from lsampler._statistics import FWHM_PER_SIGMA, HalfWidth, Pca, Statistics
    from lsampler._store import LatentStore
    from lsampler._store_writer import StoreWriter

_HOMES = {
    "_adapter": ("AdaptedAutoencoder", "ForeignLoader", "file_digest", "module_digest"),
    "_analysis": ("Analysis", "Verdict", "analyze"),
    "_api": ("load_autoencoder", "load_core", "load_evaluator", "load_sampler", "plugin_names"),
    "_autoencoder": ("ConvAutoencoder", "ConvConfig"),
    "_bundle": ("Bundle", "build_bundle", "load_bundle", "load_safetensors_autoencoder"),
    "_cluster": ("on_cluster",),
    "_comparison": ("Comparison", "Entry", "compare", "swept"),
    "_core": ("Core",),
    "_decoding": ("decode_images", "save_grid"),
    "_distances": ("frechet_distance",),
    "_encoding": ("encode_images",),
    "_errors": ("LsamplerError",),
    "_evaluator": (
        "Evaluation",
        "Evaluator",
        "RealData",
        "Samples",
        "Score",
        "bootstrap_score",
        "evaluate",
        "share_score",
    ),
    "_hookspecs": ("API_VERSION", "hookimpl"),
    "_images": ("Preprocess", "open_images"),
    "_interchange": ("export_latents", "import_latents"),
    "_interfaces": ("Autoencoder", "AutoencoderLoader", "Decoder", "Encoder"),
    "_neighbours": ("Balls", "Neighbours", "ball_counts", "mutual_ball_counts", "nearest_neighbours"),
    "_random": ("Block",),
    "_reference": ("ArrayReference", "Reference"),
    "_sampler": ("LatentSampler", "State"),
    "_sampling": ("sample_store",),
    "_shard_writer": ("merge_store", "shard_store"),
    "_shards": ("ShardedStore", "open_store"),
    "_statistics": ("FWHM_PER_SIGMA", "HalfWidth", "Pca", "Statistics"),
    "_store": ("LatentStore",),
    "_store_writer": ("StoreWriter",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "API_VERSION",
    "FWHM_PER_SIGMA",
    "AdaptedAutoencoder",
    "Analysis",
    "ArrayReference",
    "Autoencoder",
    "AutoencoderLoader",
    "Balls",
    "Block",
    "Bundle",
    "Comparison",
    "ConvAutoencoder",
    "ConvConfig",
    "Core",
    "Decoder",
    "Encoder",
    "Entry",
    "Evaluation",
    "Evaluator",
    "ForeignLoader",
    "HalfWidth",
    "LatentSampler",
    "LatentStore",
    "LsamplerError",
    "Neighbours",
    "Pca",
    "Preprocess",
    "RealData",
    "Reference",
    "Samples",
    "Score",
    "ShardedStore",
    "State",
    "Statistics",
    "StoreWriter",
    "Verdict",
    "__version__",
    "analyze",
    "ball_counts",
    "bootstrap_score",
    "build_bundle",
    "compare",
    "decode_images",
    "encode_images",
    "evaluate",
    "export_latents",
    "file_digest",
    "frechet_distance",
    "hookimpl",
    "import_latents",
    "load_autoencoder",
    "load_bundle",
    "load_core",
    "load_evaluator",
    "load_safetensors_autoencoder",
    "load_sampler",
    "merge_store",
    "module_digest",
    "mutual_ball_counts",
    "nearest_neighbours",
    "on_cluster",
    "open_images",
    "open_store",
    "plugin_names",
    "sample_store",
    "save_grid",
    "shard_store",
    "share_score",
    "swept",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'lsampler' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"lsampler.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
