"""A VAE of Stable Diffusion in one .safetensors file, in the layout of diffusers or of its original code (ldm)."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lsampler import LsamplerError
from lsampler.extras import require_extra
from lsampler.models import Autoencoder, ForeignLoader, module_digest
from lsampler.plugins import offers
from lsampler_plugins.loaders.diffusers_folder import WEIGHTS, adapt_model, quiet_diffusers

PREFIXES = ("", "first_stage_model.", "vae.")
"""Before the names of the VAE's weights, the last two in the file of a whole model."""
PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
"""Names of attention weights before diffusers 0.18, and since."""


class DiffusersFile(ForeignLoader):
    """A .safetensors file of an AutoencoderKL, such as vae-ft-mse-840000-ema-pruned.safetensors (extra 'diffusers').

    The weights may be named as by diffusers ('encoder.down_blocks.0...') or as in the original code of Stable
    Diffusion ('encoder.down.0...', also behind 'first_stage_model.' in the file of a whole model, of which only the
    VAE is read). The sizes of the layers are read off the shapes of the weights, and nothing is downloaded.
    Latents are as those of the loader 'diffusers'.
    """

    name = "diffusers-file"

    value_range: Literal["0..1", "-1..1", "0..255"] = Field(
        default="-1..1", description="of the model's images, from black to white"
    )
    norm_groups: int = Field(
        default=32, ge=1, description="groups of channels that are normalised together, which no weight tells"
    )

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """Accept a .safetensors file whose weights are named as those of a VAE, but not one out of a folder."""
        path = Path(spec)
        if path.suffix != ".safetensors" or WEIGHTS.fullmatch(path.name):
            return False
        try:
            with safe_open(path, framework="pt") as handle:
                return _prefix(handle.keys()) is not None and "lsampler" not in (handle.metadata() or {})
        except (OSError, ValueError, SafetensorError):
            return False

    def load(self, spec: str) -> Autoencoder:
        """Encoder and decoder in single precision."""
        utilities = require_extra("diffusers.loaders.single_file_utils", extra="diffusers", user=spec)
        weights = _read_weights(self.existing_file(spec, "model file"))
        original = any(name.startswith("encoder.down.") for name in weights)
        config = self._config(spec, weights, original)
        with quiet_diffusers(), self.opening(f"{spec}: diffusers cannot read it", "check which file this is"):
            renamed = utilities.convert_ldm_vae_checkpoint(weights, config) if original else _new_names(weights)
        return adapt_model(self, spec, model := _filled(spec, config, renamed), module_digest([model]))

    def _config(self, spec: str, weights: Mapping[str, Tensor], original: bool) -> dict[str, Any]:
        """The configuration of the AutoencoderKL with weights of these shapes."""
        down, block = ("down", "block") if original else ("down_blocks", "resnets")
        first = re.compile(rf"encoder\.{down}\.(\d+)\.{block}\.0\.conv1\.weight")
        with _complete(spec):
            levels = {int(found[1]): weights[found[0]].shape[0] for found in map(first.fullmatch, weights) if found}
            each = re.compile(rf"encoder\.{down}\.0\.{block}\.\d+\.conv1\.weight")
            config: dict[str, Any] = {
                "in_channels": weights["encoder.conv_in.weight"].shape[1],
                "out_channels": weights["decoder.conv_out.weight"].shape[0],
                "latent_channels": weights["decoder.conv_in.weight"].shape[1],
                "block_out_channels": [levels[level] for level in range(len(levels))],
                "layers_per_block": sum(1 for name in weights if each.fullmatch(name)),
            }
        if any(weight.ndim > 4 for weight in weights.values()):
            raise LsamplerError(f"{spec}: a VAE of videos; lsampler takes images")
        if any(width % self.norm_groups for width in config["block_out_channels"]):
            raise LsamplerError(
                f"{spec}: its layers have {config['block_out_channels']} channels, which are no multiples of "
                f"`norm_groups={self.norm_groups}`; give the number of groups that the model was trained with"
            )
        return config | {
            "down_block_types": ["DownEncoderBlock2D"] * len(levels),
            "up_block_types": ["UpDecoderBlock2D"] * len(levels),
            "norm_num_groups": self.norm_groups,
            "use_quant_conv": "quant_conv.weight" in weights,
            "use_post_quant_conv": "post_quant_conv.weight" in weights,
            "mid_block_add_attention": any(name.startswith(("encoder.mid.attn", ATTENTIONS)) for name in weights),
        }


ATTENTIONS = "encoder.mid_block.attentions"


def _prefix(names: Any) -> str | None:
    """What the names of the VAE's weights begin with; None if there is no VAE among them."""
    known = set(names)
    return next((prefix for prefix in PREFIXES if f"{prefix}encoder.conv_in.weight" in known), None)


def _read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of the VAE alone, named without a prefix."""
    with (
        ForeignLoader.opening(f"{path}: not a readable safetensors file", "check which file this is, or get it again"),
        safe_open(path, framework="pt") as handle,
    ):
        names, prefix = list(handle.keys()), _prefix(handle.keys()) or ""
        if any(name.startswith(f"{prefix}quantize.") for name in names):
            raise LsamplerError(f"{path}: a VQ model has discrete latents; lsampler samples continuous ones")
        own = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
        return {new: handle.get_tensor(name) for new, name in own.items() if new.startswith(PARTS)}


def _new_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as diffusers names them today."""
    renamed = {}
    for name, weight in weights.items():
        new = name
        if ".attentions." in name:
            for old, now in ATTENTION.items():
                new = new.replace(old, now)
        flat = weight.ndim > 2 and ".attentions." in name  # a convolution of one pixel, as a matrix
        renamed[new] = weight.reshape(weight.shape[:2]) if flat else weight
    return renamed


def _filled(spec: str, config: dict[str, Any], weights: dict[str, Tensor]) -> Any:
    diffusers = require_extra("diffusers", extra="diffusers", user=spec)
    fix = "check which file this is; a folder with a config.json that describes the model can be opened instead"
    with quiet_diffusers(), ForeignLoader.opening(f"{spec}: not the weights of an AutoencoderKL", fix):
        with torch.device("meta"):  # nothing is allocated, and no random number drawn
            model = diffusers.AutoencoderKL(**config)
        known = set(model.state_dict())
        wrong = sorted(known.symmetric_difference(weights))
        if wrong:
            raise ValueError(f"{len(wrong)} weights are missing or unknown, such as {wrong[0]}")
        model.load_state_dict({name: weight.float() for name, weight in weights.items()}, assign=True)
    return model.eval().requires_grad_(False)


@contextmanager
def _complete(spec: str) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise LsamplerError(f"{spec}: has no weight {error}; get the whole file again") from error


lsampler_autoencoder_loaders = offers(DiffusersFile)
