"""The components of a reference that vary: a constant one, such as a dead unit, has no distribution to describe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.statistics.passes import Segment
from lsampler.store.reference import Reference, Split

NAMED = 5


def varying_components(reference: Reference) -> Reference:
    """The reference itself, or without its constant components, which its name then lists.

    Raises:
        LsamplerError: all vectors are equal, or constant components of a reference without vectors.
    """
    std = reference.statistics().std
    constant = np.flatnonzero(std == 0)
    if not len(constant):
        return reference
    reference.statistics().require_spread()
    listed = ", ".join(map(str, constant[:NAMED])) + (", ..." if len(constant) > NAMED else "")
    if not reference.has_latents:
        raise LsamplerError(f"{reference.name}: constant components ({listed}); give `store=...` to analyse the others")
    return _Varying(reference, np.flatnonzero(std), f"{reference.name} without its constant components ({listed})")


class _Varying(Reference):
    """Some components of the vectors of another reference."""

    has_latents = True

    def __init__(self, whole: Reference, kept: NDArray[np.intp], name: str) -> None:
        super().__init__()
        self._whole, self._kept = whole, kept
        self.name, self.dimension, self.fingerprint = name, len(kept), whole.fingerprint

    def chunks(self, split: Split = "train") -> Iterator[NDArray[np.float32]]:
        """The vectors of a split as arrays (n, D) float32."""
        return (np.ascontiguousarray(chunk[:, self._kept]) for chunk in self._whole.chunks(split))

    def segments(self, split: Split = "train") -> Sequence[Segment]:
        """The segments of the other reference."""
        whole = self._whole.segments(split)
        return [replace(segment, chunks=partial(_columns, segment, self._kept)) for segment in whole]


def _columns(segment: Segment, kept: NDArray[np.intp]) -> Iterator[NDArray[Any]]:
    return (np.ascontiguousarray(chunk[:, kept]) for chunk in segment.chunks())
