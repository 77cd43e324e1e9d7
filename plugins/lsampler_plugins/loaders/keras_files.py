"""keras: models saved by Keras 3 as .keras files, run by its torch backend."""

import json
import os
import re
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from lsampler import LsamplerError
from lsampler.extras import require_extra
from lsampler.models import Autoencoder, ForeignLoader, file_digest
from lsampler.plugins import offers

OWN_FILE = "import yours in a file and use it as the model FILE.py:CALLABLE"
# Before it, Conv2DTranspose gave other numbers on PyTorch than on TensorFlow and JAX.
OLDEST = (3, 15)


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

    backend: Literal["tensorflow", "jax", "torch"] | None = Field(
        default=None,
        description="what the model was trained on; with torch, layers that PyTorch computes otherwise are accepted",
    )

    def load(self, spec: str) -> Autoencoder:
        """Encoder and decoder on the CPU."""
        pair = ".keras+" in spec
        paths = list(self.files(spec)) if pair else [self.existing_file(spec, "Keras file")]
        keras = _import_keras(spec)
        models = [_read_model(keras, path) for path in paths]
        encoder, decoder = models if pair else (_part(spec, models[0], name) for name in ("encoder", "decoder"))
        if any(isinstance(getattr(model, "input", None), dict) for model in (encoder, decoder)):
            raise LsamplerError(f"{spec}: takes its input by name; save a model with one plain keras.Input")
        for model in (encoder, decoder) if self.backend != "torch" else ():
            _check_layers(spec, model)
        shape = self.item_shape(spec, getattr(encoder, "input_shape", None))

        def run(model: Any, given: Tensor) -> Any:
            # Keras moves its input to its default device, which is a GPU if there is one.
            with keras.device("cpu"):
                return model(given, training=False)

        return self.adapt(
            spec,
            lambda images: run(encoder, images),
            lambda latents: run(decoder, latents),
            digest=file_digest(paths),
            shape=shape,
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
    if _version(keras.__version__) < OLDEST:
        raise LsamplerError(
            f"{spec}: Keras {keras.__version__} computes transposed convolutions wrongly on PyTorch; install a newer "
            f"one: pip install 'keras>={OLDEST[0]}.{OLDEST[1]}'"
        )
    return keras


def _version(text: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(map(int, re.findall(r"\d+", text)[:2]))


def _check_layers(spec: str, model: Any) -> None:
    """Refuse layers whose numbers on PyTorch are not those of the backends that Keras models are trained on.

    Found by comparing all layers for images on PyTorch and on JAX (Keras 3.15); the others agree up to rounding. Layers
    may be nested, and operations such as ``keras.ops.image.resize`` stand beside them in a functional model.
    """
    layers = model._flatten_layers() if hasattr(model, "_flatten_layers") else [model]
    operations = (operation for layer in layers for operation in (layer, *getattr(layer, "operations", ())))
    for operation in operations:
        interpolation = str(getattr(operation, "interpolation", ""))
        if interpolation == "bicubic" and not getattr(operation, "antialias", False):
            reason = "PyTorch interpolates with another cubic curve"
        elif interpolation.startswith("lanczos"):
            reason = f"PyTorch has no {interpolation}"
        elif type(operation).__name__.startswith("AveragePool") and _pads_unevenly(operation):
            reason = "with padding='same', PyTorch averages over repeated pixels of the edge"
        else:
            continue
        raise LsamplerError(
            f"{spec}: {type(operation).__name__} '{operation.name}' gives other numbers here than on TensorFlow or "
            f"JAX: {reason}; save the model by model.export('NAME.onnx', format='onnx') instead, or if it was trained "
            "on PyTorch, pass `backend=torch`"
        )


def _pads_unevenly(pool: Any) -> bool:
    """Whether an average pooling pads one side more, so that Keras repeats the edge; unless it is known not to."""
    if pool.padding != "same":
        return False
    shapes = [node.input_tensors[0].shape for node in pool._inbound_nodes]
    if max(np.atleast_1d(pool.pool_size)) <= 2:  # the mean of a pixel and its copy is the pixel
        return False
    for shape in shapes:
        lengths = shape[1:-1] if pool.data_format == "channels_last" else shape[2:]
        sizes, strides = (
            np.broadcast_to(value, len(lengths)) for value in (pool.pool_size, pool.strides or pool.pool_size)
        )
        for length, size, stride in zip(lengths, sizes, strides, strict=True):
            if length is None or max(0, (-(-length // stride) - 1) * stride + size - length) % 2:
                return True
    return not shapes


def _read_model(keras: Any, path: Path) -> Any:
    if not zipfile.is_zipfile(path):
        raise LsamplerError(f"{path}: not a file of Keras 3, or truncated; save the model again as .keras")
    try:
        with keras.device("cpu"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # a damaged file fails in many ways
        wrote = _written_by(path)
        if _version(wrote) > _version(keras.__version__):
            raise LsamplerError(
                f"{path}: was saved by Keras {wrote}, and Keras {keras.__version__} cannot load it; upgrade Keras"
            ) from error
        raise LsamplerError(f"{path}: {_reason(str(error))}") from error


def _written_by(path: Path) -> str:
    """The version of Keras that a file says it was saved by."""
    try:
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("metadata.json"))["keras_version"])
    except Exception:  # it may be damaged in any way
        return ""


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
