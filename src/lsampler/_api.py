"""Short ways to the plugins, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from lsampler._errors import LsamplerError
from lsampler._registry import registry

if TYPE_CHECKING:
    from lsampler._core import Core
    from lsampler._evaluator import Evaluator
    from lsampler._interfaces import Autoencoder
    from lsampler._sampler import LatentSampler

__all__ = ["load_autoencoder", "load_core", "load_evaluator", "load_sampler", "plugin_names"]


def load_sampler(name: str, **parameters: Any) -> LatentSampler:
    """A strategy by its plugin name, not fitted yet, such as ``load_sampler("pca-ellipse", fact=0.8)``.

    Raises:
        LsamplerError: unknown name, or a parameter that is unknown, of the wrong type or out of range.
    """
    sampler: LatentSampler = registry().get("sampler", name)(**parameters)
    return sampler


def load_core(name: str, **parameters: Any) -> Core:
    """A core by its plugin name, not fitted yet."""
    core: Core = registry().get("core", name)(**parameters)
    return core


def load_evaluator(name: str, **parameters: Any) -> Evaluator:
    """An evaluator by its plugin name."""
    evaluator: Evaluator = registry().get("evaluator", name)(**parameters)
    return evaluator


def load_autoencoder(spec: str) -> Autoencoder:
    """An autoencoder from a specification, by the first loader that accepts it.

    Raises:
        LsamplerError: no loader accepts it, or the one that does cannot read it.
    """
    loaders = registry().of_kind("autoencoder loader")
    for found in loaders.values():
        loader: Any = found.plugin()
        if loader.accepts(spec):
            autoencoder: Autoencoder = loader.load(spec)
            return autoencoder
    kinds = "; ".join(found.plugin.summary() for found in loaders.values())
    raise LsamplerError(f"model '{spec}': nothing opens it; give {kinds or 'a model'}")


def plugin_names(kind: Literal["sampler", "core", "evaluator", "autoencoder loader"]) -> list[str]:
    """The names of all plugins of a kind."""
    return list(registry().of_kind(kind))
