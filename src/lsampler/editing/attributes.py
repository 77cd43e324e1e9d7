"""Attribute vectors: for every label, what an edit adds to a latent vector, as arrays for other programs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from lsampler.editing.readings import Readings
from lsampler.errors import LsamplerError
from lsampler.files import new_file
from lsampler.scoring.subject import as_subject
from lsampler.showing import About, Shown, counted, fold, table

Rows = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class AttributeVectors(Shown):
    """A vector for each label, or each level of a categorical label.

    ``z + change * vectors[k]`` changes the reading of label k by ``change``, in units of the label, and
    ``z + 2 * spread[k] * vectors[k]`` by two standard deviations of the reading. The reading of z is
    ``mean[k] + (z - latent_mean) @ readings[k]``.

    Attributes:
        names: (P,) of the labels; ``digit=7`` for a level.
        vectors: (P, D) in latent units per unit of the label's reading.
        readings: (P, D) weights of the readings.
        mean: (P,) of the labels, and of their readings.
        spread: (P,) standard deviations of the readings over the data.
        latent_mean: (D,) of the latent vectors.
        reference: what they were computed from.
    """

    names: Sequence[str]
    vectors: Rows
    readings: Rows
    mean: Rows
    spread: Rows
    latent_mean: Rows
    reference: str

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the arrays as ``.npz``, under their names here; NumPy reads them, and they hold numbers and texts only.

        Raises:
            LsamplerError: another suffix, or the file exists.
        """
        if Path(path).suffix.lower() != ".npz":
            raise LsamplerError(f"{path}: attribute vectors are written as .npz; choose such a name")
        arrays = {key: getattr(self, key) for key in ("vectors", "readings", "mean", "spread", "latent_mean")}
        with new_file(path, force=force) as beside, beside.open("wb") as stream:
            np.savez(stream, names=np.array(self.names, dtype=np.str_), reference=np.array(self.reference), **arrays)

    def __getitem__(self, name: str) -> Rows:
        """The vector (D,) of a label. Raises KeyError if there is none."""
        if name not in self.names:
            raise KeyError(name)
        found: Rows = self.vectors[list(self.names).index(name)]
        return found

    def _about(self) -> About:
        return About(
            "AttributeVectors", self.reference, [counted(len(self.names), "label"), f"D = {self.vectors.shape[1]}"]
        )

    def _parts(self) -> Iterator[Markup]:
        rows = [
            [name, f"{mean:.3g}", f"{spread:.3g}", f"{np.linalg.norm(vector) * spread:.3g}"]
            for name, mean, spread, vector in zip(self.names, self.mean, self.spread, self.vectors, strict=True)
        ]
        yield fold("The labels", table(["label", "mean", "spread of the reading", "length per spread"], rows))


def attribute_vectors(latents: Any, *, keep: Sequence[str] | None = None) -> AttributeVectors:
    """The vectors by which :func:`edit` moves latent vectors, for every label that can be read off them.

    Args:
        latents: a bundle or its name, a store of latents with labels, or a :class:`lsampler.scoring.Subject`.
        keep: the labels to use; None is all. Each vector changes the reading of its label, and spares the others.

    Raises:
        LsamplerError: there are no labels, an unknown one, or none that can be read.
    """
    subject = as_subject(latents)
    readings = Readings.of(subject.reference, keep)
    weights = readings.slopes @ (readings.whitening.axes / readings.whitening.variances[:, np.newaxis])
    places = [place for place, label in enumerate(readings.design.labels) for _ in label.levels or ("",)]
    columns = np.flatnonzero(readings.readable)
    if not len(columns):
        raise LsamplerError(f"{readings.name}: no label has a linear effect on the latent vectors; add other labels")
    names = readings.columns_named()
    return AttributeVectors(
        tuple(names[column] for column in columns),
        np.concatenate([readings.movements(columns[[k]], [places[column]]) for k, column in enumerate(columns)]),
        weights[columns],
        readings.mean[columns],
        readings.spread[columns],
        readings.whitening.mean,
        readings.name,
    )
