"""One seed, one result: rows come in fixed blocks, each with generators of its own.

Block ``k`` of seed ``s`` is always drawn whole, from generators seeded by (s, k). So the rows do
not depend on how many are asked for, on the batch size or on the number of threads.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lsampler.compute.ahead import ahead
from lsampler.errors import LsamplerError

__all__ = ["BLOCK_ROWS", "Block", "draw_blocks", "resolve_device"]

Item = TypeVar("Item")
BLOCK_ROWS = 2048
MANY = 1 << 15
MANTISSA_BITS = 24
AHEAD = 2


class Block:
    """Rows to draw, and the random numbers to draw them with.

    All methods return float32 tensors of shape (rows, ...shape) on the block's device.

    Attributes:
        start: index of the block's first row.
        rows: how many rows to draw; the same for every block.
        device: where the result belongs.
    """

    def __init__(self, seed: int, index: int, device: torch.device) -> None:
        self.start = index * BLOCK_ROWS
        self.rows = BLOCK_ROWS
        self.device = device
        self._seeds = [seed % (1 << 32), index]
        if seed >> 32:  # NumPy takes the words of all numbers as one list
            self._seeds += [0, 0, seed >> 32]
        sequence = np.random.SeedSequence(self._seeds)
        # On the CPU NumPy draws uniforms three times as fast as torch, torch normals twice as fast.
        self._numpy = np.random.Generator(np.random.SFC64(sequence))
        self._torch = torch.Generator(device)
        self._torch_seeded = False

    def uniform(self, *shape: int, low: float | Tensor = 0.0, high: float | Tensor = 1.0) -> Tensor:
        """Independent uniforms on [low, high); tensors are bounds for each of the last entries of ``shape``."""
        drawn, unit = self._counts((self.rows, *shape))
        if isinstance(low, float) and isinstance(high, float) and (low, high) == (0.0, unit):
            return drawn
        drawn.mul_((high - low) / unit)
        return drawn if isinstance(low, float) and low == 0.0 else drawn.add_(low)

    def _counts(self, size: tuple[int, ...]) -> tuple[Tensor, int]:
        """Uniforms, and what stands for 1 in them."""
        if self.device.type != "cpu":
            return torch.rand(size, generator=self.generator, device=self.device), 1
        if math.prod(size) < MANY:
            return torch.from_numpy(self._numpy.random(size, dtype=np.float32)), 1
        # The same numbers, bit for bit; NumPy would take them from the generator one by one, and twice the time.
        bits = self._numpy.integers(0, 1 << 64, math.prod(size) // 2, dtype=np.uint64).view(np.uint32)
        np.right_shift(bits, 32 - MANTISSA_BITS, out=bits)
        return torch.from_numpy(bits.view(np.int32).astype(np.float32)).view(size), 1 << MANTISSA_BITS

    def normal(self, *shape: int) -> Tensor:
        """Independent standard normals."""
        return torch.randn((self.rows, *shape), generator=self.generator, device=self.device)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Independent integers (int64), uniform on 0 .. high - 1."""
        return torch.randint(high, (self.rows, *shape), generator=self.generator, device=self.device)

    def categories(self, weights: Tensor) -> Tensor:
        """Independent integers (rows,) int64, k with a probability in proportion to ``weights[k]``."""
        heaps = weights.double().cumsum(0) if weights.device.type != "mps" else weights.cumsum(0)
        found = torch.searchsorted(heaps, self.uniform().to(heaps.dtype) * heaps[-1], right=True)
        return found.clamp_(max=len(weights) - 1)

    @property
    def generator(self) -> torch.Generator:
        """For torch functions that take ``generator=``, on :attr:`device`."""
        if not self._torch_seeded:  # when first used: it takes as long as drawing 10,000 numbers
            sequence = np.random.SeedSequence(self._seeds, spawn_key=(0,))
            self._torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
            self._torch_seeded = True
        return self._torch


def draw_blocks(
    draw: Callable[[Block], Tensor],
    after: Callable[[Tensor], Item],
    rows: int,
    *,
    seed: int,
    device: torch.device,
    threads: int | None = None,
    start: int = 0,
) -> Iterator[Item]:
    """What ``after`` makes of rows ``start`` to ``start + rows``, block by block, in order.

    Blocks are drawn ahead, a few at a time, while the caller is at work with those before.
    """
    if seed < 0:
        raise LsamplerError(f"seed {seed} is negative; give a whole number from 0")
    if start % BLOCK_ROWS:
        raise LsamplerError(f"start {start}: rows are drawn in blocks, give a multiple of {BLOCK_ROWS}")
    first = start // BLOCK_ROWS
    blocks = (Block(seed, first + index, device) for index in range(-(-rows // BLOCK_ROWS)))

    def work(block: Block) -> Item:
        return after(draw(block)[: start + rows - block.start])

    return _worked_ahead(work, blocks, _thread_count(threads, device, rows))


def _worked_ahead(work: Callable[[Block], Item], blocks: Iterator[Block], threads: int) -> Iterator[Item]:
    if threads == 1:
        for block in blocks:
            with _one_thread_per_kernel():
                item = work(block)
            yield item
        return
    before = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=_one_thread_from_here) as pool:
        try:
            yield from ahead(lambda block: pool.submit(work, block), blocks, AHEAD * threads)
        finally:
            torch.set_num_threads(before)  # for threads to come; this one has kept its number


def _thread_count(threads: int | None, device: torch.device, rows: int) -> int:
    if threads is not None and threads < 1:
        raise LsamplerError(f"threads {threads}: give a whole number from 1")
    if device.type != "cpu":
        return 1
    return min(threads or os.cpu_count() or 1, max(1, -(-rows // BLOCK_ROWS)))


def _one_thread_from_here() -> None:
    # torch keeps the number by thread, but a thread's first look at it takes over the last one set anywhere.
    torch.get_num_threads()
    torch.set_num_threads(1)


@contextlib.contextmanager
def _one_thread_per_kernel() -> Iterator[None]:
    """Matrix products split over threads may round differently: keep each on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def resolve_device(name: str | torch.device) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``mps`` -> a device that is there.

    Raises:
        LsamplerError: the name is unknown, or this machine has no such device.
    """
    if isinstance(name, torch.device):
        return name
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind = name.split(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind not in there:
        raise LsamplerError(f"device '{name}' is unknown; use auto, cpu, cuda or mps")
    if not there[kind]:
        raise LsamplerError(f"device '{name}' is not available on this machine; use --device auto")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise LsamplerError(f"device '{name}' is unknown; use auto, cpu, cuda or mps") from error
