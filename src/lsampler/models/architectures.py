"""All autoencoders that ``lsampler train`` makes: which one is in a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lsampler.errors import LsamplerError, nearest_name
from lsampler.files import existing_file
from lsampler.models.conv_autoencoder import ConvAutoencoder
from lsampler.models.dense_autoencoder import DenseAutoencoder
from lsampler.models.signal_autoencoder import SignalAutoencoder
from lsampler.models.trained_autoencoder import TrainedAutoencoder, architecture_of
from lsampler.safetensors_files import read_safetensors

ARCHITECTURES: dict[str, type[TrainedAutoencoder]] = {
    each.architecture: each for each in (ConvAutoencoder, DenseAutoencoder, SignalAutoencoder)
}


def autoencoder_from_parts(
    metadata: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path
) -> TrainedAutoencoder:
    """The autoencoder that a file's metadata and weights describe."""
    name = architecture_of(metadata, path)
    if name not in ARCHITECTURES:
        raise LsamplerError(f"{path}: architecture '{name:.80}' is unknown{nearest_name(name, ARCHITECTURES)}")
    return ARCHITECTURES[name].from_parts(metadata, weights, path)


def open_trained(path: str | os.PathLike[str]) -> TrainedAutoencoder:
    """Read an autoencoder that ``lsampler train`` wrote, whatever its items are.

    Raises:
        LsamplerError: the file is missing, truncated, foreign, or its weights do not fit.
    """
    path = existing_file(path, "model file")
    return autoencoder_from_parts(*read_safetensors(path), path)
