"""The public names of this package, and where each is defined."""

from .attributes import AttributeVectors, attribute_vectors
from .edits import edit
from .paths import LatentPaths
from .walks import walk

__all__ = [
    "AttributeVectors",
    "LatentPaths",
    "attribute_vectors",
    "edit",
    "walk",
]
