"""safetensors-file: autoencoders made by ``lsampler train``, and bundles."""

from pathlib import Path

from lsampler.bundles import load_safetensors_autoencoder
from lsampler.models import Autoencoder, AutoencoderLoader
from lsampler.plugins import offers


class SafetensorsFile(AutoencoderLoader):
    """A .safetensors file: an autoencoder made by 'lsampler train', or a bundle."""

    name = "safetensors-file"

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """Accept the suffix .safetensors."""
        return Path(spec).suffix == ".safetensors"

    def load(self, spec: str) -> Autoencoder:
        """The autoencoder in the file."""
        return load_safetensors_autoencoder(spec)


lsampler_autoencoder_loaders = offers(SafetensorsFile)
