"""The shape of spatial latents as the text that a store records, such as ``4x8x8``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lsampler.errors import LsamplerError, shortened

LATENT_SHAPE = "latent_shape"
"""The attribute of a store, and what an exported file calls it."""


def shape_attribute(shape: Iterable[int] | None) -> dict[str, str]:
    """The attribute for latents of this shape; none for plain vectors, (D,)."""
    lengths = list(shape or ())
    return {LATENT_SHAPE: "x".join(map(str, lengths))} if len(lengths) > 1 else {}


def latent_shape_of(attributes: Mapping[str, Any], dimension: int, name: str) -> tuple[int, ...] | None:
    """The shape that a store's attributes record; None if they record none.

    Raises:
        LsamplerError: it is not the shape of vectors of this dimension.
    """
    text = attributes.get(LATENT_SHAPE)
    return None if text is None else parsed_shape(text, dimension, name)


def parsed_shape(text: Any, dimension: int, name: str) -> tuple[int, ...]:
    """The shape in a text such as ``4x8x8``. Raises LsamplerError if it is none of vectors of this dimension."""
    found = re.fullmatch(r"\d{1,9}(x\d{1,9}){1,7}", text) if isinstance(text, str) else None
    shape = tuple(map(int, text.split("x"))) if found else ()
    if not shape or math.prod(shape) != dimension:
        raise LsamplerError(
            f"{name}: its {LATENT_SHAPE} is {shortened(text)}, which is no shape of D = {dimension} numbers; write it "
            "again"
        )
    return shape
