"""pythae: models saved by pythae (Chadebec et al. 2022, arXiv:2206.08309), without unpickling anything."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn

from lsampler import LsamplerError
from lsampler.extras import require_extra
from lsampler.models import Autoencoder, ForeignLoader, file_digest, require_trust
from lsampler.plugins import offers

# Models whose decoder takes what their encoder calls `embedding`. In the others, a flow or a random walk lies between
# the two, the space is curved, or the latents are discrete.
VARIATIONAL = (
    "Adversarial_AE BetaTCVAE BetaVAE CIWAE DisentangledBetaVAE FactorVAE INFOVAE_MMD IWAE MIWAE MSSSIM_VAE PIWAE VAE "
    "VAEGAN VAMP"
)
KINDS = dict.fromkeys(["AE", "RAE_GP", "RAE_L2", "WAE_MMD"], "AE") | dict.fromkeys(VARIATIONAL.split(), "VAE")
HALVES = ("encoder", "decoder")
Networks = Literal["mnist-conv", "mnist-resnet", "cifar-conv", "cifar-resnet", "celeba-conv", "celeba-resnet"]


class PythaeFolder(ForeignLoader):
    """A folder that pythae saved: AE, RAE, WAE, or a VAE with a Gaussian encoder (extra 'pythae').

    The weights are read from model.safetensors if you have made one of them, otherwise from model.pt. Networks of your
    own, which pythae keeps in encoder.pkl and decoder.pkl, are opened with trusted=true only, because a pickle can run
    code. Latents are the encoder's ``embedding``: for a VAE, the mean.
    """

    name = "pythae"
    folder_files = ("model_config.json",)

    networks: Networks | None = Field(
        default=None, description="which of pythae's benchmark networks the model was given; none: pythae's default"
    )
    trusted: bool = Field(default=False, description="that encoder.pkl and decoder.pkl may run code when opened")

    def load(self, spec: str) -> Autoencoder:
        """Encoder and decoder, filled with the folder's weights."""
        config, kind = _read_config(Path(spec) / "model_config.json")
        if self.networks and all(config[f"uses_default_{half}"] for half in HALVES):
            raise LsamplerError(f"{spec}: has pythae's default networks; leave out `networks`")
        file = _weights_file(Path(spec))
        weights = _read_weights(file)
        shape = tuple(config["input_dim"])
        encoder, decoder = (
            _filled(spec, half, self._build(spec, half, config, kind), weights).eval().requires_grad_(False)
            for half in HALVES
        )

        return self.adapt(
            spec,
            lambda images: encoder(images)["embedding"],
            lambda latents: decoder(latents)["reconstruction"],
            digest=f"{file_digest([Path(spec) / 'model_config.json', file])} {self.networks}",
            shape=shape,
            weights=[encoder, decoder],
        )

    def _build(self, spec: str, half: str, config: Mapping[str, Any], kind: str) -> nn.Module:
        """The network without its weights.

        On the device ``meta`` a network of pythae takes no memory and draws no random numbers.
        """
        base = require_extra("pythae.models.base", extra="pythae", user=spec)
        kind = kind if half == "encoder" else "AE"
        if config[f"uses_default_{half}"]:
            module, name = "default_architectures", f"{half.title()}_{kind}_MLP"
        elif self.networks is None:
            return self._unpickled(Path(spec) / f"{half}.pkl")
        else:
            data, style = self.networks.split("-")
            style = {"conv": "Conv", "resnet": "ResNet"}[style]
            module, name = f"benchmarks.{data}", f"{half.title()}_{style}_{kind}_{data.upper()}"
        network = getattr(importlib.import_module(f"pythae.models.nn.{module}"), name)
        settings = base.BaseAEConfig(input_dim=tuple(config["input_dim"]), latent_dim=config["latent_dim"])
        with torch.device("meta"):
            built: nn.Module = network(settings)
        return built

    def _unpickled(self, path: Path) -> nn.Module:
        """A network of the user's own."""
        require_trust(path, "a pickled network", trusted=self.trusted)
        unpickler = importlib.import_module("pythae.models.base.base_utils").CPU_Unpickler
        problem, fix = f"{path}: cannot be unpickled", "the code of the network must be importable"
        with self.opening(problem, fix), self.existing_file(path, "pickled network").open("rb") as handle:
            network = unpickler(handle).load()
        if not isinstance(network, nn.Module):
            raise LsamplerError(f"{path}: holds a {type(network).__name__}, not a network")
        return network


def _read_config(path: Path) -> tuple[dict[str, Any], str]:
    """What the folder says of its model, checked, and the kind of encoder it has."""
    config = ForeignLoader.read_json(path)
    name = str(config.get("name", "it"))
    if name == "VQVAEConfig":
        raise LsamplerError(f"{path}: a VQVAE has discrete latents; lsampler samples continuous ones")
    model = name.removesuffix("Config").rstrip("_")
    if model not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise LsamplerError(f"{path}: {name} is none of the models whose decoder takes the encoder's mean: {known}")
    shape, dimension = config.get("input_dim"), config.get("latent_dim", 10)
    lengths = shape if isinstance(shape, list) and all(map(_positive, shape)) else []
    if len(lengths) != 3 or lengths[0] not in (1, 3) or lengths[1] != lengths[2]:
        raise LsamplerError(
            f"{path}: input_dim is {shape}; lsampler takes square images of 1 or 3 channels, [channels, size, size]"
        )
    if not _positive(dimension):
        raise LsamplerError(f"{path}: latent_dim is {dimension}, expected a positive whole number")
    defaults = {f"uses_default_{half}": bool(config.get(f"uses_default_{half}", True)) for half in HALVES}
    return {"input_dim": lengths, "latent_dim": dimension, **defaults}, KINDS[model]


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _weights_file(folder: Path) -> Path:
    """The file of the weights; a model.safetensors, which pythae does not make itself, goes before model.pt."""
    safe = folder / "model.safetensors"
    return safe if safe.is_file() else folder / "model.pt"


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise LsamplerError(f"{path}: no such file; give a folder that pythae saved in full")
    with ForeignLoader.opening(f"{path}: damaged, or holds more than weights", "save the model again"):
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    weights = found.get("model_state_dict") if isinstance(found, dict) else None
    if not isinstance(weights, Mapping) or not all(isinstance(weight, Tensor) for weight in weights.values()):
        raise LsamplerError(f"{path}: holds no model_state_dict; give a folder that pythae saved")
    return dict(weights)


def _filled(spec: str, half: str, network: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    prefix = f"{half}."
    own = {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
    try:
        network.load_state_dict(own, strict=True, assign=True)
    except RuntimeError as error:
        network_name = type(network).__name__
        raise LsamplerError(
            f"{spec}: the weights of the {half} do not fit the network {network_name} that "
            "model_config.json and networks call for; give the folder that pythae saved, and the right networks"
        ) from error
    return network.float()


lsampler_autoencoder_loaders = offers(PythaeFolder)
