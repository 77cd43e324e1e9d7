"""Features of items that a user names: a callable of a module, or a network in a file."""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from lsampler import LsamplerError
from lsampler.extras import require_extra
from lsampler.models import ForeignLoader, file_digest, require_trust

Features = NDArray[np.float64]
Extractor: TypeAlias = Callable[[NDArray[Any]], Any]
BATCH = 64
FILES = (".pt", ".ts", ".onnx")


class NamedFeatures:
    """Features (n, F) of items, by ``module:callable``, which is imported and run, or a .pt, .ts or .onnx file.

    Args:
        spec: which.
        items: what messages call the items that it takes.
        trusted: whether a TorchScript file, which can run code, may be opened.

    Raises:
        LsamplerError: there is no such module, callable or file, or it is not trusted.
    """

    def __init__(self, spec: str, items: str, *, trusted: bool) -> None:
        self._spec, self._items, self._extract = spec, items, _extractor(spec, trusted=trusted)

    def of(self, items: NDArray[Any]) -> Features:
        """Of items (n, *shape) float32. Raises LsamplerError if it fails, or gives no finite numbers (B, F)."""
        found_of = []
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            with ForeignLoader.opening(f"features={self._spec}: fails", f"check it on {self._items}"):
                found = np.asarray(self._extract(batch), dtype=np.float64)
            if found.ndim != 2 or len(found) != len(batch) or not np.isfinite(found).all():
                raise LsamplerError(
                    f"features={self._spec}: gave shape {found.shape} for {len(batch)} {self._items.split()[0]}; "
                    "expected finite numbers (B, F)"
                )
            found_of.append(found)
        return np.concatenate(found_of)


def short_name(spec: str) -> str:
    """What scores call the features: of a file its name without the folders."""
    return Path(spec).name if spec.endswith(FILES) else spec


def digests(spec: str | None) -> Sequence[str]:
    """The digest of the file that the features come from, if they come from one."""
    if spec is None:
        return []
    path = Path(spec) if spec.endswith(FILES) else _source_of(spec)
    return [file_digest([path])] if path and path.is_file() else []


def _source_of(features: str) -> Path | None:
    """The file of the module in module:callable."""
    try:
        found = importlib.util.find_spec(features.partition(":")[0])
    except (ImportError, ValueError):
        return None
    return Path(found.origin) if found and found.origin else None


def _extractor(features: str, *, trusted: bool) -> Extractor:
    if features.endswith(FILES):
        if not Path(features).is_file():
            raise LsamplerError(f"features={features}: no such file")
        return _onnx(features) if features.endswith(".onnx") else _torch(_script(features, trusted=trusted))
    module, colon, name = features.partition(":")
    if not (module and colon and name):
        raise LsamplerError(f"features={features}: give module:callable, or a .pt, .ts or .onnx file")
    try:
        return _torch(getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError) as error:
        raise LsamplerError(f"features={features}: {error}; is it on PYTHONPATH?") from error


def _torch(network: Callable[[Any], Any]) -> Extractor:
    """A callable on tensors as one on arrays."""

    def extract(images: NDArray[np.float32]) -> Any:
        with torch.inference_mode():
            found = network(torch.from_numpy(np.ascontiguousarray(images)))
        return found.float().cpu().numpy() if isinstance(found, torch.Tensor) else found

    return extract


def _script(path: str, *, trusted: bool) -> Any:
    require_trust(f"features={path}", "a TorchScript program", trusted=trusted)
    with ForeignLoader.opening(f"features={path}: not a TorchScript file", "write it with torch.jit.save"):
        return torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]


def _onnx(path: str) -> Extractor:
    onnxruntime = require_extra("onnxruntime", extra="onnx", user=f"features={path}")
    with ForeignLoader.opening(f"features={path}: not a readable ONNX file", "it may be truncated; export it again"):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]
