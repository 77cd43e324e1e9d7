"""Rows per second of the strategies, beside raw random numbers, libraries, and the loop that post X describes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.mixture import GaussianMixture

from benchmarks.measuring import DIMENSION, Row, Settings, in_turn, own_process
from lsampler import load_sampler
from lsampler.plugins import plugin_names
from lsampler.samplers import LatentSampler
from lsampler.store import MemoryStore

COMPONENTS = 120
LOOP_ROWS = 60
ROWS = 800_000
PEER_ROWS = 200_000
OTHER_ROWS = 100_000
BLOCK = 2048
THREADS = os.cpu_count() or 1

Latents = NDArray[np.float32]


def latents(rows: int = 5000) -> Latents:
    """Correlated normal vectors around a centre that is not the origin."""
    rng = np.random.default_rng(1)
    mixed = rng.normal(size=(rows, DIMENSION)) @ rng.normal(size=(DIMENSION, DIMENSION)) / 16
    return (mixed + rng.normal(size=DIMENSION)).astype(np.float32)


def fitted(name: str, **parameters: object) -> LatentSampler:
    """The strategy, fitted to :func:`latents`."""
    return load_sampler(name, **parameters).fit(MemoryStore(latents()))


def draw(sampler: LatentSampler, rows: int, device: str = "cpu") -> None:
    """Draw the rows and drop them, block by block."""
    for _ in sampler.stream(rows, device=device):
        pass


def once(name: str, rows: int) -> None:
    """For a process whose memory is measured."""
    draw(fitted(name), rows)


def on_threads(block: Callable[[int], object], rows: int) -> None:
    """Run ``block`` for every block of rows, on as many threads as lsampler uses."""
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(block, range(rows // BLOCK)):
            pass


def raw_uniform(rows: int) -> None:
    """Float32 uniforms by NumPy's default generator, each block a new array."""
    on_threads(lambda block: np.random.default_rng(block).random((BLOCK, DIMENSION), dtype=np.float32), rows)


def raw_normal_and_product(rows: int, drawn: torch.Tensor, axes: torch.Tensor, product: torch.Tensor) -> None:
    """The limit of a multivariate normal: torch's normals on all threads, then one product of their size."""

    def normals(block: int) -> None:
        torch.randn(BLOCK, DIMENSION, generator=torch.Generator().manual_seed(block))

    on_threads(normals, rows)
    torch.mm(drawn, axes, out=product)


def pairwise_loop(
    rows: int, half_axes: NDArray[np.float64], axes: NDArray[np.float64], mean: NDArray[np.float64]
) -> object:
    """Post X, vector by vector and pair by pair: each interval is the smallest that the ellipses leave."""
    rng = np.random.default_rng(0)
    result = np.empty((rows, len(mean)))
    for row in range(rows):
        v = np.zeros(len(half_axes))
        drawn: list[int] = []
        for j in rng.permutation(len(half_axes)):
            limit = half_axes[j]
            for i in drawn:
                limit = min(limit, half_axes[j] * (1 - (v[i] / half_axes[i]) ** 2) ** 0.5)
            v[j] = rng.uniform(-limit, limit)
            drawn.append(j)
        result[row] = mean + v @ axes
    return result


def measure(settings: Settings) -> Iterator[Row]:
    """The rows of all strategies."""
    yield from _uniform(settings)
    yield _normal(settings)
    yield _normal_bound(settings)
    yield from _ellipse(settings)


def _uniform(settings: Settings) -> Iterator[Row]:
    rows = settings.rows(ROWS) // (BLOCK * THREADS) * (BLOCK * THREADS)
    for name in ("uniform-cube", "component-uniform"):
        sampler = fitted(name)
        ours, theirs = in_turn([partial(draw, sampler, rows), partial(raw_uniform, rows)], 3 * settings.repeats)
        yield Row(
            name,
            f"numpy's default generator, raw float32 uniforms on {THREADS} threads",
            ours,
            theirs,
            rows,
            target=0.7,
            memory_mb=own_process("sampling", f"once({name!r}, {rows})").peak_mb,
            limit="the generator (SFC64) and three passes over its numbers",
        )


def _normal(settings: Settings) -> Row:
    rows, peer_rows = settings.rows(ROWS), settings.rows(PEER_ROWS)
    data = latents().astype(np.float64)
    mean, covariance = data.mean(axis=0), np.cov(data, rowvar=False)
    scipys = stats.multivariate_normal(mean, covariance, seed=0)
    learns = GaussianMixture(1, random_state=0)
    learns.weights_, learns.means_, learns.covariances_ = np.ones(1), mean[np.newaxis], covariance[np.newaxis]
    torchs = torch.distributions.MultivariateNormal(
        torch.from_numpy(mean).float(), torch.from_numpy(covariance).float()
    )
    runs: list[Callable[[], object]] = [
        partial(draw, fitted("multivariate-normal"), rows),
        lambda: scipys.rvs(peer_rows),
        lambda: learns.sample(peer_rows),
        lambda: torchs.sample((peer_rows,)),
    ]
    ours, *peers = in_turn(runs, settings.repeats)
    return Row(
        "multivariate-normal",
        "the best of scipy, scikit-learn and torch.distributions",
        ours,
        [min(times) for times in zip(*peers, strict=True)],
        rows,
        peer_amount=peer_rows,
        target=2.0,
        memory_mb=own_process("sampling", f"once('multivariate-normal', {rows})").peak_mb,
        limit="normal random numbers",
    )


def _normal_bound(settings: Settings) -> Row:
    rows, peer_rows = settings.rows(ROWS), settings.rows(PEER_ROWS) // BLOCK * BLOCK
    sampler = fitted("multivariate-normal")
    drawn, axes = torch.randn(peer_rows, DIMENSION), torch.randn(DIMENSION, DIMENSION)
    product = torch.empty(peer_rows, DIMENSION)
    runs = [partial(draw, sampler, rows), partial(raw_normal_and_product, peer_rows, drawn, axes, product)]
    ours, theirs = in_turn(runs, settings.repeats)
    return Row(
        "multivariate-normal",
        f"torch's normals on {THREADS} threads, then one float32 product",
        ours,
        theirs,
        rows,
        peer_amount=peer_rows,
        target=0.6,
        limit="normal random numbers",
    )


def _ellipse(settings: Settings) -> Iterator[Row]:
    """The loop beside pca-ellipse, and beside every other strategy for comparison."""
    rows = settings.rows(ROWS)
    pca = MemoryStore(latents()).statistics(1.7).pca
    half_axes = 0.7 * 2.3548 * np.sqrt(pca.variances[:COMPONENTS])
    loop = partial(pairwise_loop, LOOP_ROWS, half_axes, pca.axes[:COMPONENTS], pca.mean)
    steps: list[tuple[str, dict[str, object]]] = [
        ("pca-ellipse", {"components": COMPONENTS, "method": "exact"}),
        ("pca-ellipse", {"components": COMPONENTS, "method": "iteration"}),
        *((name, {}) for name in plugin_names("sampler") if name != "pca-ellipse"),
    ]
    amounts = [rows, *[settings.rows(OTHER_ROWS)] * (len(steps) - 1)]
    runs = [partial(draw, fitted(name, **given), few) for (name, given), few in zip(steps, amounts, strict=True)]
    theirs, *times = in_turn([loop, *runs], settings.repeats)
    for (name, parameters), amount, ours in zip(steps, amounts, times, strict=True):
        exact = parameters.get("method") == "exact"
        label = " ".join([name, *(f"{key}={value}" for key, value in parameters.items())])
        yield Row(
            label,
            f"the pairwise loop of post X, q = {COMPONENTS}",
            ours,
            theirs,
            amount,
            peer_amount=LOOP_ROWS,
            target=2000.0 if exact else None,
            memory_mb=own_process("sampling", f"once('pca-ellipse', {rows})").peak_mb if exact else None,
            limit="random numbers and one product of (2048, q) with (q, D)" if exact else "",
        )
