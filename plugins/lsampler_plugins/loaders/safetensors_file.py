"""safetensors-file: autoencoders made by ``lsampler train``, and bundles."""

from collections.abc import Sequence
from pathlib import Path

from lsampler import Autoencoder, AutoencoderLoader, hookimpl, load_safetensors_autoencoder

LSAMPLER_API = 1


class SafetensorsFile(AutoencoderLoader):
    """A .safetensors file: an autoencoder made by 'lsampler train', or a bundle."""

    name = "safetensors-file"

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """By its suffix."""
        return Path(spec).suffix == ".safetensors"

    def load(self, spec: str) -> Autoencoder:
        """The autoencoder in the file."""
        return load_safetensors_autoencoder(spec)


@hookimpl
def lsampler_autoencoder_loaders() -> Sequence[type[AutoencoderLoader]]:
    """The loader of this file."""
    return [SafetensorsFile]
