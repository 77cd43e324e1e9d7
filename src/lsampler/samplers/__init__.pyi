"""The public names of this package, and where each is defined."""

from .base import LatentSampler
from .conditions.conditioned import AggregatesUnderCondition, UnderCondition
from .conditions.options import ConditionOptions
from .fitted import State
from .sample_store import DrawOptions, sample_store
from .whitened import WhitenedReference, WhitenedSampler

__all__ = [
    "AggregatesUnderCondition",
    "ConditionOptions",
    "DrawOptions",
    "LatentSampler",
    "State",
    "UnderCondition",
    "WhitenedReference",
    "WhitenedSampler",
    "sample_store",
]
