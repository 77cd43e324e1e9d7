"""The public names of this package, and where each is defined."""

from .bundle import Bundle, build_bundle, bundled, load_safetensors_autoencoder

__all__ = [
    "Bundle",
    "build_bundle",
    "bundled",
    "load_safetensors_autoencoder",
]
