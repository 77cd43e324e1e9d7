"""Bundles: a trained autoencoder with its statistics and calibration in one file, usable offline.

A bundle holds aggregates only: no image and no single latent vector.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsampler.errors import LsamplerError, nearest_name
from lsampler.files import existing_file, new_file
from lsampler.models.conv_autoencoder import ConvAutoencoder
from lsampler.safetensors_files import read_metadata, read_safetensors, write_safetensors
from lsampler.scoring.core import Core, calibration_split
from lsampler.scoring.evaluator import HELD_OUT_ROW, Evaluator, Samples, evaluate
from lsampler.statistics.summary import Statistics
from lsampler.store.latent_store import LatentStore
from lsampler.store.reference import Reference, Split

__all__ = [
    "DEFAULT_BUNDLE",
    "Bundle",
    "StatisticsReference",
    "aggregates",
    "build_bundle",
    "bundled",
    "load_bundle",
    "load_safetensors_autoencoder",
]

FORMAT = "lsampler-bundle"
FORMAT_VERSION = 1
RADII = "radius_quantiles"
DEFAULT_BUNDLE = "celeba96"
TRIM = 1.7
CALIBRATED_SHARE = 0.95
FORMS: dict[str, float | None] = {"plain": None, "trimmed": TRIM}


class StatisticsReference(Reference):
    """A reference without latents, known by what :func:`aggregates` tells of them.

    Statistics exist untrimmed and trimmed at 1.7 half-widths, in latent and in PCA coordinates.
    """

    has_latents = False

    def __init__(
        self,
        name: str,
        dimension: int,
        fingerprint: str | None,
        statistics: Mapping[float | None, Statistics],
        principal: Mapping[float | None, Statistics],
        radii: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.dimension, self.fingerprint = name, dimension, fingerprint
        self._statistics, self._principal = dict(statistics), dict(principal)
        if radii is not None:
            self._radii[dimension] = radii

    def chunks(self, split: Split = "train") -> Iterator[NDArray[np.float32]]:
        """Raises: there are no latent vectors."""
        raise LsamplerError(f"{self.name} holds statistics only, no latent vectors; give a --store")

    def statistics(self, trim: float | None = None) -> Statistics:
        """See :meth:`Reference.statistics`; only the two trims are there."""
        self._require(trim)
        return super().statistics(trim)

    def principal_statistics(self, trim: float | None = None) -> Statistics:
        """See :meth:`Reference.principal_statistics`; only the two trims are there."""
        self._require(trim)
        return super().principal_statistics(trim)

    def radius_quantiles(self, components: int | None = None) -> NDArray[np.float64]:
        """See :meth:`Reference.radius_quantiles`; only those of all D are there, in older bundles none."""
        count = components or self.dimension
        if count not in self._radii:
            raise LsamplerError(
                f"{self.name} knows no quantiles of the radius in {count} components; give a --store"
                + (f", or leave out components={components}" if self._radii else "")
            )
        return super().radius_quantiles(count)

    def _require(self, trim: float | None) -> None:
        if trim not in self._statistics:
            raise LsamplerError(
                f"{self.name} has statistics for trim={TRIM} or none, not {trim}; give a --store for others"
            )


def aggregates(
    source: Reference,
) -> tuple[dict[float | None, Statistics], dict[float | None, Statistics], NDArray[np.float64] | None]:
    """The statistics of a bundle by trim, those after PCA, and the quantiles of the radius.

    The quantiles are None where the covariance has not full rank.
    """
    trims = FORMS.values()
    return (
        {trim: source.statistics(trim) for trim in trims},
        {trim: source.principal_statistics(trim) for trim in trims},
        source.radius_quantiles() if source.statistics().pca.rank == source.dimension else None,
    )


class Bundle(StatisticsReference):
    """An autoencoder and the statistics of its latents; a reference without latents.

    Statistics exist untrimmed and trimmed at 1.7 half-widths, in latent and in PCA coordinates.
    """

    def __init__(
        self,
        name: str,
        autoencoder: ConvAutoencoder,
        statistics: Mapping[float | None, Statistics],
        principal: Mapping[float | None, Statistics],
        calibrations: Mapping[str, float],
        held_out_scores: Sequence[tuple[str, dict[str, Any]]],
        radii: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__(name, autoencoder.dimension, autoencoder.fingerprint, statistics, principal, radii)
        self.autoencoder = autoencoder
        self.calibrations = dict(calibrations)
        self.held_out_scores = [(evaluator, dict(score)) for evaluator, score in held_out_scores]

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the bundle as one safetensors file, weights as float16."""
        metadata = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "name": self.name,
            "autoencoder": self.autoencoder.metadata(),
            "calibrations": self.calibrations,
            "held_out_scores": self.held_out_scores,
        }
        tensors = {
            f"autoencoder/{key}": weight.detach().cpu().to(torch.float16).contiguous()
            for key, weight in self.autoencoder.state_dict().items()
        }
        for form, trim in FORMS.items():
            for place, table in (("latent", self._statistics), ("principal", self._principal)):
                for key, array in table[trim].as_arrays().items():
                    tensors[f"{place}/{form}/{key}"] = torch.from_numpy(np.array(array, order="C"))
        if self.dimension in self._radii:
            tensors[RADII] = torch.from_numpy(self._radii[self.dimension])
        with new_file(path, force=force) as beside:
            write_safetensors(beside, tensors, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Bundle:
        """Read a bundle that :meth:`save` wrote.

        Raises:
            LsamplerError: the file is missing, truncated, foreign, or damaged.
        """
        path = existing_file(path, "bundle")
        metadata, tensors = read_safetensors(path)
        if metadata.get("format") != FORMAT:
            raise LsamplerError(f"{path}: not a bundle; make one with 'lsampler bundle'")
        if metadata.get("version") != FORMAT_VERSION:
            raise LsamplerError(
                f"{path}: bundle format {metadata.get('version')}, this lsampler reads {FORMAT_VERSION}; "
                "install the lsampler that wrote it"
            )
        name = metadata["name"]
        try:
            statistics, principal = (
                {
                    trim: Statistics.from_arrays(_arrays(tensors, f"{place}/{form}/"), name=name)
                    for form, trim in FORMS.items()
                }
                for place in ("latent", "principal")
            )
        except KeyError as error:
            raise LsamplerError(f"{path}: damaged, {error} is missing") from error
        weights = _part(tensors, "autoencoder/")
        autoencoder = ConvAutoencoder.from_parts(metadata["autoencoder"], weights, path)
        radii = tensors[RADII].numpy() if RADII in tensors else None
        return cls(
            name, autoencoder, statistics, principal, metadata["calibrations"], metadata["held_out_scores"], radii
        )


def build_bundle(
    name: str,
    autoencoder: ConvAutoencoder,
    store: LatentStore,
    cores: Sequence[Core],
    evaluators: Sequence[Evaluator],
) -> Bundle:
    """Gather what a bundle holds from an autoencoder and the store of its latents.

    Raises:
        LsamplerError: the store was not made by this autoencoder, or holds out too few vectors.
    """
    from lsampler.models.decoding import decode_images, encode_pixels

    if store.fingerprint != autoencoder.fingerprint:
        raise LsamplerError(f"{store.name}: its latents come from another encoder than the model's; encode again")
    statistics, principal, radii = aggregates(store)
    bundle = Bundle(name, autoencoder, statistics, principal, {}, [], radii)
    for core in cores:
        try:
            core.fit(bundle)
        except LsamplerError:  # it needs latent vectors, which no bundle has
            continue
        level = core.calibrated_level(store, CALIBRATED_SHARE)
        if level is None:
            raise LsamplerError(f"{store.name}: too few held-out vectors to calibrate; encode with more --held-out")
        bundle.calibrations[core.calibration_key(CALIBRATED_SHARE)] = level
    _, judging = calibration_split(store.held_out())
    held_out = Samples(
        HELD_OUT_ROW,
        judging,
        lambda z: decode_images(autoencoder, z),
        lambda images: encode_pixels(autoencoder, images),
        "held-out",
    )
    for evaluator in evaluators:
        # Against the bundle, as its users will score their samples: so the row has the scores that theirs have.
        row = evaluate([held_out], bundle, [evaluator]).rows[-1]
        if row.problems:
            raise LsamplerError(f"{name}: {row.problems[0]}")
        bundle.held_out_scores += [(evaluator.key(), asdict(score)) for score in row.scores]
    return bundle


def bundled() -> list[str]:
    """The names of the bundles that come with lsampler."""
    return sorted(
        entry.name.removesuffix(".safetensors") for entry in _folder().iterdir() if entry.name.endswith(".safetensors")
    )


def bundle_of(fingerprint: str | None) -> str | None:
    """The name of the bundle with this autoencoder, if one comes with lsampler."""
    for name in bundled():
        with resources.as_file(_folder() / f"{name}.safetensors") as path:
            if read_metadata(path).get("autoencoder", {}).get("fingerprint") == fingerprint:
                return name
    return None


def load_bundle(name: str = DEFAULT_BUNDLE) -> Bundle:
    """A bundle that comes with lsampler by its name, or one from a file.

    Raises:
        LsamplerError: unknown name, or not a bundle.
    """
    if name in bundled():
        with resources.as_file(_folder() / f"{name}.safetensors") as path:
            return Bundle.load(path)
    if Path(name).suffix != ".safetensors":
        raise LsamplerError(f"no bundle '{name}'{nearest_name(name, bundled())}; or give a .safetensors file")
    return Bundle.load(name)


def load_safetensors_autoencoder(path: str | os.PathLike[str]) -> ConvAutoencoder:
    """The autoencoder in a file of ``lsampler train``, or in a bundle."""
    path = existing_file(path, "model file")
    metadata, tensors = read_safetensors(path)
    if metadata.get("format") == FORMAT:
        return ConvAutoencoder.from_parts(metadata["autoencoder"], _part(tensors, "autoencoder/"), path)
    return ConvAutoencoder.load(path)


def is_bundle(path: str | os.PathLike[str]) -> bool:
    """Whether a safetensors file is a bundle."""
    return read_metadata(existing_file(path, "model file")).get("format") == FORMAT


def _folder() -> Any:
    return resources.files("lsampler") / "bundles"


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _arrays(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, NDArray[Any]]:
    return {key: tensor.numpy() for key, tensor in _part(tensors, prefix).items()}
