"""What a reference may bring along besides data: fitted strategies, and which strategy it recommends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.showing import About, Shown, counted


@dataclass(frozen=True, repr=False)
class CarriedState(Shown):
    """The fitted state of a strategy that a bundle carries.

    Attributes:
        name: of the strategy.
        parameters: all of them, as plain values.
        changed: those that are not at their default.
        state: what it learned, real numbers as float32.
        file: of the bundle that it was read from; None if it was not.
    """

    name: str
    parameters: Mapping[str, Any]
    changed: Mapping[str, Any]
    state: Mapping[str, NDArray[Any]]
    file: Path | None = None

    def _about(self) -> About:
        return About("CarriedState", self.label, [f"{counted(len(self.state), 'array')}, {self.nbytes / 1e6:.1f} MB"])

    @property
    def label(self) -> str:
        """Its name, with the parameters that are not at their default."""
        return " ".join([self.name, *(f"{key}={_plain(value)}" for key, value in self.changed.items())])

    @property
    def digest(self) -> str:
        """A digest of all but the file."""
        return digest_of([self.name, dict(self.parameters), dict(self.changed)], self.state)

    @property
    def nbytes(self) -> int:
        """The size of its arrays in bytes."""
        return sum(array.nbytes for array in self.state.values())


@dataclass(frozen=True)
class Recommendation:
    """The strategy to draw with if none is named.

    Attributes:
        name: of the strategy.
        why: it is this one, as the end of a sentence that begins with its name.
        parameters: those that are not at their default.
    """

    name: str
    why: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> str:
        """The arguments that choose it, as messages name them."""
        return " ".join(as_argument(*each) for each in [("plugin", self.name), *self.parameters.items()])


def digest_of(settings: list[Any], state: Mapping[str, NDArray[Any]]) -> str:
    """A digest of settings and of named arrays with their types and shapes."""
    found = hashlib.sha256(json.dumps(settings).encode())
    for key, value in sorted(state.items()):
        array = np.array(value, order="C")
        found.update(f"{key} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return found.hexdigest()


def as_argument(key: str, value: object) -> str:
    """An argument as messages name it: in backticks, so that the command line can name its option instead."""
    return f"`{key}={_plain(value)}`"


def _plain(value: object) -> str:
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)
