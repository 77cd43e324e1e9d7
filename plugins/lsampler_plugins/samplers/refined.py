"""refined: another strategy's draws, of which those that discriminators take for real are kept."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from lsampler import LsamplerError, load_sampler
from lsampler.compute import Block, nearest_neighbours, one_thread
from lsampler.plugins import offers
from lsampler.samplers import LatentSampler, State
from lsampler.statistics import Whitening
from lsampler.store import Reference
from lsampler_plugins.samplers.discriminators import Discriminator, log_ratio, threshold, train

FEWEST = 100
POOL = 4
"""So many draws for every train vector, from which networks learn; and as many again set the threshold."""
LAST_SHARE = 0.5
"""Every stage after the first keeps half of what the stage before it kept."""
SEES_NOTHING = 0.52
LEAST_NOVELTY = 0.95
WATCHED = 2000
MOST_ROUNDS = 20_000
BASE, PREFIX = "base", "of."


class Refined(LatentSampler):
    """Rejection of another strategy's draws by what discriminators see (Azadi et al. 2019, arXiv 1810.06758).

    Networks learn to tell train vectors from draws of the base. The log odds that they give are the logarithm of the
    density ratio, so a draw is kept with the probability min(1, ratio / c), with c set for the share that is to be
    kept. Further stages learn to tell train vectors from what the stages before them keep, and filter that in turn.
    Each network is validated on a tenth of the vectors that it does not learn from, and its best weights are kept.

    A stage is left out, and the last one, where its networks see nothing (an area of 0.52 or less on the vectors they
    are validated on), or where what it keeps lies closer to train vectors than train vectors to each other: it would
    copy. Fewer than 100 vectors are not refined at all. ``note()`` says what each stage saw and what is kept.

    The density is that of the base times the probabilities of being kept, over the share that is kept.
    """

    name = "refined"
    needs_latents: ClassVar[bool] = True
    aggregates_only: ClassVar[bool] = True

    base: str = Field(default="factor-mixture", description="name of the strategy whose draws are refined")
    accept: float = Field(default=0.075, gt=0.001, lt=1, description="share of the base's draws that all stages keep")
    stages: int = Field(default=2, ge=1, le=10, description="of rejection, at most")
    networks: int = Field(default=4, ge=1, le=100, description="per stage, whose log odds are averaged")
    steps: int = Field(
        default=1000, ge=1, le=1_000_000, description="of a network's training, at most, 256 vectors each"
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="of the networks")

    def learn(self, reference: Reference) -> State:
        """The state of the base, and of each stage the networks and the threshold."""
        base = self._base()
        rows = reference.latents()
        base.fit(reference, progress=self._progress)
        statistics = reference.statistics()
        whitening = statistics.whitening(statistics.judged)
        found: dict[str, Any] = {"mean": whitening.mean, "axes": whitening.axes}
        found |= {PREFIX + key: array for key, array in base.state.items()}
        found[BASE] = _text({"name": base.name, "parameters": base.settings()})
        said: list[str] = []
        if len(rows) < FEWEST:
            said.append(f"all are kept, since {len(rows)} vectors are too few to learn from ({FEWEST} are needed)")
        for stage in range(self.stages if not said else 0):
            state = {key: _tensor(array) for key, array in found.items()}
            added = self._stage(stage, state, whitening, rows, said)
            if not added:
                break
            found |= added
        found["said"] = _text(said)
        return found

    def _base(self) -> LatentSampler:
        try:
            base = load_sampler(self.base)
        except LsamplerError as error:
            raise LsamplerError(f"{self.name}: `base={self.base}`: {error}") from error
        if isinstance(base, Refined):
            raise LsamplerError(f"{self.name}: `base={self.base}` is refined itself; name another strategy")
        return base

    def _share(self, stage: int) -> float:
        """The share of what the stage before it keeps that a stage keeps."""
        first = min(0.9, self.accept / LAST_SHARE ** (self.stages - 1))
        return first if stage == 0 else LAST_SHARE

    def _stage(
        self, stage: int, state: Mapping[str, Tensor], whitening: Whitening, rows: NDArray[np.float32], said: list[str]
    ) -> dict[str, Any]:
        """The networks and the threshold of one more stage; nothing if it is left out."""
        white = torch.from_numpy(whitening.forward(rows)).float()
        count = min(POOL * len(rows), 200_000)
        advance = self.begin(f"stage {stage + 1} of refining", self.networks + 2)
        with one_thread():
            pool = self._many(state, count, 2 * stage)
            advance(1)
            trained = []
            seen = torch.from_numpy(whitening.forward(pool)).float()
            for one in train(white, seen, number=self.networks, steps=self.steps, seed=self.seed * 1000 + stage):
                trained.append(one)
                advance(1)
            area = float(np.mean([one.area for one in trained]))
            if area <= SEES_NOTHING:
                advance(1)
                said.append(f"stage {stage + 1} is left out, since its networks see nothing (area {area:.2f})")
                return {}
            networks = [one.network for one in trained]
            fresh = self._many(state, count, 2 * stage + 1)
            ratios = log_ratio(networks, torch.from_numpy(whitening.forward(fresh)).float())
            cut = threshold(ratios, self._share(stage))
            chances = (ratios.double() - cut).exp().clamp(max=1).numpy()
            kept = fresh[np.random.default_rng([self.seed, stage]).random(len(fresh)) < chances]
            novelty = _novelty(kept, rows)
            advance(1)
        if novelty < LEAST_NOVELTY:
            said.append(f"stage {stage + 1} is left out, since what it keeps lies too close to train vectors")
            return {}
        said.append(f"stage {stage + 1} keeps {chances.mean():.1%}, where networks saw an area of {area:.2f}")
        added: dict[str, Any] = {f"stage{stage}.cut": np.array([cut, np.log(chances.mean())])}
        for place, network in enumerate(networks):
            for layer, weights in enumerate(network.weights):
                added[f"stage{stage}.{place:02}.{layer}"] = weights.numpy()
        return added

    def _many(self, state: Mapping[str, Tensor], count: int, number: int) -> NDArray[np.float32]:
        """At least so many draws of what the stages so far keep."""
        parts: list[NDArray[np.float32]] = []
        found = 0
        while found < count:
            block = Block(self.seed + (number + 1) * 2**32, len(parts), torch.device("cpu"))
            parts.append(self.draw(state, block).numpy())
            found += len(parts[-1])
        return np.concatenate(parts)[:count]

    def draw(self, state: Mapping[str, Tensor], block: Block) -> Tensor:
        """Draw from the base until the block is full of rows that all stages have kept."""
        base, own = _parts(state)
        stages = _stages(state)
        if not stages:
            return base.draw(own, block)
        kept, count = [], 0
        for _ in range(MOST_ROUNDS):
            rows = base.draw(own, block)
            for networks, cut, _ in stages:
                ratios = log_ratio(networks, _white(state, rows))
                rows = rows[block.uniform()[: len(rows)] < (ratios - cut).exp()]
            kept.append(rows)
            count += len(rows)
            if count >= block.rows:
                return torch.cat(kept)[: block.rows]
        raise LsamplerError(f"{self.name}: hardly any draw is kept; fit it with a larger `accept`")

    def log_density(self, state: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """The density of the base, times the probabilities of being kept, over the share that is kept."""
        base, own = _parts(state)
        density = base.log_density(own, latents)
        for networks, cut, log_share in _stages(state):
            ratios = log_ratio(networks, _white(state, latents))
            density = density + (ratios - cut).clamp(max=0) - log_share
        return density

    def note(self) -> str:
        """What each stage saw, and the share of draws that it keeps."""
        said = json.loads(self.state["said"].tobytes())
        return f"{super().note()} Draws of {self.base}; {'; '.join(said)}.".strip()


def _white(state: Mapping[str, Tensor], rows: Tensor) -> Tensor:
    """Latent vectors (n, D) in whitened coordinates (n, q)."""
    axes = state["axes"]
    return (rows - state["mean"]) @ (axes / axes.square().sum(dim=1, keepdim=True)).T


def _stages(state: Mapping[str, Tensor]) -> list[tuple[list[Discriminator], Tensor, Tensor]]:
    """Of each stage the networks, the threshold, and the logarithm of the share that it keeps."""
    found = []
    stage = 0
    while f"stage{stage}.cut" in state:
        own = sorted(key for key in state if key.startswith(f"stage{stage}.") and not key.endswith("cut"))
        places = sorted({key.split(".")[1] for key in own})
        networks = [Discriminator([state[key] for key in own if key.split(".")[1] == place]) for place in places]
        cut, log_share = state[f"stage{stage}.cut"]
        found.append((networks, cut, log_share))
        stage += 1
    return found


def _novelty(drawn: NDArray[np.float32], rows: NDArray[np.float32]) -> float:
    """The median distance of draws to the nearest train vector, over that of train vectors to the nearest other one."""
    some = rows[:: max(1, len(rows) // WATCHED)]
    among = nearest_neighbours(some, rows, 2).distances[:, 1]
    found = nearest_neighbours(drawn[:WATCHED], rows, 1).distances[:, 0]
    middle = float(np.median(among))
    return float(np.median(found)) / middle if middle else 1.0


def _tensor(array: Any) -> Tensor:
    """As draws take it: real numbers in single precision."""
    found = torch.from_numpy(np.array(array))
    return found.float() if found.is_floating_point() else found


def _text(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), np.uint8).copy()


def _parts(state: Mapping[str, Tensor]) -> tuple[LatentSampler, dict[str, Tensor]]:
    """The base and its own state."""
    base = _sampler(state[BASE].cpu().numpy().astype(np.uint8).tobytes())
    return base, {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}


@lru_cache(maxsize=16)
def _sampler(text: bytes) -> LatentSampler:
    try:
        chosen: dict[str, Any] = json.loads(text)
        return load_sampler(chosen["name"], **chosen["parameters"])
    except LsamplerError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise LsamplerError(f"the base is not readable ({error}); fit refined again") from error


lsampler_samplers = offers(Refined)
