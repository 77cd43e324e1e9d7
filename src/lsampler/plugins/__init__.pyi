"""The public names of this package, and where each is defined."""

from .by_name import load_core, load_evaluator, load_fitted, plugin_names, recommended_sampler
from .hookspecs import API_VERSION, hookimpl, offers

__all__ = [
    "API_VERSION",
    "hookimpl",
    "load_core",
    "load_evaluator",
    "load_fitted",
    "offers",
    "plugin_names",
    "recommended_sampler",
]
