"""keras: models saved by Keras 3 as .keras files, run by its torch backend."""

import os
import re
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from lsampler import Autoencoder, ForeignLoader, LsamplerError, file_digest, offers, require_extra

OWN_FILE = "import yours in a file and use it as the model FILE.py:CALLABLE"


class KerasFiles(ForeignLoader):
    """ENCODER.keras+DECODER.keras, or one .keras with parts named encoder and decoder (extra 'keras').

    Of an encoder with several outputs the first is taken: the mean, where it is [z_mean, z_log_var, z]. Files are
    opened in Keras's safe mode. The model runs on the CPU.
    """

    name = "keras"
    suffixes = (".keras",)

    channel_order: Literal["last", "first"] = Field(
        default="last", description="whether images are (B, H, W, C) or (B, C, H, W)"
    )

    def load(self, spec: str) -> Autoencoder:
        """Encoder and decoder on the CPU."""
        pair = ".keras+" in spec
        paths = list(self.files(spec)) if pair else [Path(spec)]
        keras = _import_keras(spec)
        models = [_read_model(keras, path) for path in paths]
        encoder, decoder = models if pair else (_part(spec, models[0], name) for name in ("encoder", "decoder"))
        if any(isinstance(getattr(model, "input", None), dict) for model in (encoder, decoder)):
            raise LsamplerError(f"{spec}: takes its input by name; save a model with one plain keras.Input")
        size, channels = self.image_shape(spec, getattr(encoder, "input_shape", None))

        def run(model: Any, given: Tensor) -> Any:
            # Keras moves its input to its default device, which is a GPU if there is one.
            with keras.device("cpu"):
                return model(given, training=False)

        return self.adapt(
            spec,
            lambda images: run(encoder, images),
            lambda latents: run(decoder, latents),
            digest=file_digest(paths),
            size=size,
            channels=channels,
        )


def _import_keras(spec: str) -> Any:
    """Import Keras on the backend torch, which is chosen once per process, when Keras is first imported."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    keras = require_extra("keras", extra="keras", user=spec)
    if keras.config.backend() != "torch":
        raise LsamplerError(
            f"{spec}: Keras already runs on {keras.config.backend()} in this process; set KERAS_BACKEND=torch before "
            "Keras is imported"
        )
    return keras


def _read_model(keras: Any, path: Path) -> Any:
    if not zipfile.is_zipfile(path):
        raise LsamplerError(f"{path}: not a file of Keras 3, or truncated; save the model again as .keras")
    try:
        with keras.device("cpu"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged file fails in many ways
        raise LsamplerError(f"{path}: {_reason(str(error))}") from error


def _reason(text: str) -> str:
    """Shorten what Keras says over many lines to one, with a fix."""
    unknown = re.search(r"Could not locate (?:class|function) '([^']+)'", text)
    if unknown:
        return (
            f"needs {unknown[1]}, whose code is not in the file; save a model of Keras's own layers that ends at the "
            f"mean, or {OWN_FILE}"
        )
    if re.search(r"deserialization of a `?Lambda", text):
        return f"holds a Lambda layer, whose code would run on loading; save the model without it, or {OWN_FILE}"
    return f"Keras cannot load it ({(text.strip().splitlines() or ['no reason given'])[0][:200]}); save the model again"


def _part(spec: str, model: Any, name: str) -> Any:
    part = next((layer for layer in getattr(model, "layers", []) if layer.name == name), None)
    if part is None:
        raise LsamplerError(
            f"{spec}: no part of it is named {name}; save encoder and decoder to two files and give "
            "ENCODER.keras+DECODER.keras"
        )
    return part


lsampler_autoencoder_loaders = offers(KerasFiles)
