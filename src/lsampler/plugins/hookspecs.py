"""The hooks a plugin may implement. Each returns classes; none is required."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from lsampler.models.protocols import AutoencoderLoader
    from lsampler.samplers.base import LatentSampler
    from lsampler.scoring.core import Core
    from lsampler.scoring.evaluator import Evaluator

__all__ = ["API_VERSION", "hookimpl"]

PROJECT = "lsampler"
API_VERSION = 1
"""Of the plugin API: what ``LSAMPLER_API`` of a plugin's module must say. Raised when plugins have to change."""
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def lsampler_samplers() -> Sequence[type[LatentSampler]]:
    """Strategies that draw latent vectors."""
    raise NotImplementedError


@hookspec
def lsampler_cores() -> Sequence[type[Core]]:
    """Regions of latent space that hold the bulk of the encoded data."""
    raise NotImplementedError


@hookspec
def lsampler_evaluators() -> Sequence[type[Evaluator]]:
    """Scores of samples against a reference."""
    raise NotImplementedError


@hookspec
def lsampler_autoencoder_loaders() -> Sequence[type[AutoencoderLoader]]:
    """Ways to open an autoencoder."""
    raise NotImplementedError
