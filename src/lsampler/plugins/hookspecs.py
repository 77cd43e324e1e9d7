"""The four hooks of a plugin, and the two ways to implement one: :func:`offers` and ``hookimpl``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pluggy

from lsampler.plugins.base import Plugin

PROJECT = "lsampler"
API_VERSION = 2
"""The version of the plugin API. It is raised when existing plugins have to change."""
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Pluggy's decorator. A module that uses it states the version of the plugin API as ``LSAMPLER_API = 2``."""


def offers(*classes: type[Plugin], api: int = 2) -> Callable[[], Sequence[type[Plugin]]]:
    """Implement a hook in one line, such as ``lsampler_samplers = lsampler.plugins.offers(PcaEllipse)``.

    Args:
        *classes: the plugin classes, all of the kind that the hook's name says.
        api: the version of the plugin API that they were written for.
    """

    def offered() -> Sequence[type[Plugin]]:
        return classes

    vars(offered)["lsampler_api"] = api
    return hookimpl(offered)


@hookspec
def lsampler_samplers() -> Sequence[type[Plugin]]:
    """Strategies that draw latent vectors: subclasses of ``LatentSampler``."""
    raise NotImplementedError


@hookspec
def lsampler_cores() -> Sequence[type[Plugin]]:
    """Regions of latent space that hold the bulk of the encoded data: subclasses of ``Core``."""
    raise NotImplementedError


@hookspec
def lsampler_evaluators() -> Sequence[type[Plugin]]:
    """Scores of samples against a reference: subclasses of ``Evaluator``."""
    raise NotImplementedError


@hookspec
def lsampler_autoencoder_loaders() -> Sequence[type[Plugin]]:
    """Ways to open an autoencoder: subclasses of ``AutoencoderLoader``."""
    raise NotImplementedError
