"""factor-mixture: a mixture of factor analysers, with Student t tails and the radius of the data."""

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from lsampler import LsamplerError
from lsampler.compute import Block, one_thread, require_memory
from lsampler.plugins import offers
from lsampler.samplers import State, WhitenedReference, WhitenedSampler
from lsampler_plugins.samplers.factor_analysers import Analysers, drawn, fit_analysers, started
from lsampler_plugins.samplers.independent_axes import independent
from lsampler_plugins.samplers.normal_scores import increasing, normal_scores, scores_of, values_at

FEWEST = 10
ROWS_EACH = 100
TRIED_COMPONENTS, TRIED_FACTORS = (1, 5, 10, 20, 40), (2, 5, 10, 20)
USUAL_FACTORS = 10
TRIAL_ITERATIONS = 30
VALIDATION = 0.1
RADIUS_DRAWS, LARGEST_SCORE = 50_000, 3.5


class FactorMixture(WhitenedSampler):
    """A mixture of factor analysers: z = mu_k + Lambda_k f + e, few factors f and independent noise e for each k.

    Ghahramani and Hinton 1996 ("The EM algorithm for mixtures of factor analyzers"); for images Richardson and Weiss
    2018 (arXiv 1805.12462). Each component has the covariance Lambda_k Lambda_k^T + Psi_k, Psi_k diagonal: far fewer
    parameters than a full one, and more than a diagonal one. It is fitted in whitened coordinates, rotated to
    independent components, by expectation maximisation in double precision. With ``tails=student`` each component is a
    Student t (McLachlan, Bean and Ben-Tovim Jones 2007), whose radius spreads more than a normal's. With
    ``radius=data`` draws are moved along their rays, so that the Mahalanobis radius has the distribution of the data.

    Where the numbers of components and of factors are not given, those are taken that give the highest likelihood to a
    tenth of the train vectors which is left out for that.
    """

    name = "factor-mixture"
    needs_latents: ClassVar[bool] = True
    aggregates_only: ClassVar[bool] = True

    mixture_components: int | None = Field(
        default=None, ge=1, le=1000, description="number of factor analysers; none: the likeliest of 1 to 40"
    )
    factors: int | None = Field(default=None, ge=1, le=1000, description="of each; none: the likeliest of 2 to 20")
    tails: Literal["student", "normal"] = Field(default="student", description="Student t or normal components")
    radius: Literal["data", "own"] = Field(
        default="data", description="distribution of the radius: of the data, or as the mixture has it"
    )
    axes: Literal["independent", "principal"] = Field(
        default="independent", description="coordinates in which noise is independent"
    )
    temperature: float = Field(default=1.0, gt=0, description="multiplies the radius")
    iterations: int = Field(default=60, ge=1, le=100_000, description="of the fit, at most")
    tolerance: float = Field(default=1e-3, gt=0, description="a fit ends when an iteration gains fewer nats per vector")
    prior: float = Field(
        default=20.0, ge=0, description="so many rows of noise of variance 1 are added to each component"
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="of the start, and of the vectors that are left out")

    def learn_white(self, white: WhitenedReference) -> State:
        """The rotation, the analysers, and two tables of the log radius."""
        if white.count < max(FEWEST, self.mixture_components or 0):
            what = f"`mixture_components={self.mixture_components}`" if self.mixture_components else "it"
            raise LsamplerError(
                f"{self.name}: {white.count} vectors of {white.name}, {what} needs "
                f"{max(FEWEST, self.mixture_components or 0)} or more"
            )
        with one_thread():
            rows = torch.from_numpy(np.concatenate(list(white.chunks())))
            turn = torch.eye(white.components, dtype=rows.dtype)
            if self.axes == "independent" and white.components > 1:
                turn = independent(rows, self.seed)
            turned = rows @ turn.T
            components, factors = self._sizes(turned)
            self._require_memory(len(rows), components, factors, white.components)
            found = self._fit(turned, components, factors, self.iterations)
            state = found.arrays() | {"turn": turn.numpy()}
            return state | self._radii(rows.norm(dim=1).numpy(), found, white.count)

    def _require_memory(self, rows: int, components: int, factors: int, dimension: int) -> None:
        numbers = 5.0 * rows * components * (factors + 1) + 4.0 * components * dimension * (factors + 4)
        require_memory(8 * numbers, f"{self.name}: `mixture_components={components}`, `factors={factors}`", "use fewer")

    def _sizes(self, rows: Tensor) -> tuple[int, int]:
        """The numbers of components and of factors: as given, or the likeliest of some."""
        n, q = rows.shape
        most = max(1, q - 1)
        if self.factors is not None and self.factors > q:
            raise LsamplerError(f"{self.name}: `factors={self.factors}` for {q} components; use at most {most}")
        usual = min(USUAL_FACTORS, most, max(1, q // 2))
        if self.mixture_components is not None and self.factors is not None:
            return self.mixture_components, self.factors
        tried = [k for k in TRIED_COMPONENTS if k == 1 or k * ROWS_EACH <= n]
        counts = [self.mixture_components] if self.mixture_components else tried
        order = torch.from_numpy(np.random.default_rng(self.seed).permutation(n))
        left_out = max(1, int(VALIDATION * n))
        fitted, judged = rows[order[left_out:]], rows[order[:left_out]]
        advance = self.begin("sizes of the mixture", len(counts) + len(TRIED_FACTORS))

        def likelihoods(components: int, factors: int) -> NDArray[np.float64]:
            found = self._fit(fitted, min(components, len(fitted)), factors, TRIAL_ITERATIONS)
            advance(1)
            return found.log_joint(judged).logsumexp(dim=1).numpy()

        components = _simplest({k: likelihoods(k, self.factors or usual) for k in counts})
        if self.factors is not None:
            return components, self.factors
        few = sorted({min(f, most) for f in TRIED_FACTORS if f <= max(usual, min(q // 4, 20))} | {usual})
        return components, _simplest({f: likelihoods(components, f) for f in few})

    def _fit(self, rows: Tensor, components: int, factors: int, iterations: int) -> Analysers:
        start = started(rows, components, factors, student=self.tails == "student", seed=self.seed)
        return fit_analysers(rows, start, prior=self.prior, iterations=iterations, tolerance=self.tolerance)

    def _radii(self, radii: NDArray[np.float64], found: Analysers, count: int) -> State:
        """Normal scores, and the log radius of the mixture and of the data at them."""
        if self.radius == "own":
            return {}
        generator = torch.Generator().manual_seed(self.seed)
        own = np.concatenate([part.norm(dim=1).numpy() for part in _parts(found, generator)])
        scores = normal_scores(count, LARGEST_SCORE)
        from scipy.special import ndtr

        tables = [np.quantile(np.log(np.maximum(r, 1e-6 * np.median(r))), ndtr(scores)) for r in (own, radii)]
        own_table, table = (increasing(logs[:, np.newaxis], scores) for logs in tables)
        return {"scores": scores, "own-radius": own_table, "radius": table}

    def draw_white(self, state: Mapping[str, Tensor], block: Block, q: int) -> Tensor:
        chosen = block.categories(state["weights"])
        rows = drawn(Analysers.of(state), chosen, block.generator) @ state["turn"]
        if "radius" in state:
            log_radius = rows.norm(dim=1, keepdim=True).clamp(min=1e-30).log()
            x, _ = scores_of(log_radius, state["scores"], state["own-radius"])
            rows *= (values_at(x, state["scores"], state["radius"]) - log_radius).exp()
        return rows * self.temperature

    def white_log_density(self, state: Mapping[str, Tensor], white: Tensor) -> Tensor:
        q = white.shape[1]
        rows, log_volume = white / self.temperature, q * math.log(self.temperature) + torch.zeros(len(white))
        if "radius" in state:
            log_radius = rows.norm(dim=1, keepdim=True).clamp(min=1e-30).log()
            x, slope = scores_of(log_radius, state["scores"], state["radius"])
            own = values_at(x, state["scores"], state["own-radius"])
            _, own_slope = scores_of(own, state["scores"], state["own-radius"])
            # y = x r_own / r along the ray: log |dy/dx| = q log(r_own / r) + log(d log r_own / d log r)
            rows = rows * (own - log_radius).exp()
            log_volume = log_volume - (q * (own - log_radius) + own_slope.log() - slope.log())[:, 0]
        joint = Analysers.of(state).log_joint(rows @ state["turn"].T)
        return joint.logsumexp(dim=1) - log_volume


def _simplest(likelihoods: Mapping[int, NDArray[np.float64]]) -> int:
    """The smallest size whose mean log-likelihood is within a standard error of the best one's, vector by vector."""
    best = max(likelihoods.values(), key=lambda each: float(each.mean()))
    for size, each in sorted(likelihoods.items()):
        behind = best - each
        if behind.mean() <= behind.std() / math.sqrt(len(behind)):
            return size
    raise AssertionError("the best one is as good as itself")


def _parts(found: Analysers, generator: torch.Generator) -> Iterator[Tensor]:
    """Draws (n, q) of a mixture, 50,000 in all."""
    for _ in range(10):
        chosen = torch.multinomial(found.weights, RADIUS_DRAWS // 10, replacement=True, generator=generator)
        yield drawn(found, chosen, generator)


lsampler_samplers = offers(FactorMixture)
