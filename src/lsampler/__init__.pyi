"""The public names, and where each is defined."""

from . import (
    bundles,
    choosing,
    compute,
    data,
    editing,
    errors,
    models,
    plugins,
    reports,
    samplers,
    scoring,
    statistics,
    store,
    testing,
)
from .bundles.bundle import load_bundle
from .choosing import choose
from .errors import LsamplerError
from .models.adapt import adapt
from .models.decoding import decode
from .models.in_memory import encode
from .plugins.by_name import load_autoencoder, load_sampler
from .reports.analysis import analyze
from .reports.comparison import compare
from .scoring.evaluation import evaluate
from .store.opening import open_store

__version__: str

__all__ = [
    "LsamplerError",
    "__version__",
    "adapt",
    "analyze",
    "bundles",
    "choose",
    "choosing",
    "compare",
    "compute",
    "data",
    "decode",
    "editing",
    "encode",
    "errors",
    "evaluate",
    "load_autoencoder",
    "load_bundle",
    "load_sampler",
    "models",
    "open_store",
    "plugins",
    "reports",
    "samplers",
    "scoring",
    "statistics",
    "store",
    "testing",
]
