"""Which model and which reference belong together, from the names that a user gave."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lsampler.bundles.bundle import DEFAULT_BUNDLE, bundle_of, bundled, find_bundle, load_bundle
from lsampler.compute.seeded_blocks import resolve_device
from lsampler.data.image_sources import open_images
from lsampler.data.item_rows import open_items
from lsampler.data.items import Item
from lsampler.errors import LsamplerError
from lsampler.models.encode_ranges import Source
from lsampler.models.protocols import Autoencoder, item_of
from lsampler.plugins.by_name import find_loader, load_by
from lsampler.samplers.conditions.conditioned import AggregatesUnderCondition, UnderCondition
from lsampler.samplers.conditions.options import Conditions
from lsampler.scoring.subject import Subject
from lsampler.store.opening import open_store


@dataclass(frozen=True)
class OpenedEncoder:
    """How a worker of a cluster opens the model and the items of an encoding."""

    model: str | None
    settings: tuple[tuple[str, str], ...]
    items: str
    device: str
    dataset: str | None = None

    def __call__(self) -> tuple[Autoencoder, Source]:
        """The model on its device, and the items."""
        autoencoder = open_any_model(self.model, dict(self.settings))
        return autoencoder.to(resolve_device(self.device)), open_source(self.items, item_of(autoencoder), self.dataset)


def open_source(path: str | os.PathLike[str], item: Item, dataset: str | None = None) -> Source:
    """The images, or the rows of an array, that a model takes. Raises LsamplerError if there are others."""
    if item.is_image:
        return open_images(path, dataset=dataset)
    if Path(path).is_dir() or Path(path).suffix.lower() == ".zip":
        raise LsamplerError(
            f"{path}: images, where the model takes items of another kind, {item.words}; give an array or a table"
        )
    return open_items(path, item, dataset=dataset)


def absolute(model: str | None) -> str | None:
    """A model's file or folder from any other folder, or another name of a model as it is."""
    if model is None or model in bundled() or not Path(model).exists():
        return model
    return str(Path(model).absolute())


def open_subject(
    model: str | None,
    store: str | os.PathLike[str] | None,
    settings: Mapping[str, str] | None = None,
    conditions: Conditions | None = None,
) -> Subject:
    """Open a model and a store that belong together; the bundle ``celeba96`` if neither is given.

    Args:
        model: a bundle's name, or what a loader opens.
        store: of latents.
        settings: parameters of the model's loader, as texts.
        conditions: under which strategies are fitted and judged; None for all vectors.

    Raises:
        LsamplerError: a model without statistics and no store, a condition without labels, samples instead of a store,
            or fingerprints that differ.
    """
    anew = partial(open_subject, absolute(model), store and Path(store).absolute(), settings, conditions)
    if store is None:
        bundle = find_bundle(model or DEFAULT_BUNDLE, settings)
        if bundle is None:
            open_any_model(model, settings)  # a model that cannot be opened is reported first
            raise LsamplerError(f"{model}: an autoencoder without statistics; add `store=...` of its latents")
        if conditions and conditions.where is not None:
            where, by, others = conditions.where, conditions.by, conditions.others
            known = AggregatesUnderCondition(bundle.reference, where, by=by, others=others)
            return Subject.of(known, bundle.autoencoder, anew)
        return Subject.of(bundle.reference, bundle.autoencoder, anew)
    latents = open_store(store)
    if latents.attributes.get("kind") == "samples":
        raise LsamplerError(
            f"{store}: holds samples of {latents.attributes.get('sampler')}, not encoded data; "
            "give the store of the encoded data"
        )
    autoencoder = open_model(model, latents.fingerprint, settings)
    if conditions is None or conditions.where is None:
        return Subject.of(latents, autoencoder, anew)
    rows = UnderCondition(latents, conditions.where, by=conditions.by, others=conditions.others)
    return Subject.of(rows, autoencoder, anew)


def open_model(
    model: str | None, fingerprint: str | None, settings: Mapping[str, str] | None = None
) -> Autoencoder | None:
    """The autoencoder of ``model``; without one the bundled one of this fingerprint, or None.

    Raises:
        LsamplerError: the model's fingerprint is not the one of the latents.
    """
    if model is None:
        name = bundle_of(fingerprint)
        return load_bundle(name).autoencoder if name else None
    autoencoder = open_any_model(model, settings)
    if fingerprint is not None and autoencoder.fingerprint != fingerprint:
        raise LsamplerError(
            f"{model}: this decoder does not belong to these latents "
            f"(fingerprint {autoencoder.fingerprint[:8]}, the latents' encoder has {fingerprint[:8]}); "
            "give the model that encoded them, with the same `model_param=...`"
        )
    return autoencoder


def open_any_model(model: str | None, settings: Mapping[str, str] | None = None) -> Autoencoder:
    """The autoencoder of a specification; of the bundle ``celeba96`` if there is none."""
    bundle = find_bundle(model or DEFAULT_BUNDLE, settings)
    if bundle:
        return bundle.autoencoder
    spec = str(model)
    return load_by(find_loader(spec).from_strings(settings or {}), spec)
