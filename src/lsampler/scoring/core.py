"""The base of all cores: regions of latent space that hold the bulk of the encoded data."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, plugin_errors
from lsampler.plugins.base import as_plugins
from lsampler.samplers.fitted import Fitted, State, checked_state
from lsampler.scoring.statistics_reference import StatisticsReference
from lsampler.store.opening import ReferenceLike, as_reference
from lsampler.store.reference import Reference

ROWS_AT_ONCE = 1024


class Core(Fitted):
    """A family of nested regions that are numbered by a level: sigma, half-widths, or a distance.

    A subclass writes :meth:`learn`, :meth:`level` and :meth:`nominal`. A vector is inside the core of a level if its
    own level is at most that.
    """

    @abstractmethod
    def learn(self, reference: Reference) -> State:
        """What has to be known of the reference, as named arrays."""

    @abstractmethod
    def level(self, state: State, latents: NDArray[np.float64]) -> NDArray[np.float64]:
        """Latent vectors (n, D) -> (n,): the smallest level whose region holds each."""

    @abstractmethod
    def nominal(self, state: State) -> float:
        """The level at which the posts (or theory) put the core's boundary."""

    def fit(self, X: ReferenceLike, y: object = None) -> Self:
        """Learn from whatever holds latent vectors (N, D), as :meth:`LatentSampler.fit` does; returns self.

        Args:
            X: a store, a bundle, the path or name of one, or an array.
            y: ignored.

        Raises:
            LsamplerError: ``X`` is no such thing, or lacks what the core needs.
        """
        reference = as_reference(X, "X")
        with plugin_errors(f"{self.name}: fitting"):
            state = checked_state(self.learn(reference))
        self._learned_from(reference, state)
        return self

    def levels(self, latents: NDArray[Any]) -> NDArray[np.float64]:
        """The level of each latent vector: (n, D) -> (n,).

        Raises:
            LsamplerError: not fitted, or latent vectors of another D.
        """
        state = self.state
        rows = self._vectors(np.atleast_2d(latents), "latents")
        chunks = [rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE)]
        with plugin_errors(f"{self.name}: its levels"):
            found = [np.empty(0), *(self.level(state, np.asarray(chunk, dtype=np.float64)) for chunk in chunks)]
            levels = np.concatenate(found).astype(np.float64, casting="same_kind")
        if levels.shape != (len(rows),) or np.isnan(levels).any():
            raise LsamplerError(
                f"{self.name}: its levels are NaN or of a wrong shape; report it to the plugin's author"
            )
        return levels

    @property
    def nominal_level(self) -> float:
        """The nominal level of the fitted core."""
        with plugin_errors(f"{self.name}: its nominal level"):
            return float(self.nominal(self.state))

    def calibrated_level(self, reference: ReferenceLike, share: float = 0.95) -> float | None:
        """The level that holds ``share`` of held-out data; None if there are too few held-out vectors.

        This is the split-conformal quantile: the ceil((m + 1) share)-th smallest level of the m vectors of the
        calibration half of the held-out split, so that a further real vector is inside with at least that
        probability. A bundle remembers the level.

        Raises:
            LsamplerError: ``share`` is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise LsamplerError(f"share={share}: give a number between 0 and 1")
        reference = as_reference(reference)
        if isinstance(reference, StatisticsReference):
            return reference.calibrations.get(self.calibration_key(share))
        calibration, _ = calibration_split(reference.held_out())
        # Products such as 100 * 0.55 come out a rounding error above the whole number they are.
        rank = math.ceil((len(calibration) + 1) * share - 1e-9)
        if rank > len(calibration):
            return None
        return float(np.sort(self.levels(calibration))[rank - 1])

    def calibration_key(self, share: float) -> str:
        """The key of this core, all its parameters and the share in a bundle's table of levels."""
        return f"{self.key()} {share}"


CoreLike: TypeAlias = str | type[Core] | Core
"""A core by its name, its class, or with its parameters."""


def as_cores(given: CoreLike | Iterable[CoreLike], argument: str = "cores") -> list[Core]:
    """Cores that are given by name, by class or as they are; a single one will do."""
    return as_plugins(Core, given, argument)


def calibration_split(held_out: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Every second held-out row calibrates, the others judge: no vector does both."""
    return held_out[::2], held_out[1::2]
