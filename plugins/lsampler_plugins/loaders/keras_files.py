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

from lsampler import Autoencoder, ForeignLoader, LsamplerError, file_digest, offers


class KerasFiles(ForeignLoader):
    """ENCODER.keras+DECODER.keras, or one .keras with parts named encoder and decoder (extra 'keras').

    Of an encoder with several outputs the first is taken: the mean, where it is [z_mean,
    z_log_var, z]. Files are opened in Keras's safe mode. The model runs on the CPU.
    """

    name = "keras"

    channel_order: Literal["last", "first"] = Field(
        default="last", description="whether images are (B, H, W, C) or (B, C, H, W)"
    )

    @classmethod
    def accepts(cls, spec: str) -> bool:
        """By its suffix."""
        return spec.endswith(".keras")

    def load(self, spec: str) -> Autoencoder:
        """Encoder and decoder on the CPU."""
        first, pair, second = spec.partition(".keras+")
        paths = [Path(f"{first}.keras"), Path(second)] if pair else [Path(spec)]
        missing = next((path for path in paths if not path.is_file()), None)
        if missing:
            raise LsamplerError(f"{missing}: no such file; give ENCODER.keras+DECODER.keras, or one .keras file")
        keras = _import_keras(spec)
        models = [_read_model(keras, path) for path in paths]
        encoder, decoder = models if pair else (_part(spec, models[0], name) for name in ("encoder", "decoder"))
        if any(isinstance(getattr(model, "input", None), dict) for model in (encoder, decoder)):
            raise LsamplerError(f"{spec}: takes its input by name; save a model with one plain keras.Input")
        size, channels = self._image_shape(spec, encoder)
        return self.adapt(
            spec,
            lambda images: _apply(keras, encoder, images),
            lambda latents: _apply(keras, decoder, latents),
            digest=file_digest(paths),
            size=size,
            channels=channels,
            channel_order=self.channel_order,
        )

    def _image_shape(self, spec: str, encoder: Any) -> tuple[int | None, int | None]:
        """Size and channels as the encoder states them; None where it takes any."""
        shape = getattr(encoder, "input_shape", None)
        if shape is None:
            return None, None
        if not (isinstance(shape, tuple) and len(shape) == 4):
            raise LsamplerError(f"{spec}: the encoder takes {shape}, expected images (None, H, W, C)")
        channels = shape[3] if self.channel_order == "last" else shape[1]
        height, width = shape[1:3] if self.channel_order == "last" else shape[2:]
        if height != width or channels not in (1, 3, None):
            found = f"{height} x {width} pixels of {channels} channels"
            raise LsamplerError(
                f"{spec}: the encoder takes {shape}, with channel_order={self.channel_order} {found}; "
                "lsampler takes square images of 1 or 3 channels"
            )
        return height, channels


def _import_keras(spec: str) -> Any:
    """Keras on the backend torch, which is chosen once in a process, when Keras is first imported."""
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "torch"
    try:
        import keras
    except ImportError as error:
        raise LsamplerError(f"{spec}: needs Keras; install it with pip install 'lsampler[keras]'") from error
    if keras.config.backend() != "torch":
        raise LsamplerError(
            f"{spec}: Keras already runs on {keras.config.backend()} in this process; set KERAS_BACKEND=torch before "
            "Keras is imported"
        )
    return keras


def _read_model(keras: Any, path: Path) -> Any:
    if not zipfile.is_zipfile(path):
        raise LsamplerError(f"{path}: not a file of Keras 3, or cut short; save the model again as .keras")
    try:
        with keras.device("cpu"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged file fails in many ways
        raise LsamplerError(f"{path}: {_reason(str(error))}") from error


def _reason(text: str) -> str:
    """What Keras says over many lines, in one, with the mend."""
    unknown = re.search(r"Could not locate (?:class|function) '([^']+)'", text)
    if unknown:
        return (
            f"needs {unknown[1]}, whose code is not in the file; save a model of Keras's own layers that ends at the "
            "mean, or import yours in a file and give --model FILE.py:CALLABLE"
        )
    if re.search(r"deserialization of a `?Lambda", text):
        return (
            "holds a Lambda layer, whose code would run on loading; save the model without it, or import yours in a "
            "file and give --model FILE.py:CALLABLE"
        )
    return f"Keras cannot load it ({(text.strip().splitlines() or ['no reason given'])[0][:200]}); save the model again"


def _part(spec: str, model: Any, name: str) -> Any:
    part = next((layer for layer in getattr(model, "layers", []) if layer.name == name), None)
    if part is None:
        raise LsamplerError(
            f"{spec}: no part of it is named {name}; save encoder and decoder to two files and give "
            "ENCODER.keras+DECODER.keras"
        )
    return part


def _apply(keras: Any, model: Any, given: Tensor) -> Any:
    # Keras moves what it is given to its default device, which is a GPU where there is one.
    with keras.device("cpu"):
        return model(given, training=False)


lsampler_autoencoder_loaders = offers(KerasFiles)
