"""The rows and labels that the section on labels looks at, and the questions it asks of each label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.arrays import not_finite
from lsampler.errors import LsamplerError, shortened
from lsampler.reports.analysis.context import SAMPLE_BYTES, Context
from lsampler.samplers.conditions.design import MOST_LEVELS
from lsampler.scoring.probes import MOST_ROWS, labelled_rows
from lsampler.store.labels import Label
from lsampler.store.latent_store import LatentStore
from lsampler.store.reference import Split

FEWEST_JUDGES = 20
"""With fewer held-out vectors, some of the train vectors judge the probes instead."""
JUDGING_SHARE = 5
FEW_LEVELS = 12
LONGEST_NAME = 40


@dataclass(frozen=True)
class Target:
    """What is looked for: a label, or one level of a categorical label against all others.

    Attributes:
        label: the label.
        place: its number among the labels of the reference.
        level: the code of the level; None asks for the whole label.
    """

    label: Label
    place: int
    level: int | None = None

    @property
    def name(self) -> str:
        """How tables and figures call it."""
        name = shortened(self.label.name, LONGEST_NAME)
        return name if self.level is None else f"{name}={shortened(self.label.levels[self.level], LONGEST_NAME)}"

    @property
    def two_valued(self) -> bool:
        """Whether every row either has it or not."""
        return self.label.kind == "binary" or self.level is not None

    def values(self, codes: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n,) of codes (n, L) of all labels: 1 and 0 for rows with and without it, or the label's codes; NaN."""
        own = codes[:, self.place].astype(np.float64)
        return own if self.level is None else np.where(np.isnan(own), np.nan, own == self.level)


def targets_of(columns: tuple[Label, ...]) -> tuple[list[Target], list[str]]:
    """What is looked for in labels, and the names of those with too many levels for any of it."""
    found, left_out = [], []
    for place, label in enumerate(columns):
        if len(label.levels) > MOST_LEVELS:
            left_out.append(label.name)
        elif 0 < len(label.levels) <= FEW_LEVELS:
            found += [Target(label, place, level) for level in range(len(label.levels))]
        else:
            found.append(Target(label, place))
    return found, left_out


@dataclass(frozen=True)
class Judged:
    """Rows that probes are fitted to, and others that judge them.

    Attributes:
        latents: (n, D) train vectors.
        codes: (n, L) of their labels.
        judging: (m, D) vectors that judge.
        judging_codes: (m, L) of their labels.
        said: which rows these are, in a sentence.
        notes: which rows were left out.
    """

    latents: NDArray[np.float32]
    codes: NDArray[np.float32]
    judging: NDArray[np.float32]
    judging_codes: NDArray[np.float32]
    said: str
    notes: list[str]


def judged_rows(context: Context, store: LatentStore) -> Judged:
    """Train and held-out rows, evenly spaced ones if there are many; without held-out rows a fifth of train rows judge.

    Raises:
        LsamplerError: NaN or infinite vectors.
    """
    most = min(MOST_ROWS, max(1000, SAMPLE_BYTES // (4 * store.dimension)))
    notes: list[str] = []
    (latents, codes), (judging, judging_codes) = (_rows(store, split, most, notes) for split in ("train", "held-out"))
    said = f"Probes are fitted to {len(latents):,} train vectors and judged by {len(judging):,} held-out ones."
    if len(judging) < FEWEST_JUDGES:
        order = context.rng("labels").permutation(len(latents))
        judges, rest = (np.sort(part) for part in np.split(order, [len(order) // JUDGING_SHARE]))
        said = (
            f"There are {len(judging) or 'no'} held-out vectors; probes are fitted to {len(rest):,} of the train "
            f"vectors and judged by the other {len(judges):,}, drawn at random."
        )
        judging, judging_codes, latents, codes = latents[judges], codes[judges], latents[rest], codes[rest]
    return Judged(latents, codes, judging, judging_codes, said, notes)


def _rows(
    store: LatentStore, split: Split, most: int, notes: list[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    latents, codes = labelled_rows(store, split, most)
    if len(not_finite(latents)):
        raise LsamplerError(f"{store.name}: {split} vectors hold NaN or infinite values; encode it again")
    if len(latents) < store.count(split):
        notes.append(f"Of {store.count(split):,} {split} vectors {len(latents):,} evenly spaced ones are used.")
    return latents, codes
