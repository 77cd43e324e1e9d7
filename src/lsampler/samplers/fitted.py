"""The base of plugins that learn from latent vectors, strategies and cores: what was learned, and of which vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import PrivateAttr

from lsampler.compute.arrays import as_numbers, column_names, require_finite, require_table
from lsampler.errors import LsamplerError, shortened
from lsampler.plugins.base import Plugin
from lsampler.store.reference import Reference

State: TypeAlias = dict[str, NDArray[Any]]
"""What a strategy has learned, as named arrays."""
Method = TypeVar("Method", bound=Callable[..., Any])


class Fitted(Plugin):
    """A plugin that learns named arrays from latent vectors: a strategy, or a core."""

    _state: State | None = PrivateAttr(default=None)
    _dimension: int = PrivateAttr(default=0)
    _feature_names: Sequence[str] | None = PrivateAttr(default=None)
    _autoencoder: Any = PrivateAttr(default=None)

    @property
    def state(self) -> State:
        """What ``learn()`` returned. Raises LsamplerError, also a NotFittedError of scikit-learn, before ``fit()``."""
        if self._state is None:
            from lsampler.samplers.not_fitted import NotFitted

            raise NotFitted(f"{self.name}: not fitted; call fit(reference) first")
        return self._state

    @property
    def dimension(self) -> int:
        """The latent dimension D; 0 before ``fit()``."""
        return self._dimension

    @property
    def n_features_in_(self) -> int:
        """The latent dimension D, by the name that scikit-learn knows; there is none before ``fit()``."""
        if self._state is None:
            raise AttributeError(f"{self.name} is not fitted: it has no n_features_in_")
        return self._dimension

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """The names of the columns (D,), if it was fitted to a table whose columns have names."""
        if self._feature_names is None:
            raise AttributeError(f"{self.name} was not fitted to a table with names of columns")
        return np.array(self._feature_names, dtype=object)

    @property
    def autoencoder(self) -> Any:
        """The autoencoder of the latent vectors, where the reference of ``fit()`` knows it; None elsewhere.

        It is not saved, and other processes do not get it.
        """
        return self._autoencoder

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        private = state.get("__pydantic_private__") or {}
        return state | {"__pydantic_private__": private | ({"_autoencoder": None} if private else {})}

    def __sklearn_is_fitted__(self) -> bool:
        return self._state is not None

    def __dir__(self) -> list[str]:
        """The parameters, methods and attributes that are there now."""
        absent = {name for name in ("n_features_in_", "feature_names_in_", *OF_DENSITIES) if not hasattr(self, name)}
        return [name for name in super().__dir__() if name not in absent]

    def _condition(self) -> Sequence[str]:
        return [f"D = {self._dimension}"] if self._state is not None else ["not fitted"]

    def _learned_from(self, reference: Reference, state: State) -> None:
        self._state, self._dimension, self._feature_names = state, reference.dimension, reference.feature_names
        self._autoencoder = reference.autoencoder

    def _vectors(self, values: Any, argument: str) -> NDArray[Any]:
        """Vectors (n, D) of the fitted D, or one line that says what is wrong with them."""
        array = as_numbers(values, argument)
        require_table(array, argument)
        if array.shape[1] != self._dimension:
            have = "has" if argument == "X" else "have"
            raise LsamplerError(
                f"{self.name}: {argument} {have} {array.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self._dimension} features as input; give vectors (n, {self._dimension})"
            )
        names = column_names(values)
        if names and self._feature_names and list(names) != list(self._feature_names):
            given, known = (shortened(", ".join(each)) for each in (names, self._feature_names))
            raise LsamplerError(
                f"{self.name}: {argument} {given}: The feature names should match those that were passed during fit, "
                f"in their order: {known}"
            )
        require_finite(array, argument, columns=names)
        return array


OF_DENSITIES = ("score", "score_samples")


class NoDensity(LsamplerError, AttributeError):  # noqa: N818
    """A strategy has no density: for scikit-learn, it lacks the method."""


class OfDensity:
    """A method that a strategy without a density lacks: ``hasattr`` is False, and a call raises LsamplerError."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, sampler: Any, kind: Any) -> Callable[..., Any]:
        if sampler is None:
            return self.method
        if not kind.has_density():
            raise NoDensity(f"{kind.name} has no density: it draws vectors, but cannot score them")
        return MethodType(self.method, sampler)


def of_density(method: Method) -> Method:
    """Decorator of a method that strategies without a density lack."""
    return cast(Method, OfDensity(method))


def checked_state(learned: State) -> State:
    """What a plugin has learned, as named arrays of numbers. Raises TypeError where it is something else."""
    if not isinstance(learned, Mapping):
        raise TypeError(f"learned a {type(learned).__name__}, expected named arrays")
    state = {name: np.asarray(value) for name, value in learned.items()}
    for name, array in state.items():
        if not isinstance(name, str) or array.dtype.kind not in "biuf":
            raise TypeError(f"learned {name!r} of type {array.dtype}, expected a named array of real numbers")
    return state
