"""auto: the strategy that lsampler.choose finds best for the data."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from lsampler import LsamplerError, choose, load_sampler
from lsampler.compute import Block
from lsampler.plugins import offers
from lsampler.samplers import LatentSampler, State
from lsampler.store import Reference

CHOSEN = "chosen"
PREFIX = "of."


class Auto(LatentSampler):
    """The best of several strategies, judged on train vectors that they were not fitted to.

    Fitting is :func:`lsampler.choose`: twelve candidates are fitted to 80 % of the train vectors and judged on the
    other 20 %; those that copy train vectors are refused, and the winner is fitted to all train vectors. The held-out
    vectors take no part. Then ``auto`` draws exactly what the chosen strategy draws; :attr:`chosen` and :attr:`why`
    name it.
    """

    name = "auto"
    needs_latents: ClassVar[bool] = True

    wish: Literal["balanced", "varied", "clean"] = Field(
        default="balanced",
        description="balanced: told least from real data; varied or clean: as varied, or as faithful, as real data",
    )
    candidates: str | None = Field(
        default=None, description="names of the strategies to choose from, separated by commas; none: twelve of them"
    )
    quick: bool = Field(default=False, description="judge by a classifier that takes seconds and sees less")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of the split and of the judges")

    def learn(self, reference: Reference) -> State:
        """The name, the parameters and the state of the chosen strategy."""
        names = None if self.candidates is None else [_candidate(name.strip()) for name in self.candidates.split(",")]
        if names and any(isinstance(sampler, Auto) for sampler in names):
            raise LsamplerError("`candidates` names auto itself; name other strategies")
        found = choose(
            reference, wish=self.wish, candidates=names, quick=self.quick, seed=self.seed, progress=self._progress
        )
        chosen = {"name": found.sampler.name, "parameters": found.sampler.settings(), "why": found.why}
        text = np.frombuffer(json.dumps(chosen).encode(), np.uint8).copy()
        return {CHOSEN: text, **{PREFIX + key: array for key, array in found.sampler.state.items()}}

    @property
    def chosen(self) -> LatentSampler:
        """The chosen strategy with its parameters, not fitted. Raises LsamplerError before ``fit()``."""
        return _strategy(self.state[CHOSEN].tobytes())[0]

    @property
    def why(self) -> str:
        """Why it was chosen, in one sentence. Raises LsamplerError before ``fit()``."""
        return _strategy(self.state[CHOSEN].tobytes())[1]

    def note(self) -> str:
        """Which strategy was chosen, and why."""
        return f"{super().note()} The choice of auto: {self.why}.".strip()

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        sampler, own = _parts(state)
        return sampler.draw(own, block)

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        sampler, own = _parts(state)
        return sampler.log_density(own, latents)


def _candidate(name: str) -> LatentSampler:
    try:
        return load_sampler(name)
    except LsamplerError as error:
        raise LsamplerError(f"auto: `candidates={name}`: {error}") from error


def _parts(state: Mapping[str, Tensor]) -> tuple[LatentSampler, dict[str, Tensor]]:
    """The chosen strategy and its own state."""
    sampler, _ = _strategy(state[CHOSEN].cpu().numpy().astype(np.uint8).tobytes())
    return sampler, {key.removeprefix(PREFIX): value for key, value in state.items() if key != CHOSEN}


@lru_cache(maxsize=16)
def _strategy(text: bytes) -> tuple[LatentSampler, str]:
    try:
        chosen: dict[str, Any] = json.loads(text)
        return load_sampler(chosen["name"], **chosen["parameters"]), str(chosen["why"])
    except LsamplerError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise LsamplerError(f"the chosen strategy is not readable ({error}); fit auto again") from error


lsampler_samplers = offers(Auto)
