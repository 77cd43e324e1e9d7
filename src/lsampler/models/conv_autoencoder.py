"""The posts' autoencoder: convolutional, no batch normalisation, no variational term.

One file on disk: safetensors, with the configuration, the preprocessing and a fingerprint in
its metadata.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator
from torch import Tensor, nn

from lsampler.compute.one_thread import one_kernel_thread
from lsampler.data.items import Item
from lsampler.data.preprocess import Preprocess
from lsampler.errors import LsamplerError
from lsampler.files import existing_file, new_file
from lsampler.models.protocols import check_latents
from lsampler.safetensors_files import read_safetensors, write_safetensors
from lsampler.showing import About, Shown, counted, encoder

FORMAT = "lsampler-autoencoder"
FORMAT_VERSION = 1
KERNEL = 3
LEAKY_SLOPE = 0.1
# A kernel size that is a multiple of the stride avoids a checkerboard in the decoded image.
TRANSPOSED_KERNEL = 4
# Images that go through the layers together on a CPU, so that what lies between two layers stays in its cache.
CPU_BATCH = 16

ACTIVATIONS: dict[str, Any] = {
    "leaky-relu": lambda: nn.LeakyReLU(LEAKY_SLOPE),
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
}


class ConvConfig(BaseModel):
    """The shape of a :class:`ConvAutoencoder`; the defaults are the posts'.

    Raises:
        LsamplerError: a setting is not valid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(default=96, ge=4, le=4096, description="edge of the square image in pixels")
    channels: Literal[1, 3] = Field(default=3, description="3 for colour, 1 for grey")
    filters: tuple[PositiveInt, ...] = Field(
        default=(64, 64, 128, 128),
        min_length=1,
        description="filters of the encoder's layers, each of stride 2; the decoder mirrors them",
    )
    latent_dim: int = Field(default=256, ge=1, le=65536, description="latent dimension D")
    activation: Literal["leaky-relu", "relu", "elu", "selu", "silu"] = Field(
        default="leaky-relu", description="activation between the layers (leaky-relu has slope 0.1)"
    )

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            first = error.errors()[0]
            setting = f"`{first['loc'][0]}={first['input']}`: " if first["loc"] else ""
            raise LsamplerError(setting + first["msg"].removeprefix("Value error, ")) from None

    @model_validator(mode="after")
    def _divisible(self) -> ConvConfig:
        halvings = 2 ** len(self.filters)
        if self.image_size % halvings:
            raise ValueError(
                f"{len(self.filters)} layers halve the image {len(self.filters)} times: "
                f"image size {self.image_size} must be a multiple of {halvings}"
            )
        return self


class ConvAutoencoder(Shown, nn.Module):
    """Convolutions of stride 2, a dense layer to the latent vector, and their mirror image.

    Source: the posts' layer structure: four Conv2D and four Conv2DTranspose layers, filters
    (64, 64, 128, 128) and mirrored, D = 256, 96 x 96 images (post III, post on filaments).

    Args:
        config: the network's shape.
        preprocess: how images were prepared for it; by default ``size`` and ``channels`` of config.
        training: facts about the training, stored in the file's metadata.
    """

    def __init__(
        self,
        config: ConvConfig | None = None,
        *,
        preprocess: Preprocess | None = None,
        training: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.config = config or ConvConfig()
        self.preprocess = preprocess or Preprocess(self.config.image_size, "none", self.config.channels)
        self.training_record = dict(training or {})
        self.encoder, self.decoder = _encoder(self.config), _decoder(self.config)
        for layers in (self.encoder, self.decoder):
            _initialise(layers)

    @property
    def dimension(self) -> int:
        """The latent dimension D."""
        return self.config.latent_dim

    @property
    def item(self) -> Item:
        """What its items are: images."""
        return Item.of_images(self.preprocess)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, images: Tensor) -> Tensor:
        """The reconstruction of ``images`` (B, C, H, W), not clipped."""
        decoded: Tensor = self.decoder(self.encoder(images))
        return decoded

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) float32 in [0, 1] -> latent vectors (B, D) float32."""
        expected = (self.config.channels, self.config.image_size, self.config.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise LsamplerError(f"images of shape {tuple(images.shape)}: the encoder takes (B, {str(expected)[1:]}")
        images = images.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        return _apply(self.encoder, images)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Latent vectors (B, D) float32 -> images (B, C, H, W) float32 in [0, 1]."""
        check_latents("the decoder", latents, self.dimension)
        return _apply(self.decoder, latents.to(self.device, non_blocking=True)).clamp(0.0, 1.0)

    @torch.no_grad()
    def scale_latents(self, factor: float) -> None:
        """Multiply all latent vectors by ``factor``, and leave every reconstruction as it is.

        The unit of a latent space is arbitrary: the encoder's last layer is multiplied, and the decoder's first one
        divided by the factor.
        """
        state = self.state_dict()
        last, first = f"encoder.{len(self.encoder) - 1}", "decoder.0"
        state[f"{last}.weight"].mul_(factor)
        state[f"{last}.bias"].mul_(factor)
        state[f"{first}.weight"].div_(factor)

    @property
    def fingerprint(self) -> str:
        """Identifies this autoencoder: SHA-256 of its shape and its half-precision weights.

        Half precision makes the fingerprint the same for weights that were stored as float16.
        """
        digest = hashlib.sha256(self.config.model_dump_json().encode())
        digest.update(json.dumps(self.preprocess.as_dict(), sort_keys=True).encode())
        for name, weight in sorted(self.state_dict().items()):
            digest.update(f"{name}{tuple(weight.shape)}".encode())
            digest.update(weight.detach().cpu().to(torch.float16).contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]

    def _about(self) -> About:
        weights = counted(sum(weight.numel() for weight in self.parameters()), "weight")
        return About(
            "ConvAutoencoder", "", [self.preprocess.words, f"D = {self.dimension}", weights, encoder(self.fingerprint)]
        )

    def metadata(self) -> dict[str, Any]:
        """Everything about the autoencoder except the weights."""
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "config": self.config.model_dump(mode="json"),
            "preprocess": self.preprocess.as_dict(),
            "training": self.training_record,
        }

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the autoencoder as one safetensors file, which is complete or absent."""
        weights = {name: weight.detach().cpu().contiguous() for name, weight in self.state_dict().items()}
        with new_file(path, force=force) as beside:
            write_safetensors(beside, weights, self.metadata())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ConvAutoencoder:
        """Read an autoencoder that :meth:`save` wrote; weights become float32.

        Raises:
            LsamplerError: the file is missing, truncated, foreign, or its weights do not fit.
        """
        path = existing_file(path, "model file")
        return cls.from_parts(*read_safetensors(path), path)

    @classmethod
    def from_parts(cls, metadata: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path) -> ConvAutoencoder:
        """Build the autoencoder that a file's metadata and weights describe."""
        if metadata.get("format") != FORMAT:
            raise LsamplerError(
                f"{path}: not an autoencoder made by 'lsampler train'; if it holds the weights of a diffusers model, "
                f"give its folder, {path.absolute().parent}"
            )
        if metadata.get("version") != FORMAT_VERSION:
            raise LsamplerError(
                f"{path}: autoencoder format {metadata.get('version')}, this lsampler reads "
                f"{FORMAT_VERSION}; install the lsampler that wrote it"
            )
        try:
            # On "meta" nothing is allocated: a tampered description cannot allocate a terabyte.
            with torch.device("meta"):
                model = cls(
                    ConvConfig(**metadata["config"]),
                    preprocess=Preprocess(**metadata["preprocess"]),
                    training=metadata.get("training"),
                )
            model.load_state_dict({name: weight.float() for name, weight in weights.items()}, assign=True)
        except (LsamplerError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise LsamplerError(f"{path}: damaged, its weights and description do not agree") from error
        if model.fingerprint != metadata.get("fingerprint"):
            raise LsamplerError(f"{path}: damaged, the weights do not match their fingerprint")
        return model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]


def _apply(layers: nn.Sequential, batch: Tensor) -> Tensor:
    """``layers(batch)``; on a CPU in small batches side by side, with the same result for any number of threads."""
    plain = not (torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"))
    if batch.device.type != "cpu" or not plain:
        result: Tensor = layers(batch)
        return result
    batches, threads = torch.split(batch, CPU_BATCH), torch.get_num_threads()
    if threads == 1:
        return torch.cat([layers(part) for part in batches])
    # Threads within a layer wait for each other after every layer, and round differently; one thread per batch does
    # neither.
    with ThreadPoolExecutor(min(threads, len(batches)), initializer=one_kernel_thread) as pool:
        return torch.cat(list(pool.map(torch.inference_mode()(layers), batches)))


def _initialise(layers: nn.Sequential) -> None:
    """Weights of the size that keeps the signal's variance from layer to layer (He et al. 2015).

    PyTorch's default shrinks it sixfold per layer, which the first epochs would have to undo.
    """
    weighted = [layer for layer in layers if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]
    if weighted[0].weight.is_meta:  # a file's weights follow; to draw none, PyTorch would import its compiler: 2 s
        return
    for layer in weighted:
        fan_in = layer.weight[0].numel()
        if isinstance(layer, nn.ConvTranspose2d):  # its weight is (in, out, k, k), and a stride of 2 skips 3 in 4
            fan_in = layer.in_channels * TRANSPOSED_KERNEL**2 // 4
        gain = 1.0 if layer is weighted[-1] else 2 / (1 + LEAKY_SLOPE**2)
        nn.init.normal_(layer.weight, std=(gain / fan_in) ** 0.5)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _encoder(config: ConvConfig) -> nn.Sequential:
    activation = ACTIVATIONS[config.activation]
    layers: list[nn.Module] = []
    width: int = config.channels
    for filters in config.filters:
        layers += [nn.Conv2d(width, filters, KERNEL, stride=2, padding=1), activation()]
        width = filters
    edge = config.image_size >> len(config.filters)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * edge * edge, config.latent_dim))


def _decoder(config: ConvConfig) -> nn.Sequential:
    activation = ACTIVATIONS[config.activation]
    edge = config.image_size >> len(config.filters)
    width = config.filters[-1]
    layers: list[nn.Module] = [
        nn.Linear(config.latent_dim, width * edge * edge),
        activation(),
        nn.Unflatten(1, (width, edge, edge)),
    ]
    for filters in (*reversed(config.filters[:-1]), config.channels):
        layers += [nn.ConvTranspose2d(width, filters, TRANSPOSED_KERNEL, stride=2, padding=1), activation()]
        width = filters
    return nn.Sequential(*layers[:-1])
