"""The bundle format: a trained autoencoder with statistics, calibration and fitted strategies in one file.

A bundle holds aggregates only: no image and no single latent vector.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from markupsafe import Markup
from pydantic import Field

from lsampler.bundles.labels import LabelsDescription, labels_of, labels_read, labels_written
from lsampler.bundles.parts import read_statistics, starting, statistics_arrays
from lsampler.bundles.probes import bundle_probes
from lsampler.bundles.strategies import StrategyDescription, fitted_state, read, written
from lsampler.data.item_plots import plot_html
from lsampler.data.pictures import EXAMPLES, grid_html
from lsampler.errors import LsamplerError, nearest_name
from lsampler.files import existing_file, new_file
from lsampler.models.architectures import autoencoder_from_parts, open_trained
from lsampler.models.decoding import decode, decode_images
from lsampler.models.trained_autoencoder import TrainedAutoencoder
from lsampler.plugins.registry import registry
from lsampler.safetensors_files import Description, as_arrays, read_metadata, read_safetensors, write_safetensors
from lsampler.samplers.base import LatentSampler, SamplerLike, as_samplers
from lsampler.scoring.core import CoreLike, as_cores, calibration_split
from lsampler.scoring.evaluation import evaluate
from lsampler.scoring.evaluator import EvaluatorLike, as_evaluators
from lsampler.scoring.probes import Probe
from lsampler.scoring.sample_sets import HELD_OUT_ROW
from lsampler.scoring.samples import Samples
from lsampler.scoring.scores import Score
from lsampler.scoring.statistics_reference import StatisticsReference
from lsampler.scoring.subject import Subject
from lsampler.showing import About, Shown, counted, encoder, if_possible, paragraph
from lsampler.store.carried_state import CarriedState
from lsampler.store.labels import Label
from lsampler.store.latent_store import LatentStore

FORMAT = "lsampler-bundle"
FORMAT_VERSION = 2
READS = (1, FORMAT_VERSION)
"""Version 1 has no strategies, no recommendation and no licence."""
DEFAULT_BUNDLE = "celeba96"
CALIBRATED_SHARE = 0.95


class _Description(Description):
    """The metadata of a bundle."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    autoencoder: dict[str, Any]
    calibrations: dict[str, float]
    held_out_scores: list[tuple[str, Score]]
    strategies: list[StrategyDescription] = Field(default_factory=list)
    recommended: Annotated[str, Field(max_length=200)] | None = None
    licence: Annotated[str, Field(max_length=1000)] | None = None
    labels: LabelsDescription | None = None


class Bundle(Shown):
    """An autoencoder, and what is known of the latent vectors of its training data.

    Whatever takes a reference takes a bundle.

    Attributes:
        autoencoder: encoder and decoder.
        reference: statistics of the latent vectors, calibrated levels, scores of held-out vectors, and fitted
            strategies.
        licence: of the weights and of what is drawn with them, in one line; None if it was not stated.
    """

    def __init__(
        self, autoencoder: TrainedAutoencoder, reference: StatisticsReference, *, licence: str | None = None
    ) -> None:
        self.autoencoder, self.reference, self.licence = autoencoder, reference, licence
        reference.autoencoder = autoencoder
        if reference.labelled is not None:
            reference.labelled.residuals.autoencoder = autoencoder

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

    @property
    def strategies(self) -> Sequence[CarriedState]:
        """The fitted strategies that it carries."""
        return tuple(self.reference.strategies)

    @property
    def labels(self) -> Sequence[Label]:
        """The labels whose effects it carries, so that strategies draw under conditions on them."""
        labelled = self.reference.labelled
        return labelled.effects.design.labels if labelled else ()

    @property
    def probes(self) -> Mapping[str, Probe]:
        """A linear model of each label that reads it off latent vectors, by the label's name; with its calibration."""
        return dict(self.reference.probes)

    @property
    def recommended(self) -> str:
        """The name of the strategy to draw with if none is named."""
        return self.reference.recommendation().name

    def fitted(self, name: str) -> LatentSampler:
        """The strategy of that name that the bundle carries, fitted; if it carries several, the first.

        Raises:
            LsamplerError: it carries none, or the strategy is not installed.
        """
        carried = self.reference.carried(name)
        if not carried:
            known = ", ".join(dict.fromkeys(each.name for each in self.strategies)) or "no fitted strategy"
            raise LsamplerError(f"{self.name} carries no fitted '{name:.80}'; it carries {known}")
        sampler: LatentSampler = registry().get("sampler", name)(**carried[0].parameters)
        return sampler.fit(self)

    def add(
        self,
        store: LatentStore,
        strategies: SamplerLike | Iterable[SamplerLike],
        *,
        recommended: str | None = None,
        labels: bool = False,
    ) -> None:
        """Let the bundle carry strategies, in place of those with the same name and parameters.

        Args:
            store: the latents of the bundle's autoencoder.
            strategies: names, classes or instances to fit to the store; one that is fitted already is taken as it is.
            recommended: the name of the strategy to draw with if none is named; by default the first that the bundle
                carries, unless one was recorded before.
            labels: let it also carry the effects of the store's labels, and these strategies fitted to what the effects
                leave of the vectors, so that they draw under conditions; and a probe of each label, which says whether
                draws have what was asked for. It holds averages and covariances of labels, and no row of them.

        Raises:
            LsamplerError: the store has no labels, or is another encoder's; or a fitted state may hold single latent
                vectors.
        """
        _check_encoder(store, self.autoencoder)
        found = {(each.name, each.label): each for each in self.strategies}
        named = as_samplers(strategies, "strategies")
        for each in [fitted_state(strategy, store) for strategy in named]:
            found[each.name, each.label] = each
        names = [each.name for each in found.values()]
        if recommended and recommended not in names and registry().get("sampler", recommended).needs_latents:
            raise LsamplerError(f"`recommended={recommended}` needs latent vectors, and {self.name} does not carry it")
        self.reference.strategies = list(found.values())
        self.reference.recommended = recommended or self.reference.recommended or next(iter(names), None)
        if labels:
            self.reference.labelled = labels_of(store, named, self.reference)
            self.reference.probes = bundle_probes(store, self.labels, self.autoencoder)

    def _about(self) -> About:
        count = f"statistics of {counted(self.reference.statistics().count, 'latent vector')}"
        carried = ", ".join(each.label for each in self.strategies)
        known = [self.autoencoder.item_words, f"D = {self.dimension}", count, encoder(self.fingerprint)]
        return About("Bundle", self.name, [*known, f"carries {carried}" if carried else ""])

    def _parts(self) -> Iterator[Markup]:
        yield from if_possible(self._examples)
        if self.licence:
            yield paragraph(f"Licence: {self.licence}", "dim")

    def _examples(self) -> Markup:
        recommended = self.reference.recommendation()
        strategy: LatentSampler = registry().get("sampler", recommended.name)(**recommended.parameters)
        drawn = strategy.fit(self, progress=False).sample(EXAMPLES, seed=0)
        caption = f"Drawn by {recommended.name}, and decoded."
        if self.autoencoder.item.is_image:
            return grid_html(decode_images(self.autoencoder, drawn), caption)
        return plot_html(decode(self.autoencoder, drawn), self.autoencoder.item, caption)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the bundle as one safetensors file: weights as float16, fitted strategies as float32."""
        known = self.reference
        strategies, arrays = written(self.strategies)
        metadata = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "name": self.name,
            "autoencoder": self.autoencoder.metadata(),
            "calibrations": known.calibrations,
            "held_out_scores": known.held_out_scores,
            "strategies": strategies,
            "recommended": known.recommended,
            "licence": self.licence,
        }
        tensors = {f"autoencoder/{key}": weight for key, weight in self.autoencoder.stored(torch.float16).items()}
        arrays |= statistics_arrays(known)
        if known.labelled is not None:
            metadata["labels"], of_labels = labels_written(known.labelled, known.probes)
            arrays |= of_labels
        tensors |= {key: torch.from_numpy(np.array(array, order="C")) for key, array in arrays.items()}
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
        if metadata.get("version") not in READS:
            raise LsamplerError(
                f"{path}: bundle format {metadata.get('version')}, this lsampler reads {READS[0]} and {READS[1]}; "
                "install the lsampler that wrote it"
            )
        known, arrays = _Description.of(metadata, path), as_arrays(tensors, path)
        autoencoder = autoencoder_from_parts(known.autoencoder, starting(tensors, "autoencoder/"), path)
        try:
            reference = read_statistics(arrays, known.name, autoencoder.dimension, autoencoder.fingerprint)
            reference.strategies, reference.recommended = list(read(known.strategies, arrays, path)), known.recommended
            if known.labels is not None:
                reference.labelled, reference.probes = labels_read(known.labels, arrays, reference, path)
        except LsamplerError as error:
            raise LsamplerError(f"{path}: damaged, {error}; make it again with 'lsampler bundle'") from error
        reference.calibrations = known.calibrations
        reference.held_out_scores = [(key, asdict(score)) for key, score in known.held_out_scores]
        return cls(autoencoder, reference, licence=known.licence)


def build_bundle(
    name: str,
    autoencoder: TrainedAutoencoder,
    store: LatentStore,
    cores: CoreLike | Iterable[CoreLike],
    evaluators: EvaluatorLike | Iterable[EvaluatorLike],
    strategies: SamplerLike | Iterable[SamplerLike] = (),
) -> Bundle:
    """Gather what a bundle holds from an autoencoder and the store of its latents.

    Args:
        name: of the bundle.
        autoencoder: whose weights it holds.
        store: the latents of that autoencoder.
        cores: to calibrate: names, classes or instances.
        evaluators: whose scores of the held-out vectors it keeps: names, classes or instances.
        strategies: that it carries fitted to the store, the recommended one first; :meth:`Bundle.add` says more.

    Raises:
        LsamplerError: the store was not made by this autoencoder, or holds out too few vectors; or the fitted state of
            a strategy may hold single latent vectors.
    """
    _check_encoder(store, autoencoder)
    reference = StatisticsReference.of(store, name=name)
    for core in as_cores(cores):
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
    for evaluator in as_evaluators(evaluators):
        # Against the bundle, as its users score their samples, so that the row has the scores that theirs have.
        row = evaluate([held_out], reference, [evaluator]).rows[-1]
        if row.problems:
            raise LsamplerError(f"{name}: {row.problems[0]}")
        reference.held_out_scores += [(evaluator.key_of(score.metric), asdict(score)) for score in row.scores]
    built = Bundle(autoencoder, reference)
    built.add(store, strategies)
    return built


def _check_encoder(store: LatentStore, autoencoder: TrainedAutoencoder) -> None:
    if store.fingerprint != autoencoder.fingerprint:
        raise LsamplerError(f"{store.name}: its latents come from another encoder than the model's; encode again")


def bundled() -> list[str]:
    """The names of the bundles that come with lsampler."""
    return sorted(
        entry.name.removesuffix(".safetensors") for entry in _folder().iterdir() if entry.name.endswith(".safetensors")
    )


def bundle_of(fingerprint: str | None) -> str | None:
    """The name of the bundle with this autoencoder, if one comes with lsampler."""
    for name in bundled():
        with bundle_file(name) as path:
            if read_metadata(path).get("autoencoder", {}).get("fingerprint") == fingerprint:
                return name
    return None


def load_bundle(name: str = DEFAULT_BUNDLE) -> Bundle:
    """A bundle that comes with lsampler by its name, or one from a file.

    Raises:
        LsamplerError: unknown name, or not a bundle.
    """
    with bundle_file(name) as path:
        return Bundle.load(path)


@contextlib.contextmanager
def bundle_file(name: str) -> Iterator[Path]:
    """The file of a bundle that comes with lsampler, by its name, or the file of that name.

    Raises:
        LsamplerError: unknown name.
    """
    if name in bundled():
        with resources.as_file(_folder() / f"{name}.safetensors") as path:
            yield path
    elif Path(name).suffix != ".safetensors":
        raise LsamplerError(f"no bundle '{name}'{nearest_name(name, bundled())}; or give a .safetensors file")
    else:
        yield Path(name)


def find_bundle(model: str, settings: Mapping[str, Any] | None = None) -> Bundle | None:
    """The bundle of a name, or in a .safetensors file; None if ``model`` is something else.

    Raises:
        LsamplerError: a name that is none, a bundle that is damaged, or parameters, which no bundle takes.
    """
    named = model in bundled() or (re.fullmatch(r"[\w-]+", model) and not Path(model).exists())
    file = model.endswith(".safetensors") and os.path.exists(model)  # noqa: PTH110 - Path.exists may raise
    if not named and not (file and _format_of(model) == FORMAT):
        return None
    found = load_bundle(model)
    for key, value in (settings or {}).items():
        raise LsamplerError(f"{model}: a bundle takes no parameters; leave out `model_param={key}={value}`")
    return found


def load_safetensors_autoencoder(model: str | os.PathLike[str]) -> TrainedAutoencoder:
    """The autoencoder in a file of ``lsampler train``, or of a bundle, by its name or file."""
    bundle = find_bundle(str(model))
    return bundle.autoencoder if bundle else open_trained(model)


def _format_of(path: str) -> Any:
    return read_metadata(existing_file(path, "model file")).get("format")


def _folder() -> Any:
    return resources.files("lsampler") / "bundles"
