"""diffusers: AutoencoderKL (Rombach et al. 2022, arXiv:2112.10752) and AutoencoderTiny, from a local folder."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lsampler import LsamplerError
from lsampler.extras import require_extra
from lsampler.models import Autoencoder, ForeignLoader, file_digest, module_digest
from lsampler.plugins import offers

# The weights of a model, with the name of the variant, and of one file of several.
WEIGHTS = re.compile(r"diffusion_pytorch_model(?:\.(?!safetensors)(\w+))?(?:-\d+-of-\d+)?\.safetensors")
CLASSES = ("AutoencoderKL", "AutoencoderTiny")


class DiffusersFolder(ForeignLoader):
    """A folder that diffusers saved an AutoencoderKL or AutoencoderTiny to (extra 'diffusers').

    Latents are the encoder's mean before the scaling_factor of diffusion models, (C, h, w) laid out as one vector.
    Only .safetensors weights are read, and nothing is ever downloaded.
    """

    name = "diffusers"
    folder_files = ("config.json", "model_index.json")  # the latter is that of a pipeline, which load() refuses

    value_range: Literal["0..1", "-1..1", "0..255"] = Field(
        default="-1..1", description="of the model's images, from black to white"
    )

    def load(self, spec: str) -> Autoencoder:
        """Encoder and decoder in single precision."""
        model = _read_model(spec, _class_name(spec))
        digest = file_digest([Path(spec) / "config.json"]) + module_digest([model])
        return adapt_model(self, spec, model, digest, size=model.config.get("sample_size"))


def adapt_model(loader: ForeignLoader, spec: str, model: Any, digest: str, *, size: object = None) -> Autoencoder:
    """Adapt an AutoencoderKL or AutoencoderTiny, in evaluation mode, trained on images of ``size``."""
    config = model.config
    if config.in_channels != config.out_channels or config.in_channels not in (1, 3):
        raise LsamplerError(
            f"{spec}: takes images of {config.in_channels} channels and gives {config.out_channels}; "
            "lsampler takes colour (3) or grey (1)"
        )
    factor = 2 ** (len(config.block_out_channels) - 1)
    edges = loader.size if isinstance(loader.size, tuple) else (loader.size or factor,) * 2
    if any(edge % factor for edge in edges):
        raise LsamplerError(f"{spec}: `size={loader.size}` must be a multiple of {factor}")
    # A convolutional model takes any size: the one it was trained on is only a default.
    edge = None if loader.size or not isinstance(size, int) else size
    return loader.adapt(
        spec,
        lambda images: _latents(model.encode(images)),
        lambda latents: model.decode(latents).sample,
        digest=digest,
        shape=(config.in_channels, edge, edge),
        weights=[model],
    )


def _latents(encoded: Any) -> Any:
    return encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents


def _class_name(spec: str) -> str:
    path = Path(spec) / "config.json"
    if not path.is_file():
        raise LsamplerError(f"{spec}: a whole pipeline; give its autoencoder, such as {Path(spec) / 'vae'}")
    name = ForeignLoader.read_json(path).get("_class_name")
    if name not in CLASSES:
        raise LsamplerError(f"{path}: the class is {name}; give a folder of {' or '.join(CLASSES)}, saved by diffusers")
    return str(name)


def _read_model(spec: str, name: str) -> Any:
    diffusers = require_extra("diffusers", extra="diffusers", user=spec)
    with quiet_diffusers(), ForeignLoader.opening(f"{spec}: diffusers cannot load it", "save the model again"):
        model, report = getattr(diffusers, name).from_pretrained(
            spec,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
            variant=_only_variant(Path(spec)),
        )
    # diffusers leaves a missing weight at random, and only warns.
    wrong = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
    if wrong:
        raise LsamplerError(
            f"{spec}: {len(wrong)} weights do not fit config.json, such as {wrong[0]}; save the model again"
        )
    return model.float().eval().requires_grad_(False)


def _only_variant(folder: Path) -> str | None:
    """The variant, such as ``fp16``, of a folder that holds no other weights."""
    found = {match[1] for path in folder.iterdir() if (match := WEIGHTS.fullmatch(path.name))}
    return None if None in found else next(iter(sorted(found)), None)


@contextmanager
def quiet_diffusers() -> Iterator[None]:
    """Silence the log, warnings and bars of diffusers while it loads; what matters is checked afterwards."""
    logging = require_extra("diffusers.utils.logging", extra="diffusers", user="diffusers")
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


lsampler_autoencoder_loaders = offers(DiffusersFolder)
