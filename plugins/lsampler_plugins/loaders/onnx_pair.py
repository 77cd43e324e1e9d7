"""onnx: an encoder and a decoder as ONNX files, run by onnxruntime (extra ``onnx``)."""

import re
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from lsampler import LsamplerError
from lsampler.errors import nearest_name
from lsampler.extras import require_extra
from lsampler.models import Autoencoder, ForeignLoader, file_digest
from lsampler.plugins import offers

FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
# A field "location" of a tensor, in protocol buffers: the name of a file that holds its values.
LOCATION = re.compile(rb"\n\x08location\x12([\x80-\xff]?[\x01-\x7f])")


# What to do, by a part of what onnxruntime says.
FIXES = {
    "xternal data": "its weights are in a file beside it, which is missing or no regular file; copy both",
    "Deserialize tensor": "its weights are in a file beside it, which is missing or no regular file; copy both",
    "IR version": "upgrade onnxruntime ({version} is installed), or export it with an older onnx",
    "opset": "upgrade onnxruntime ({version} is installed), or export it for an older opset",
    "Could not find an implementation": "onnxruntime {version} cannot run it on a CPU; export it in single precision",
}


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
        files = self.files(spec)
        encoder, decoder = _Session(spec, files[0], self.output), _Session(spec, files[1])
        shape = self.item_shape(files[0], encoder.input_shape)
        digest = file_digest(_with_weights(*files)) + (self.output or "")
        return self.adapt(spec, encoder, decoder, digest=digest, shape=shape)


class _Session:
    """One model, run on the CPU, and the shape of its one input: None for an axis of any length."""

    def __init__(self, spec: str, path: Path, output: str | None = None) -> None:
        onnxruntime = require_extra("onnxruntime", extra="onnx", user=f"model '{spec}'")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # its errors come as exceptions, too
        onnxruntime.set_default_logger_severity(4)  # those of its allocator
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            fix = next(
                (fix for sign, fix in FIXES.items() if sign in str(error)), "it may be truncated; export it again"
            )
            with ForeignLoader.opening(
                f"{path}: onnxruntime cannot open it", fix.format(version=onnxruntime.__version__)
            ):
                raise
        inputs, outputs = self._session.get_inputs(), [entry.name for entry in self._session.get_outputs()]
        if len(inputs) != 1:
            names = ", ".join(entry.name for entry in inputs)
            raise LsamplerError(f"{path}: has {len(inputs)} inputs ({names}); export a model that takes one array")
        self._input = inputs[0]
        if self._input.type not in FLOATS:
            raise LsamplerError(
                f"{path}: its input '{self._input.name}' is {self._input.type}; export one that takes floats"
            )
        if output is not None and output not in outputs:
            raise LsamplerError(f"{path}: no output '{output}'{nearest_name(output, outputs)}")
        self._output = output or outputs[0]
        self.input_shape = [length if isinstance(length, int) else None for length in self._input.shape]
        ForeignLoader.check_batch(path, self.input_shape[0] if self.input_shape else 0)

    def __call__(self, given: Tensor) -> Tensor:
        values = given.cpu().numpy().astype(FLOATS[self._input.type])
        (result,) = self._session.run([self._output], {self._input.name: values})
        return torch.from_numpy(result)


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
