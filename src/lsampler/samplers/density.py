"""Densities of fitted strategies at latent vectors, and the names that scikit-learn knows for them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, PrivateAttr
from torch import Tensor

from lsampler.compute.dense import dense_tensor
from lsampler.errors import LsamplerError, PluginCrash, plugin_errors
from lsampler.samplers.conditions.condition import WhereLike
from lsampler.samplers.conditions.conditioned import Conditioned, mixed, require_labels
from lsampler.samplers.conditions.law import LabelLaw, Others
from lsampler.samplers.fitted import Fitted, OfDensity, State, of_density

DENSITY_ROWS = 1024
CPU = torch.device("cpu")


class Scoring(Fitted):
    """A fitted strategy that may have a density, perhaps under a condition on labels."""

    model_config = ConfigDict(ignored_types=(OfDensity,))

    _file: Path | None = PrivateAttr(default=None)
    _conditioned: Conditioned | None = PrivateAttr(default=None)

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """Return the logarithm of the density at latent vectors (n, D) float64 -> (n,) float64, in nats.

        Args:
            state: what :meth:`learn` returned, as tensors on the CPU, floats as float64.
            latents: the vectors, in latent coordinates. The result is -inf where nothing is drawn, but not at
                vectors that were drawn inside a bound and rounded to float32.

        Raises:
            LsamplerError: with these parameters there is no density.
        """
        raise LsamplerError(f"{self.name} has no density")

    def moved_log_density(self, state: Mapping[str, Tensor], latents: Tensor, moves: Tensor) -> Tensor:
        """Return the logarithm of the density at latent vectors (n, D) less each of the moves (k, D): (k, n) float64.

        Densities under a condition need it. A strategy may override it where something is the same for all moves.
        """
        some = max(1, DENSITY_ROWS // max(len(latents), 1))
        parts = [(latents - few[:, np.newaxis]).flatten(0, 1) for few in torch.split(moves, some)]
        found = torch.cat([dense_tensor(self.log_density(state, part)).double() for part in parts])
        return found.reshape(len(moves), len(latents))

    @classmethod
    def has_density(cls) -> bool:
        """Whether the strategy has a density, at least with some parameters."""
        return cls.log_density is not Scoring.log_density

    @of_density
    def score_samples(self, X: ArrayLike | Tensor) -> NDArray[np.float64]:
        """Return the logarithm of the fitted strategy's density at latent vectors (n, D) -> (n,), in nats.

        It is computed in float64 on the CPU, and -inf where nothing is drawn. :meth:`log_prob` is the same.

        Args:
            X: an array, tensor, table or list of lists (n, D).

        Raises:
            LsamplerError: not fitted, vectors of another D or not finite, or there is no density.
        """
        return self._log_densities(X, "X", self._law(None, None))

    @of_density
    def score(self, X: ArrayLike | Tensor, y: object = None) -> float:
        """Return the mean of :meth:`score_samples`: the larger, the more likely the vectors; higher is better.

        Args:
            X: an array, tensor, table or list of lists (n, D).
            y: ignored; scikit-learn passes it.

        Raises:
            LsamplerError: as :meth:`score_samples`, or there are no vectors.
        """
        densities = self.score_samples(X)
        if not len(densities):
            raise LsamplerError(f"{self.name}: X holds no vectors to score; give at least one")
        return float(densities.mean())

    def log_prob(
        self, latents: ArrayLike | Tensor, *, where: WhereLike | None = None, others: Others | None = None
    ) -> NDArray[np.float64]:
        """Return the logarithm of the density at latent vectors (n, D) -> (n,), as :meth:`score_samples` does.

        Under a condition, a shifted strategy's density is the average of the residuals' over rows of labels. It is
        exact where up to 512 different ones fulfil the condition, and otherwise over 512 that are drawn from a fixed
        seed.

        Args:
            latents: vectors (n, D).
            where: wanted values of labels, as of :meth:`sample`.
            others: as of :meth:`sample`.

        Raises:
            LsamplerError: not fitted, vectors of another D or not finite, there is no density, or a condition that the
                fit does not allow.
        """
        return self._log_densities(latents, "latents", self._law(where, others))

    def _log_densities(self, values: Any, argument: str, law: LabelLaw | None) -> NDArray[np.float64]:
        state = as_tensors(self.state, CPU, torch.float64)
        rows = self._vectors(values, argument)
        found = [np.empty(0)]
        with torch.no_grad(), self._errors("its density"):
            own: Callable[[Tensor], Tensor] = partial(self.log_density, state)
            density = mixed(law, partial(self.moved_log_density, state)) if law else own
            for start in range(0, len(rows), DENSITY_ROWS):
                part = torch.from_numpy(np.array(rows[start : start + DENSITY_ROWS], dtype=np.float64, order="C"))
                found.append(dense_tensor(density(part)).double().numpy())
        densities = np.concatenate(found)
        if densities.shape != (len(rows),) or np.isnan(densities).any():
            raise LsamplerError(f"{self.name}: its density is NaN or of a wrong shape; check its parameters")
        return densities

    def _law(self, where: WhereLike | None, others: Others | None) -> LabelLaw | None:
        """How labels are drawn; None if none are."""
        if where is None and others is None and self._conditioned is None:
            return None
        return require_labels(self._conditioned, self.name).law(where, others, self.name)

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """What goes wrong with a state of the plugin's own is its fault; with one from a file, that of the file."""
        try:
            with plugin_errors(f"{self.name}: {doing}"):
                yield
        except PluginCrash as error:
            if self._file is None:
                raise
            reason = f"{type(error.__cause__).__name__}: {error.__cause__}"
            raise LsamplerError(
                f"{self._file}: does not fit the installed {self.name} ({reason:.200}); fit it again"
            ) from error


def as_tensors(state: State, device: torch.device, floats: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A strategy's state as tensors on a device, copies, the real numbers of type ``floats``."""
    tensors = {key: torch.from_numpy(np.array(value, order="C")) for key, value in state.items()}
    return {key: value.to(device, floats if value.is_floating_point() else None) for key, value in tensors.items()}
