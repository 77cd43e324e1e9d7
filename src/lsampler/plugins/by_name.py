"""Plugins by name: unfitted strategies, cores and evaluators, fitted strategies from files, and autoencoders."""

from __future__ import annotations

import os
from typing import Any, Literal, cast

from lsampler.bundles.bundle import find_bundle
from lsampler.errors import LsamplerError, plugin_errors
from lsampler.models.protocols import Autoencoder, AutoencoderLoader
from lsampler.plugins.registry import registry
from lsampler.samplers.base import LatentSampler
from lsampler.samplers.saving import saved_name
from lsampler.scoring.core import Core
from lsampler.scoring.evaluator import Evaluator
from lsampler.scoring.subject import Subject
from lsampler.scoring.suitable import suitable
from lsampler.store.opening import ReferenceLike, as_reference


def load_sampler(name: str, **parameters: Any) -> LatentSampler:
    """Return a strategy by its plugin name, not fitted yet, such as ``load_sampler("pca-ellipse", fact=0.8)``.

    Raises:
        LsamplerError: unknown name, or a parameter that is unknown, of the wrong type or out of range.
    """
    sampler: LatentSampler = registry().get("sampler", name)(**parameters)
    return sampler


def recommended_sampler(latents: ReferenceLike) -> tuple[LatentSampler, str]:
    """Return the strategy to draw with if none is named, not fitted yet, and why it is this one.

    For a bundle it is the one that the bundle recommends, with the parameters that it carries; for a store or an array
    the one that docs/choosing-a-strategy.md recommends where there are latent vectors.

    Args:
        latents: a store, a bundle, or an array of latent vectors (N, D).
    """
    found = as_reference(latents).recommendation()
    return load_sampler(found.name, **found.parameters), found.why


def load_fitted(path: str | os.PathLike[str]) -> LatentSampler:
    """Return the fitted strategy in a file that :meth:`LatentSampler.save` wrote, by the plugin of the name in it.

    Raises:
        LsamplerError: the file is missing, damaged, or holds a strategy that is not installed.
    """
    name = saved_name(path)
    try:
        kind = registry().get("sampler", name)
    except LsamplerError as error:
        raise LsamplerError(f"{path}: {error}") from error
    sampler: LatentSampler = kind.load(path)
    return sampler


def load_core(name: str, **parameters: Any) -> Core:
    """Return a core by its plugin name, not fitted yet."""
    core: Core = registry().get("core", name)(**parameters)
    return core


def evaluators_for(subject: Subject, *, quick: bool = False) -> tuple[list[str], list[str]]:
    """The evaluators that ``compare`` takes by itself, and why others are left out.

    Args:
        subject: whose samples are scored; which evaluators there are depends on the items of its autoencoder.
        quick: leave out those that take minutes.

    Returns:
        Their names, and a line about those that cannot score such items, if there are any.
    """
    known = registry()
    found = [known.get("evaluator", name) for name in known.of_kind("evaluator")]
    kept, left_out = suitable([each for each in found if not (quick and each.takes_minutes)], subject)
    return [each.name for each in kept], left_out


def load_evaluator(name: str, **parameters: Any) -> Evaluator:
    """Return an evaluator by its plugin name."""
    evaluator: Evaluator = registry().get("evaluator", name)(**parameters)
    return evaluator


def load_autoencoder(spec: str | os.PathLike[str], **parameters: Any) -> Autoencoder:
    """Return the autoencoder of a bundle, or from a specification, by the first loader that accepts it.

    Args:
        spec: the name of a bundle, a file, a folder or another text that a loader accepts.
        **parameters: parameters of that loader, such as ``size=64``.

    Raises:
        LsamplerError: no loader accepts it, or the one that does cannot read it.
    """
    if not isinstance(spec, str | os.PathLike):
        raise LsamplerError(
            f"load_autoencoder: opens names and files, and this is of type {type(spec).__name__}; make live objects an "
            "autoencoder by lsampler.adapt(encoder, decoder, example=X[:2])"
        )
    spec = os.fspath(spec)
    if bundle := find_bundle(spec, parameters):
        return bundle.autoencoder
    return load_by(find_loader(spec)(**parameters), spec)


def load_by(loader: AutoencoderLoader, spec: str) -> Autoencoder:
    """The autoencoder that a loader opens. Raises LsamplerError, also where it is none."""
    with plugin_errors(f"{spec}: loading by {loader.name}"):
        found = loader.load(spec)
        if not isinstance(found, Autoencoder):
            raise TypeError(f"gave a {type(found).__name__}, expected an lsampler.models.Autoencoder")
        if not (isinstance(found.dimension, int) and found.dimension > 0 and isinstance(found.fingerprint, str)):
            raise TypeError("its dimension is no whole number above 0, or its fingerprint no text")
    return found


def find_loader(spec: str) -> type[AutoencoderLoader]:
    """Return the first loader that accepts a specification. Raises LsamplerError if none does."""
    loaders: list[Any] = [found.plugin for found in registry().of_kind("autoencoder loader").values()]
    for loader in loaders:
        with plugin_errors(f"{spec}: asking the loader {loader.name}"):
            if loader.accepts(spec):
                return cast("type[AutoencoderLoader]", loader)
    raise LsamplerError(
        f"model '{spec}': nothing opens it; give a bundle's name, or a model as docs/models.md says; "
        f"loaders that are installed: {', '.join(loader.name for loader in loaders) or 'none'}"
    )


def plugin_names(kind: Literal["sampler", "core", "evaluator", "autoencoder loader"]) -> list[str]:
    """Return the names of all plugins of a kind."""
    return list(registry().of_kind(kind))
