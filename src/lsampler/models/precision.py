"""An encoder made quicker by lower precision or compilation, and checked against plain float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor

from lsampler.data.images import Preprocess
from lsampler.errors import LsamplerError, nearest_name
from lsampler.models.protocols import Autoencoder

__all__ = ["LARGEST_DEVIATION", "Precision", "QuickEncoder", "deviation", "device_of"]

Precision: TypeAlias = Literal["float32", "bfloat16"]
LARGEST_DEVIATION = 0.25
"""In standard deviations of a component; a latent vector's place in its distribution is then still the same."""
# A component that hardly varies is measured by this share of the latents' root mean square.
SMALLEST_SPREAD = 0.01


class QuickEncoder:
    """An autoencoder whose ``encode`` runs in mixed precision, compiled, or both.

    Its first batch is encoded in plain float32 as well; :attr:`deviation` then says how far the
    two are apart, at most.

    Args:
        autoencoder: the encoder as it is; it is not changed.
        precision: ``bfloat16``: matrix products and convolutions in it, by PyTorch's autocast.
        compile: through ``torch.compile``.

    Raises:
        LsamplerError: the precision is unknown.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        precision: Precision = "float32",
        *,
        compile: bool = False,  # noqa: A002
    ) -> None:
        if precision not in get_args(Precision):
            raise LsamplerError(f"--precision {precision}: is unknown{nearest_name(precision, get_args(Precision))}")
        self.autoencoder, self._precision, self._compile = autoencoder, precision, compile
        self._encode: Callable[[Tensor], Tensor] = autoencoder.encode
        if compile:
            self._encode = torch.compile(autoencoder.encode, dynamic=False)
        self.name = " and ".join(filter(None, [precision if precision != "float32" else "", "compile" * compile]))
        self.deviation: float | None = None

    @property
    def dimension(self) -> int:
        """The latent dimension D."""
        return self.autoencoder.dimension

    @property
    def fingerprint(self) -> str:
        """That of the autoencoder."""
        return self.autoencoder.fingerprint

    @property
    def preprocess(self) -> Preprocess:
        """That of the autoencoder."""
        return self.autoencoder.preprocess

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return device_of(self.autoencoder)

    def to(self, device: torch.device) -> Self:
        """Move the weights."""
        self.autoencoder.to(device)
        return self

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) float32 in [0, 1] -> latent vectors (B, D) float32.

        Raises:
            LsamplerError: it cannot be compiled, or the first batch's latents are not those of float32.
        """
        latents = self._quick(images)
        if self.deviation is None:
            self.deviation = deviation(latents, self.autoencoder.encode(images).float())
            if not self.deviation <= LARGEST_DEVIATION:  # NaN neither
                raise LsamplerError(
                    f"{self.name}: latents differ from float32 by {self.deviation:.2g} sigma, more than "
                    f"{LARGEST_DEVIATION:g}; leave out --precision and --compile"
                )
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """As the autoencoder does."""
        return self.autoencoder.decode(latents)

    def _quick(self, images: Tensor) -> Tensor:
        mixed = self._precision == "bfloat16"
        try:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
                return self._encode(images).float()
        except Exception as error:
            if not self._compile or isinstance(error, LsamplerError):
                raise
            raise LsamplerError(
                f"--compile: PyTorch cannot compile this encoder here ({_reason(error)}); leave it out"
            ) from error


def device_of(autoencoder: Autoencoder) -> torch.device:
    """Where its weights are; of one that does not say, the CPU is supposed."""
    found = getattr(autoencoder, "device", None)
    return torch.device(found) if isinstance(found, str | torch.device) else torch.device("cpu")


def deviation(latents: Tensor, exact: Tensor) -> float:
    """The largest difference, in standard deviations of its component over the batch (n, D)."""
    exact, latents = exact.double().cpu(), latents.double().cpu()
    spread = exact.std(dim=0, correction=0)
    floor = SMALLEST_SPREAD * exact.square().mean().sqrt()
    return float(((latents - exact).abs() / spread.clamp(min=max(float(floor), 1e-30))).max())


def _reason(error: Any) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:120]
