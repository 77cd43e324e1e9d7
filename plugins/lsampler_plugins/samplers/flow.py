"""flow: a normalising flow, trained on the latent vectors (extra ``flow``)."""

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lsampler import LsamplerError
from lsampler.compute import Block, one_thread, require_memory
from lsampler.extras import require_extra
from lsampler.plugins import offers
from lsampler.samplers import State, WhitenedReference, WhitenedSampler
from lsampler.statistics import Statistics
from lsampler_plugins.samplers.independent_axes import independent

FEWEST = 10
FEWEST_BATCHES = 16
PRIOR_VALUES = 100
ROOT = math.sqrt(2 * math.pi)
WEIGHTS = "flow."


class Flow(WhitenedSampler):
    """A normalising flow: z = f(x), x ~ N(0, 1), f a trained invertible network (extra 'flow').

    Latent vectors are whitened, and where the tails of their radius are heavier than a normal's, the radius is
    shortened by a power, r^s. The result is rotated to independent components, the least normal one first. Its
    distribution is learned by zuko's masked autoregressive flow (Papamakarios et al. 2017, arXiv 1705.07057) or
    neural spline flow (Durkan et al. 2019, arXiv 1906.04032): each coordinate is shifted and scaled, or transformed
    by a spline, in a way that depends on those before it.

    Training stops when the likelihood of a validation share of the train vectors has not risen for
    ``patience`` epochs, and keeps the best epoch. If it is interrupted, it has to start again.
    """

    name = "flow"
    needs_latents: ClassVar[bool] = True
    aggregates_only: ClassVar[bool] = True

    kind: Literal["masked-autoregressive", "neural-spline"] = Field(
        default="masked-autoregressive", description="each coordinate is shifted and scaled, or transformed by a spline"
    )
    axes: Literal["independent", "principal"] = Field(
        default="independent", description="coordinates to learn in: independent or principal components"
    )
    layers: int = Field(default=2, ge=1, le=100, description="transforms one after the other")
    hidden: int = Field(default=256, ge=2, le=65_536, description="width of each transform's network")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="share of hidden units left out while training")
    learning_rate: float = Field(default=1e-3, gt=0, description="of AdamW")
    weight_decay: float = Field(default=0.01, ge=0, description="of AdamW")
    batch_size: int = Field(default=128, ge=1, le=1_000_000, description="vectors per step, fewer where there are few")
    max_epochs: int = Field(default=60, ge=1, le=100_000, description="passes over the vectors, at most")
    patience: int = Field(
        default=3, ge=1, le=100_000, description="epochs without a better validation likelihood, then it stops"
    )
    validation: float = Field(default=0.1, gt=0, lt=1, description="share of the train vectors that are not trained on")
    seed: int = Field(default=0, ge=0, lt=2**63, description="of validation share, initial weights, and batches")

    def default_components(self, statistics: Statistics) -> int:
        """As many as there are directions in which the vectors differ."""
        return statistics.pca.rank

    def learn_white(self, white: WhitenedReference) -> State:
        """The radial map, the rotation, and the weights of the best epoch."""
        _zuko()
        if white.count < FEWEST:
            raise LsamplerError(f"{self.name}: {white.count} vectors of {white.name}, it needs {FEWEST}")
        numbers = self.layers * self.hidden * white.components * (3 if self.kind == "masked-autoregressive" else 24)
        require_memory(
            32.0 * numbers, f"{self.name}: `hidden={self.hidden}`", f"use less, or fewer than {self.layers} layers"
        )
        with one_thread():
            rows = torch.from_numpy(np.concatenate(list(white.chunks())))
            radial = radial_map(rows.norm(dim=1).numpy(), white.components)
            rows, _ = inwards(rows, torch.from_numpy(radial))
            turn = torch.eye(white.components, dtype=rows.dtype)
            if self.axes == "independent" and white.components > 1:
                turn = independent(rows, self.seed)
            weights, spread = self._trained((rows @ turn.T).float())
        return {"radial": radial, "turn": turn.numpy(), "spread": np.array(spread)} | {
            WEIGHTS + key: value.cpu().numpy() for key, value in weights.items()
        }

    def _trained(self, rows: Tensor) -> tuple[dict[str, Tensor], float]:
        """The weights of the best epoch, and the spread of the base that suits the validation vectors."""
        generator = torch.Generator(self.device).manual_seed(self.seed)
        network = self._network(rows.shape[1], generator).to(self.device)
        order = np.random.default_rng(self.seed).permutation(len(rows))
        count = min(max(round(self.validation * len(rows)), 1), len(rows) - 1)  # at least one of each
        train, judged = (rows[torch.from_numpy(i)].to(self.device) for i in (order[count:], order[:count]))
        optimizer = torch.optim.AdamW(network.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        batch_size = min(self.batch_size, -(-len(train) // FEWEST_BATCHES))
        advance = self.begin("epochs of the flow", self.max_epochs)
        best, best_weights, best_epoch = _loss(network, judged), deepcopy(network.state_dict()), -1
        for epoch in range(self.max_epochs):
            network.train()
            shuffled = torch.randperm(len(train), generator=generator, device=self.device)
            for batch in torch.split(shuffled, batch_size):
                optimizer.zero_grad()
                (-network().log_prob(train[batch]).mean()).backward()
                nn.utils.clip_grad_norm_(network.parameters(), 10.0)
                optimizer.step()
            loss = _loss(network, judged)
            if not math.isfinite(loss):
                raise LsamplerError(
                    f"{self.name}: training diverged in epoch {epoch + 1}; "
                    f"use a smaller `learning_rate={self.learning_rate / 10:g}`"
                )
            if loss < best:
                best, best_weights, best_epoch = loss, deepcopy(network.state_dict()), epoch
            advance(1)
            if epoch - best_epoch >= self.patience:
                advance(self.max_epochs - epoch - 1)
                break
        network.load_state_dict(best_weights)
        base = _base(network, judged)[0].double()
        # Vectors that the network was not trained on lie some per cent further out; without this factor samples lie
        # too close to the centre. With PRIOR_VALUES more values of 1, few vectors hardly change it.
        return best_weights, math.sqrt((PRIOR_VALUES + float(base.square().sum())) / (PRIOR_VALUES + base.numel()))

    def _network(self, dimension: int, generator: torch.Generator | None = None) -> Any:
        """The flow, near the identity; always the same weights."""
        flows = _zuko().flows
        make = flows.MAF if self.kind == "masked-autoregressive" else flows.NSF
        with _InitialWeights(self.seed):
            network = make(
                dimension,
                transforms=self.layers,
                hidden_features=(self.hidden,),
                activation=lambda: _Activation(self.dropout, generator),
            )
        with torch.no_grad():
            for transform in network.transform.transforms:
                # In one dimension there is no network.
                last = transform.hyper[-1] if hasattr(transform, "hyper") else transform
                for parameter in last.parameters():
                    parameter.mul_(0.01)
        return network

    def _restored(self, state: Mapping[str, Tensor]) -> Any:
        network = self._network(len(state["turn"]))
        weights = {key.removeprefix(WEIGHTS): value for key, value in state.items() if key.startswith(WEIGHTS)}
        network.load_state_dict(weights, assign=True)
        return network.eval()

    def draw_white(self, state: Mapping[str, Tensor], block: Block, q: int) -> Tensor:
        with torch.no_grad():
            rows = inverse(self._restored(state), state["spread"] * block.normal(q))
        return outwards(rows @ state["turn"], state["radial"])

    def white_log_density(self, state: Mapping[str, Tensor], white: Tensor) -> Tensor:
        rows, log_derivative = inwards(white, state["radial"])
        base, moved = _base(self._restored(state), rows @ state["turn"].T)
        x = base / state["spread"]
        density: Tensor = -0.5 * (x * x).sum(dim=1) + moved + log_derivative
        return density - white.shape[1] * (state["spread"] * ROOT).log()


class _InitialWeights(TorchFunctionMode):
    """Networks built in this context, by this thread, get their weights from a generator of their own."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.__name__ in ("uniform_", "kaiming_uniform_", "normal_", "randn"):
            kwargs = {**(kwargs or {}), "generator": self.generator}
        return function(*args, **(kwargs or {}))


class _Activation(nn.Module):
    """log(1 + x^2) with dropout: the spread of a coordinate depends on the size of others more than on their sign."""

    def __init__(self, dropout: float, generator: torch.Generator | None) -> None:
        super().__init__()
        self.dropout, self.generator = dropout, generator

    def forward(self, x: Tensor) -> Tensor:
        y = torch.log1p(x * x)
        if not self.training or not self.dropout:
            return y
        # nn.Dropout would draw from torch's global generator.
        kept = torch.rand(y.shape, generator=self.generator, device=y.device) >= self.dropout
        return y * kept / (1 - self.dropout)


def inverse(network: Any, rows: Tensor) -> Tensor:
    """Base vectors (n, q) through the inverse flow, (n, q).

    zuko evaluates the whole network for every coordinate. Here each hidden unit is evaluated once, when the
    last coordinate that it depends on is known, which at D = 256 is 30 times as fast.
    """
    for transform in reversed(network.transform.transforms):
        rows = _inverse(transform, rows.T).T if hasattr(transform, "hyper") else transform().inv(rows)
    return rows


def _inverse(transform: Any, y: Tensor) -> Tensor:
    unpack = _zuko().utils.unpack
    first, activation, last = transform.hyper
    into, out = first.mask * first.weight, last.mask * last.weight
    ready = torch.where(first.mask, transform.order, -1).amax(dim=1)
    x, hidden = torch.zeros_like(y), y.new_zeros(len(into), y.shape[1])
    for step, i in enumerate(transform.order.argsort().tolist()):
        own = slice(i * transform.total, (i + 1) * transform.total)
        phi = torch.addmm(last.bias[own, None], out[own], hidden)
        x[i] = transform.univariate(*unpack(phi.T, transform.shapes)).inv(y[i])
        units = (ready == step).nonzero()[:, 0]
        hidden[units] = activation(torch.addmm(first.bias[units, None], into[units], x))
    return x


def radial_map(radii: NDArray[np.float64], dimension: int) -> NDArray[np.float64]:
    """(log of the smallest radius, exponent s, log of a factor a) of the map r -> a r^s.

    The mean and variance of log r become those of a normal's radius. If the tails are no heavier
    than a normal's, the map is the identity. Below the smallest radius it is linear, so that the density
    stays finite at the centre.
    """
    from scipy.special import digamma, polygamma

    logs = np.log(radii[radii > 0])
    spread = float(logs.std())
    normal = math.sqrt(polygamma(1, dimension / 2)) / 2
    if spread <= normal:
        return np.array([logs.min(), 1.0, 0.0])
    exponent = normal / spread
    mean = (digamma(dimension / 2) + math.log(2)) / 2
    return np.array([logs.min(), exponent, mean - exponent * logs.mean()])


def inwards(rows: Tensor, radial: Tensor) -> tuple[Tensor, Tensor]:
    """Whitened rows (n, q) -> rows of a normal's radii, and the log of the map's derivative (n,)."""
    least, exponent, factor = radial
    log_radius = torch.log(rows.norm(dim=1))
    log_factor = factor + (exponent - 1) * log_radius.clamp(min=least)
    stretch = torch.where(log_radius >= least, torch.log(exponent), 0.0)
    return rows * log_factor.exp()[:, None], rows.shape[1] * log_factor + stretch


def outwards(rows: Tensor, radial: Tensor) -> Tensor:
    """The inverse of :func:`inwards`."""
    least, exponent, factor = radial
    log_radius = torch.log(rows.norm(dim=1)).clamp(min=factor + exponent * least)
    moved: Tensor = rows * ((1 / exponent - 1) * log_radius - factor / exponent).exp()[:, None]
    return moved


def _base(network: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (n, q) through the flow, to base vectors (n, q), and the log of its derivative (n,)."""
    network.eval()
    with torch.no_grad():
        parts = [network().transform.call_and_ladj(part) for part in torch.split(rows, 1024)]
    return torch.cat([base for base, _ in parts]), torch.cat([moved for _, moved in parts])


def _loss(network: Any, rows: Tensor) -> float:
    base, moved = _base(network, rows)
    return float((0.5 * base.square().sum(dim=1) - moved).double().mean())


def _zuko() -> Any:
    return require_extra("zuko", extra="flow", user="flow")


lsampler_samplers = offers(Flow)
