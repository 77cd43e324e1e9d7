"""image-distance: the Frechet distance between features of decoded samples and of decoded real vectors."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr
from threadpoolctl import threadpool_limits

from lsampler import (
    Evaluator,
    LsamplerError,
    RealData,
    Samples,
    Score,
    bootstrap_score,
    frechet_distance,
    offers,
)

Features = NDArray[np.float64]
Extractor: TypeAlias = Callable[[NDArray[Any]], Any]
BATCH = 64
FILES = (".pt", ".ts", ".onnx")


class ImageDistance(Evaluator):
    """Frechet distance between features of decoded samples and of decoded train vectors.

    The formula of the Frechet Inception distance (Heusel et al. 2017, arXiv 1706.08500) on
    features of your choice: by default the autoencoder's own encoder, which judges its own
    decoder kindly; better an independent network that you have. No network is downloaded.
    'module:callable' imports that module and calls it: it runs your code, or whoever's it is, so
    name only what you trust; likewise a TorchScript file (.pt, .ts) or an ONNX file (.onnx).

    Decoded real vectors, not photographs, are the mark: what the autoencoder itself loses does
    not count. Squared units of the features, 0 or above, lower is better; values of different
    features or numbers of images cannot be compared. The interval is that of the samples.
    """

    name = "image-distance"
    by_default = False
    compares_with_train = True

    features: str | None = Field(
        default=None,
        description="module:callable from images (B, C, H, W) in [0, 1] to features (B, F), or a .pt, .ts or .onnx "
        "file; none: the autoencoder's own encoder",
    )
    images: int = Field(default=2000, ge=2, description="at most so many samples and train vectors are decoded")
    resamples: int = Field(default=50, ge=2, description="of the bootstrap")

    _real: RealData = PrivateAttr()
    _extract: Extractor | None = PrivateAttr(default=None)
    _moments: tuple[Features, Features] = PrivateAttr()

    def prepare(self, real: RealData) -> None:
        """The moments of the features of decoded train vectors."""
        self._real, self._extract = real, _extractor(self.features) if self.features else None
        rows = Samples("train", real.train, real.decode, real.encode).head(self.images)
        if len(rows.latents) < 2:
            raise LsamplerError("a single train vector has no covariance; encode more images")
        self._moments = _moments(self._features_of(rows))

    def score(self, samples: Samples) -> list[Score]:
        """One distance, with its bootstrap interval."""
        n = min(len(self._real.train), self.images)
        features = self._features_of(samples.head(n))
        if len(features) < 2:
            raise LsamplerError("a single sample has no covariance; draw more")
        if features.shape[1] != len(self._moments[0]):
            raise LsamplerError("features of another number than those of the train vectors")
        extractor = self.features and (Path(self.features).name if self._is_file() else self.features)

        def distance(i: NDArray[np.int64]) -> float:
            with threadpool_limits(1, user_api="blas"):  # small products: more threads wait for each other
                return frechet_distance(*self._moments, *_moments(features[i]))

        about = (
            f"Difference of the decoded images from decoded real ones, as means and covariances of features "
            f"({extractor or 'own encoder'}) see them; 0 or above, lower is better. It grows for few samples, and sees "
            "only what the features see."
        )
        score = bootstrap_score(
            "image-frechet",
            distance,
            len(features),
            group="decoded images",
            label=f"Frechet distance\n{extractor or 'own encoder'}",
            better="lower",
            about=about,
            resamples=self.resamples,
            seed=self._real.seed,
        )
        return [replace(score, low=max(score.low, 0.0))]

    def _is_file(self) -> bool:
        return str(self.features).endswith(FILES)

    def _features_of(self, samples: Samples) -> Features:
        if self._extract is None:
            return samples.encoded_again.astype(np.float64)
        images, parts = samples.images, []
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH].transpose(0, 3, 1, 2).astype(np.float32) / 255
            try:
                found = np.asarray(self._extract(batch), dtype=np.float64)
            except Exception as error:  # somebody's network may fail in any way
                reason = str(error).strip().split("\n", 1)[0]
                raise LsamplerError(f"features={self.features}: {type(error).__name__}: {reason}") from error
            if found.ndim != 2 or len(found) != len(batch) or not np.isfinite(found).all():
                raise LsamplerError(
                    f"features={self.features}: gave shape {found.shape} for {len(batch)} images; "
                    "expected finite numbers (B, F)"
                )
            parts.append(found)
        return np.concatenate(parts)


def _extractor(features: str) -> Extractor:
    if features.endswith(FILES):
        if not Path(features).is_file():
            raise LsamplerError(f"features={features}: no such file")
        return _onnx(features) if features.endswith(".onnx") else _torch(_script(features))
    module, colon, name = features.partition(":")
    if not (module and colon and name):
        raise LsamplerError(f"features={features}: give module:callable, or a .pt, .ts or .onnx file")
    try:
        return _torch(getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError) as error:
        raise LsamplerError(f"features={features}: {error}; is it on PYTHONPATH?") from error


def _torch(network: Callable[[Any], Any]) -> Extractor:
    """A callable on tensors as one on arrays."""
    import torch

    def extract(images: NDArray[np.float32]) -> Any:
        with torch.inference_mode():
            found = network(torch.from_numpy(np.ascontiguousarray(images)))
        return found.float().cpu().numpy() if isinstance(found, torch.Tensor) else found

    return extract


def _script(path: str) -> Any:
    import torch

    try:
        return torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise LsamplerError(f"features={path}: not a TorchScript file, as torch.jit.save writes it") from error


def _onnx(path: str) -> Extractor:
    try:
        import onnxruntime
    except ImportError as error:
        raise LsamplerError("an .onnx file needs onnxruntime; install it with pip install onnxruntime") from error
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise LsamplerError(f"features={path}: not a readable ONNX file") from error
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def _moments(features: Features) -> tuple[Features, Features]:
    return features.mean(axis=0), np.atleast_2d(np.cov(features.T))


lsampler_evaluators = offers(ImageDistance)
