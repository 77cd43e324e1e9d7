"""onnx: an encoder and a decoder as ONNX files, run by onnxruntime (extra ``onnx``)."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsampler import Autoencoder, ForeignLoader, LsamplerError, file_digest, nearest_name, offers, require_extra

FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
# A field "location" of a tensor, in protocol buffers: the name of a file that holds its values.
LOCATION = re.compile(rb"\n\x08location\x12([\x80-\xff]?[\x01-\x7f])")


class OnnxPair(ForeignLoader):
    """ENCODER.onnx+DECODER.onnx, run by onnxruntime on the CPU (extra 'onnx').

    An ONNX file is a graph of onnxruntime's own operators: opening it runs no code of the file. Size and channels
    are read from the encoder's input if it fixes them. Models may be in half, single or double precision. Weights
    kept in a file beside the model count in the fingerprint.
    """

    name = "onnx"
    suffixes = (".onnx",)

    output: str | None = Field(
        default=None, description="name of the encoder's output that is the latent vector; none takes the first"
    )

    def load(self, spec: str) -> Autoencoder:
        """The pair. Raises LsamplerError if a file is no ONNX model that takes one array of floats."""
        encoder_file, decoder_file = self.files(spec)
        encoder, decoder = _session(spec, encoder_file), _session(spec, decoder_file)
        size, channels = self.image_shape(encoder_file, _input_shape(encoder_file, encoder))
        _input_shape(decoder_file, decoder)
        return self.adapt(
            spec,
            _runner(encoder, _output(encoder_file, encoder, self.output)),
            _runner(decoder, _output(decoder_file, decoder, None)),
            digest=file_digest(_with_weights(encoder_file, decoder_file)) + (self.output or ""),
            size=size,
            channels=channels,
        )


def _session(spec: str, path: Path) -> Any:
    onnxruntime = require_extra("onnxruntime", extra="onnx", user=f"model '{spec}'")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors come as exceptions, too
    with ForeignLoader.opening(f"{path}: onnxruntime cannot open it", "it may be truncated; export it again"):
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _input_shape(path: Path, session: Any) -> list[int | None]:
    """Of the one input, None for an axis of any length. Raises LsamplerError if it cannot be used."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(entry.name for entry in inputs)
        raise LsamplerError(f"{path}: has {len(inputs)} inputs ({names}); export a model that takes one array")
    if inputs[0].type not in FLOATS:
        raise LsamplerError(f"{path}: its input '{inputs[0].name}' is {inputs[0].type}; export one that takes floats")
    shape = [length if isinstance(length, int) else None for length in inputs[0].shape]
    ForeignLoader.check_batch(path, shape[0] if shape else 0)
    return shape


def _output(path: Path, session: Any, wanted: str | None) -> str:
    names: list[str] = [entry.name for entry in session.get_outputs()]
    if wanted is None:
        return names[0]
    if wanted not in names:
        raise LsamplerError(f"{path}: no output '{wanted}'{nearest_name(wanted, names)}")
    return wanted


def _runner(session: Any, output: str) -> Callable[[Tensor], Tensor]:
    taken = session.get_inputs()[0]

    def run(given: Tensor) -> Tensor:
        values = given.cpu().numpy().astype(FLOATS[taken.type])
        (result,) = session.run([output], {taken.name: values})
        return torch.from_numpy(result)

    return run


def _with_weights(*models: Path) -> list[Path]:
    """The files, each with those beside it that hold its weights."""
    found = []
    for model in models:
        content = model.read_bytes()
        fields = ((field.end(), _varint(field[1])) for field in LOCATION.finditer(content))
        names = {content[start : start + length].decode(errors="replace") for start, length in fields}
        found += [model, *(model.parent / name for name in sorted(names) if (model.parent / name).is_file())]
    return found


def _varint(digits: bytes) -> int:
    return sum((digit & 0x7F) << 7 * place for place, digit in enumerate(digits))


lsampler_autoencoder_loaders = offers(OnnxPair)
