"""Probes of labels in a bundle: their weights, and what they read on held-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from lsampler.bundles.strategies import vector_in
from lsampler.errors import LsamplerError, shortened
from lsampler.models.protocols import Autoencoder
from lsampler.samplers.conditions.design import MOST_LEVELS
from lsampler.scoring.calibration import FEWEST_ROWS, Calibration
from lsampler.scoring.probes import Probe, labelled_rows, probes_of
from lsampler.scoring.subject import Subject
from lsampler.store.labels import Label
from lsampler.store.latent_store import LatentStore

PREFIX = "labels/probes/"
ARRAYS = ("weights", "intercepts", "centre", "spread")
MOST_HELD_OUT = 2000
"""So many held-out rows, evenly spaced, calibrate probes: each is decoded and encoded again."""
ROUNDED = 0.006
"""Shares are rounded to hundredths."""
Share = Annotated[float, Field(ge=0, le=1)]
Shares = list[list[Share] | None]


class ProbeDescription(BaseModel):
    """The metadata of a probe: the number of its label, the levels of its columns, and its calibration."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    place: Annotated[int, Field(ge=0)]
    codes: list[float] = []
    auc: Share | None = None
    r2: Annotated[float, Field(le=1)] | None = None
    counts: list[Annotated[int, Field(ge=0)]] = []
    read: Shares = []
    again: Shares = []

    @classmethod
    def of(cls, probe: Probe, place: int) -> ProbeDescription:
        """That of a calibrated probe."""
        known = probe.calibration or Calibration(None, None)
        read, again = ([None if row is None else list(row) for row in rows] for rows in (known.read, known.again))
        counts = list(known.counts)
        codes = probe.codes.tolist()
        return cls(place=place, codes=codes, auc=known.auc, r2=known.r2, counts=counts, read=read, again=again)

    def calibration(self) -> Calibration:
        """The calibration, as it was written."""
        read, again = (tuple(None if row is None else tuple(row) for row in rows) for rows in (self.read, self.again))
        return Calibration(self.auc, self.r2, tuple(self.counts), read, again)

    def check(self, label: Label) -> None:
        """Raise LsamplerError unless it fits its label."""
        values = 0 if label.kind == "continuous" else len(label.levels) or 2
        levels = self.codes if label.kind == "categorical" else [0.0, 1.0]
        ascending = len(levels) >= 2 and levels == sorted(set(levels)) and set(levels) <= set(range(values or 2))
        whole = len(self.counts) == len(self.read) in (0, values) and len(self.again) in (0, values)
        rows = [row for row in (*self.read, *self.again) if row is not None]
        shares = all(len(row) == values and abs(sum(row) - 1) <= ROUNDED * values for row in rows)
        if not (ascending and whole and shares) or (label.kind != "categorical" and self.codes):
            raise LsamplerError(f"its probe of '{shortened(label.name)}' does not fit the label")


def bundle_probes(store: LatentStore, labels: Sequence[Label], autoencoder: Autoencoder) -> dict[str, Probe]:
    """The probes of labels that a bundle may carry, calibrated on the held-out rows of a store.

    A label of which a value has fewer than ten train rows has none, since its weights would follow single vectors.

    Args:
        store: latent vectors with labels, of this autoencoder.
        labels: which ones.
        autoencoder: decodes held-out vectors and encodes them again.

    Raises:
        LsamplerError: the weights of a probe have the direction of a single latent vector.
    """
    names = [label.name for label in labels if len(label.levels) <= MOST_LEVELS and _are_many(store, label)]
    found = {name: _single_precision(probe) for name, probe in probes_of(store, names, strict=False).items()}
    if held := vector_in(_directions(found, store), store):
        raise LsamplerError(f"probes: {held} of {store.name}, and a bundle no single one; label more rows")
    latents, codes = labelled_rows(store, "held-out", MOST_HELD_OUT)
    if not len(latents):
        return found
    subject, places = Subject.of(store, autoencoder), {label.name: at for at, label in enumerate(store.label_columns)}
    again = subject.encode(subject.decode(latents)) if subject.decode and subject.encode else None
    return {name: probe.calibrated(latents, codes[:, places[name]], again) for name, probe in found.items()}


def probes_written(
    found: Mapping[str, Probe], labels: Sequence[Label]
) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """The metadata and the arrays of probes: the columns of all, one after the other."""
    known = [(place, found[label.name]) for place, label in enumerate(labels) if label.name in found]
    described = [ProbeDescription.of(probe, place).model_dump() for place, probe in known]
    if not known:
        return [], {}
    arrays: dict[str, NDArray[Any]] = {
        f"{PREFIX}{key}": np.concatenate([getattr(probe, key) for _, probe in known]) for key in ARRAYS[1:]
    }
    weights = np.concatenate([probe.weights.T for _, probe in known]).astype(np.float32)
    return described, {f"{PREFIX}weights": weights, **arrays}


def probes_read(
    described: Sequence[ProbeDescription], arrays: Mapping[str, NDArray[Any]], labels: Sequence[Label], dimension: int
) -> dict[str, Probe]:
    """The inverse of :func:`probes_written`; ``arrays`` have no prefix.

    Raises:
        LsamplerError: an array is missing, or something contradicts the rest.
    """
    if len({each.place for each in described}) < len(described) or any(each.place >= len(labels) for each in described):
        raise LsamplerError("its probes are of labels that are not there, or two of one label")
    widths = [max(1, len(each.codes)) for each in described]
    if not described:
        return {}
    for key in ARRAYS:
        array, shape = arrays.get(key), (sum(widths), dimension) if key == "weights" else (sum(widths),)
        if array is None or array.shape != shape or array.dtype.kind != "f":
            raise LsamplerError(f"'{key}' of its probes is missing or of another shape")
    if (arrays["spread"] < 0).any():
        raise LsamplerError("'spread' of its probes is negative")
    found, last = {}, 0
    for each, width in zip(described, widths, strict=True):
        label, own, last = labels[each.place], slice(last, last + width), last + width
        each.check(label)
        weights, *others = (arrays[key][own].astype(np.float64) for key in ARRAYS)
        intercepts, centre, spread = others
        codes = np.array(each.codes, np.float64)
        found[label.name] = Probe(label, weights.T, intercepts, codes, centre, spread, each.calibration())
    return found


def _are_many(store: LatentStore, label: Label) -> bool:
    """Whether each value that train rows have of a label is had by at least ten of them."""
    if label.kind == "continuous":
        return True
    place, counts = list(store.label_columns).index(label), np.zeros(len(label.levels) or 2, np.int64)
    for _, train, codes in store.label_parts():
        own = codes[train, place]
        counts += np.bincount(own[~np.isnan(own)].astype(np.int64), minlength=len(counts))
    return bool((counts[counts > 0] >= FEWEST_ROWS).all())


def _single_precision(probe: Probe) -> Probe:
    """A probe with weights as they are written, so that it is calibrated as it will be read."""
    weights = probe.weights.astype(np.float32).astype(np.float64)
    return Probe(probe.label, weights, probe.intercepts, probe.codes, probe.centre, probe.spread)


def _directions(found: Mapping[str, Probe], store: LatentStore) -> dict[str, NDArray[Any]]:
    """The weights as directions in latent and in whitened coordinates."""
    if not found:
        return {}
    weights, pca = np.concatenate([probe.weights.T for probe in found.values()]), store.statistics().pca
    axes, deviations = pca.axes[: pca.rank], np.sqrt(pca.variances[: pca.rank])
    return {"weights": weights, "whitened weights": weights @ axes.T * deviations}
