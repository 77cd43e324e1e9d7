"""What one piece of data of an autoencoder is: an image, a signal, a row of a table, or another array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from lsampler.data.preprocess import Preprocess
from lsampler.errors import LsamplerError, nearest_name

Kind = Literal["image", "signal", "table", "array"]
AXES: dict[str, str] = {"image": "(C, H, W)", "signal": "(C, L)", "table": "(F,)"}
"""The shape that an item of each kind has; that of an array is free."""
PLURAL = {"image": "images", "signal": "signals", "table": "rows", "array": "arrays"}
MOST_VALUES = 1 << 28


@dataclass(frozen=True)
class Item:
    """What one item of an autoencoder is; part of the model, as its weights are.

    Images are (C, H, W) in [0, 1]. Signals (C, L), rows of tables (F,) and other arrays are in their own units.

    Args:
        kind: ``image``, ``signal``, ``table``, or ``array`` for any other shape.
        shape: of one item.
        names: of the F features of a table or the C channels of a signal; empty if they have none.
        unit: of the values, such as ``mV``, for the axes of plots.
        content: what images show, such as ``faces``; scores that are made for it are computed where it is given.
        value_range: of images, black and white in the arrays that :func:`lsampler.encode` takes and
            :func:`lsampler.decode` gives.

    Raises:
        LsamplerError: the kind is unknown, or the shape or the names do not belong to it.
    """

    kind: Kind
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    unit: str = ""
    content: str = ""
    value_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise LsamplerError(f"`kind={self.kind}` is unknown{nearest_name(str(self.kind), get_args(Kind))}")
        object.__setattr__(self, "shape", tuple(map(int, self.shape)))
        object.__setattr__(self, "names", tuple(map(str, self.names)))
        object.__setattr__(self, "value_range", tuple(map(float, self.value_range)))
        expected = AXES.get(self.kind)
        if not self.shape or min(self.shape) < 1 or math.prod(self.shape) > MOST_VALUES:
            raise LsamplerError(f"`shape={self.shape}`: give the lengths of the axes of one item, such as (30,)")
        if expected and len(self.shape) != expected.count(",") + (self.kind != "table"):
            raise LsamplerError(f"`shape={self.shape}`: the shape of one {self.kind} is {expected}")
        if self.kind == "image" and self.shape[0] not in (1, 3):
            raise LsamplerError(f"`shape={self.shape}`: an image (C, H, W) has 1 or 3 channels; C comes first")
        if self.names and (self.kind not in ("table", "signal") or len(self.names) != self.shape[0]):
            raise LsamplerError(
                f"{len(self.names)} `names` for an item ({self.words}); give one per feature or channel"
            )
        if len(set(self.names)) != len(self.names):
            raise LsamplerError("two of the `names` are equal; give each feature a name of its own")
        if not self.value_range[0] < self.value_range[1]:
            raise LsamplerError(f"`value_range={self.value_range}`: give black and white, such as (0, 255)")

    @classmethod
    def of_images(cls, preprocess: Preprocess) -> Item:
        """The images that a preprocessing makes; the crop that frames a CelebA face makes faces."""
        shape = (preprocess.channels, preprocess.height, preprocess.width)
        return cls("image", shape, content="faces" if preprocess.crop == "celeba" else "")

    @classmethod
    def guessed(cls, shape: Sequence[int]) -> Item:
        """The likeliest item of a shape: (F,) is a table, (C, L) a signal, (1 or 3, H, W) an image."""
        kinds: dict[int, Kind] = {1: "table", 2: "signal"}
        image = len(shape) == 3 and shape[0] in (1, 3)
        return cls("image" if image else kinds.get(len(shape), "array"), tuple(shape))

    @property
    def is_image(self) -> bool:
        """Whether it is an image, which is shown and kept as pixels."""
        return self.kind == "image"

    @property
    def plural(self) -> str:
        """What messages call several: images, signals, rows or arrays."""
        return PLURAL[self.kind]

    @property
    def words(self) -> str:
        """One item in words, such as ``a row of 30 features`` or ``an image of 1 x 8 x 8``."""
        if self.kind == "table":
            return f"a row of {self.shape[0]} features"
        article = "an" if self.kind in ("image", "array") else "a"
        return f"{article} {self.kind} of {' x '.join(map(str, self.shape))}"

    @property
    def plural_words(self) -> str:
        """Several items in words, such as ``rows of 30 features`` or ``images of 1 x 8 x 8``."""
        return f"{self.plural} {self.words.split(maxsplit=2)[2]}"

    @property
    def features(self) -> tuple[str, ...]:
        """A name for every value of a row or every channel of a signal; numbers where the model names none."""
        return self.names or tuple(
            f"{'feature' if self.kind == 'table' else 'channel'} {i}" for i in range(self.shape[0])
        )

    def as_dict(self) -> dict[str, Any]:
        """What differs from the defaults, as plain values for a file's metadata."""
        known = {"kind": self.kind, "shape": list(self.shape)}
        defaults = Item("array", (1,))
        return known | {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if key not in known and value != getattr(defaults, key)
        }
