"""The bundle format: a trained autoencoder with its statistics and calibration in one file.

A bundle holds aggregates only: no image and no single latent vector.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from lsampler.errors import LsamplerError, nearest_name
from lsampler.files import existing_file, new_file
from lsampler.models.conv_autoencoder import ConvAutoencoder
from lsampler.safetensors_files import read_metadata, read_safetensors, write_safetensors
from lsampler.scoring.core import Core, calibration_split
from lsampler.scoring.evaluation import evaluate
from lsampler.scoring.evaluator import Evaluator
from lsampler.scoring.sample_sets import HELD_OUT_ROW
from lsampler.scoring.samples import Samples
from lsampler.scoring.statistics_reference import TRIM, StatisticsReference
from lsampler.scoring.subject import Subject
from lsampler.statistics.statistics import Statistics
from lsampler.store.latent_store import LatentStore

Value = TypeVar("Value")
FORMAT = "lsampler-bundle"
FORMAT_VERSION = 1
RADII = "radius_quantiles"
DEFAULT_BUNDLE = "celeba96"
CALIBRATED_SHARE = 0.95
FORMS: dict[str, float | None] = {"plain": None, "trimmed": TRIM}


class Bundle:
    """An autoencoder, and what is known of the latent vectors of its training data.

    Whatever takes a reference takes a bundle.

    Attributes:
        autoencoder: encoder and decoder.
        reference: statistics of the latent vectors, calibrated levels, and scores of held-out vectors.
    """

    def __init__(self, autoencoder: ConvAutoencoder, reference: StatisticsReference) -> None:
        self.autoencoder, self.reference = autoencoder, reference

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self.reference.name

    @property
    def dimension(self) -> int:
        """The latent dimension D."""
        return self.reference.dimension

    @property
    def fingerprint(self) -> str:
        """Identifies the encoder."""
        return self.autoencoder.fingerprint

    @property
    def subject(self) -> Subject:
        """What samples are scored against."""
        return Subject.of(self.reference, self.autoencoder)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the bundle as one safetensors file, weights as float16."""
        known = self.reference
        metadata = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "name": self.name,
            "autoencoder": self.autoencoder.metadata(),
            "calibrations": known.calibrations,
            "held_out_scores": known.held_out_scores,
        }
        tensors = {
            f"autoencoder/{key}": weight.detach().cpu().to(torch.float16).contiguous()
            for key, weight in self.autoencoder.state_dict().items()
        }
        for coordinates, statistics in (("latent", known.statistics), ("principal", known.principal_statistics)):
            for form, trim in FORMS.items():
                for key, array in statistics(trim).as_arrays().items():
                    tensors[f"{coordinates}/{form}/{key}"] = torch.from_numpy(np.array(array, order="C"))
        if known.radii is not None:
            tensors[RADII] = torch.from_numpy(known.radii)
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
        name, arrays = metadata["name"], {key: tensor.numpy() for key, tensor in tensors.items()}
        try:
            statistics, principal = (
                {
                    trim: Statistics.from_arrays(_starting(arrays, f"{coordinates}/{form}/"), name=name)
                    for form, trim in FORMS.items()
                }
                for coordinates in ("latent", "principal")
            )
        except KeyError as error:
            raise LsamplerError(f"{path}: damaged, {error} is missing") from error
        autoencoder = ConvAutoencoder.from_parts(metadata["autoencoder"], _starting(tensors, "autoencoder/"), path)
        reference = StatisticsReference(
            name, statistics, principal, fingerprint=autoencoder.fingerprint, radii=arrays.get(RADII)
        )
        reference.calibrations = dict(metadata["calibrations"])
        reference.held_out_scores = [(key, dict(score)) for key, score in metadata["held_out_scores"]]
        return cls(autoencoder, reference)


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
    if store.fingerprint != autoencoder.fingerprint:
        raise LsamplerError(f"{store.name}: its latents come from another encoder than the model's; encode again")
    reference = StatisticsReference.of(store, name=name)
    for core in cores:
        try:
            core.fit(reference)
        except LsamplerError:  # it needs latent vectors, which no bundle has
            continue
        level = core.calibrated_level(store, CALIBRATED_SHARE)
        if level is None:
            raise LsamplerError(f"{store.name}: too few held-out vectors to calibrate; encode again, and hold out more")
        reference.calibrations[core.calibration_key(CALIBRATED_SHARE)] = level
    _, judging = calibration_split(store.held_out())
    subject = Subject.of(reference, autoencoder)
    held_out = Samples(HELD_OUT_ROW, judging, decode=subject.decode, encode=subject.encode, kind="held-out")
    for evaluator in evaluators:
        # Against the bundle, as its users score their samples, so that the row has the scores that theirs have.
        row = evaluate([held_out], reference, [evaluator]).rows[-1]
        if row.problems:
            raise LsamplerError(f"{name}: {row.problems[0]}")
        reference.held_out_scores += [(evaluator.key_of(score.metric), asdict(score)) for score in row.scores]
    return Bundle(autoencoder, reference)


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
        return ConvAutoencoder.from_parts(metadata["autoencoder"], _starting(tensors, "autoencoder/"), path)
    return ConvAutoencoder.load(path)


def is_bundle(path: str | os.PathLike[str]) -> bool:
    """Whether a safetensors file is a bundle."""
    return read_metadata(existing_file(path, "model file")).get("format") == FORMAT


def _folder() -> Any:
    return resources.files("lsampler") / "bundles"


def _starting(values: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
