"""Networks that tell draws from real vectors, and the logarithm of the density ratio that they estimate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

HIDDEN = (256, 128)
DROPOUT, LEARNING_RATE, WEIGHT_DECAY, BATCH = 0.5, 1e-3, 2e-2, 256
LEADING = 32
"""Principal components whose products networks see."""
MANY_FEATURES = 128
"""With fewer features there is less to overfit, and dropout falls in proportion."""
FAKES = 2
"""So many draws for every real row of a step."""
FOLDS = 10
LOOKS, PATIENCE = 30, 8
"""So often a training is validated, and so many times without a larger area end it."""
APPLIED = 8192


@dataclass
class Discriminator:
    """A network with two hidden layers whose output is the log odds that a row is real.

    Attributes:
        weights: of each layer (inputs + 1, outputs); the last row holds the biases.
    """

    weights: list[Tensor]

    @classmethod
    def fresh(cls, inputs: int, generator: torch.Generator, device: torch.device) -> Discriminator:
        """One that is not trained yet."""
        made = []
        for width, following in itertools.pairwise((inputs, *HIDDEN, 1)):
            start = torch.rand((width + 1, following), generator=generator) * 2 - 1
            made.append((start * width**-0.5).to(device).requires_grad_())
        return cls(made)

    def __call__(self, rows: Tensor, dropout: Callable[[Tensor], Tensor] = lambda rows: rows) -> Tensor:
        """The log odds (n,) of features (n, k)."""
        for index, weights in enumerate(self.weights):
            rows = torch.addmm(weights[-1], rows, weights[:-1])
            if index < len(HIDDEN):
                rows = dropout(torch.nn.functional.gelu(rows))
        return rows[:, 0]


def features(white: Tensor) -> Tensor:
    """Whitened rows (n, q) -> the rows, their squares, their radius, and products of leading components (n, k).

    All have a spread of about 1. Dependence between components shows in the products, which a network that sees the
    rows alone has to find.
    """
    radius = white.norm(dim=1, keepdim=True) - math.sqrt(white.shape[1])
    leading = min(white.shape[1], LEADING)
    first, second = torch.triu_indices(leading, leading, offset=1, device=white.device)
    products = white[:, first] * white[:, second]
    return torch.cat([white, (white.square() - 1) / math.sqrt(2), radius, products], dim=1)


def log_ratio(networks: list[Discriminator], white: Tensor) -> Tensor:
    """The mean log odds (n,) of several networks at whitened rows (n, q)."""
    found = []
    with torch.no_grad():
        for part in torch.split(white, APPLIED):
            seen = features(part)
            found.append(torch.stack([network(seen) for network in networks]).mean(dim=0))
    return torch.cat(found)


@dataclass(frozen=True)
class Trained:
    """A network, and how well it tells vectors apart that it has not seen: the area under the ROC curve."""

    network: Discriminator
    area: float


def train(real: Tensor, fake: Tensor, *, number: int, steps: int, seed: int) -> Iterator[Trained]:
    """Networks that tell real rows (n, q) from drawn ones (m, q), each validated on another tenth of both.

    Each keeps the weights with the largest area of thirty looks, and ends when that has not risen for eight of them.
    """
    order = torch.from_numpy(np.random.default_rng([seed, 0]).permutation(len(real)))
    folds = torch.tensor_split(order, max(FOLDS, number))
    fakes = torch.tensor_split(torch.arange(len(fake)), max(FOLDS, number))
    seen, drawn = features(real), features(fake)
    for index in range(number):
        kept, kept_fake = (torch.ones(len(rows), dtype=torch.bool) for rows in (real, fake))
        kept[folds[index]] = False
        kept_fake[fakes[index]] = False
        yield _train(
            (seen[kept], drawn[kept_fake]),
            (seen[~kept], drawn[~kept_fake]),
            steps,
            np.random.SeedSequence([seed, index]),
        )


def _train(
    learn: tuple[Tensor, Tensor], judge: tuple[Tensor, Tensor], steps: int, seed: np.random.SeedSequence
) -> Trained:
    generator = torch.Generator().manual_seed(int(seed.generate_state(1)[0]))
    real, fake = learn
    network = Discriminator.fresh(real.shape[1], generator, real.device)
    optimizer = torch.optim.AdamW(network.weights, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    left_out = DROPOUT * min(1.0, real.shape[1] / MANY_FEATURES)

    def dropout(rows: Tensor) -> Tensor:
        kept = torch.rand(rows.shape, generator=generator) >= left_out
        return rows * kept.to(rows.device) / (1 - left_out)

    best, weights, since = -1.0, [weight.detach().clone() for weight in network.weights], 0
    batches = _batches(len(real), generator)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        batch = next(batches)
        others = torch.randint(len(fake), (FAKES * len(batch),), generator=generator)
        odds = network(torch.cat([real[batch], fake[others]]), dropout)
        softplus = torch.nn.functional.softplus
        loss = softplus(-odds[: len(batch)]).mean() + softplus(odds[len(batch) :]).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if (step + 1) % max(1, steps // LOOKS):
            continue
        with torch.no_grad():
            area = _area(network(judge[0]), network(judge[1]))
        if area > best:
            best, weights, since = area, [weight.detach().clone() for weight in network.weights], 0
        else:
            since += 1
            if since >= PATIENCE:
                break
    return Trained(Discriminator(weights), best)


def _batches(count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The numbers of rows in random order, over and over."""
    while True:
        yield from torch.split(torch.randperm(count, generator=generator), BATCH)


def _area(real: Tensor, fake: Tensor) -> float:
    """The area under the ROC curve: P(a real row gets larger odds than a drawn one)."""
    from sklearn.metrics import roc_auc_score

    labels = np.repeat([1, 0], [len(real), len(fake)])
    return float(roc_auc_score(labels, torch.cat([real, fake]).double().cpu().numpy()))


def threshold(log_ratios: Tensor, accept: float) -> float:
    """The c for which the mean of min(1, exp(log ratio - c)) is ``accept``, by bisection; at most the largest ratio.

    With that one, rejection is exact, and a smaller share would gain nothing.
    """
    values = log_ratios.double()
    low, high = float(values.min()) - 40.0, float(values.max())
    for _ in range(100):
        middle = (low + high) / 2
        if float((values - middle).exp().clamp(max=1).mean()) > accept:
            low = middle
        else:
            high = middle
    return (low + high) / 2
