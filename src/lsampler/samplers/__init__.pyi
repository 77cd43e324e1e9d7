"""The public names of this package, and where each is defined."""

from .base import LatentSampler
from .fitted import State
from .sample_store import DrawOptions, sample_store
from .whitened import WhitenedReference, WhitenedSampler

__all__ = [
    "DrawOptions",
    "LatentSampler",
    "State",
    "WhitenedReference",
    "WhitenedSampler",
    "sample_store",
]
