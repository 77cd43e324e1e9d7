"""Where a seed becomes numbers: rows come in blocks, each with random generators of its own.

Block ``k`` of seed ``s`` is always drawn whole, from generators seeded by (s, k). So the rows do not depend on how
many are drawn, on the batch size or on the number of threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from lsampler.compute.engine import Threads
from lsampler.errors import LsamplerError

BLOCK_ROWS = 2048


class Block:
    """Rows to draw, and the random numbers to draw them with.

    All methods return tensors of shape (rows, ...shape) on the block's device, float32 unless they say otherwise.

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
        if seed >> 32:  # NumPy joins the words of all numbers into one list
            self._seeds += [0, 0, seed >> 32]
        # On the CPU NumPy draws uniforms three times as fast as torch, torch normals twice as fast.
        self._numpy = np.random.Generator(np.random.SFC64(np.random.SeedSequence(self._seeds)))
        self._torch = torch.Generator(device)
        self._torch_seeded = False

    def uniform(self, *shape: int, low: float | Tensor = 0.0, high: float | Tensor = 1.0) -> Tensor:
        """Independent uniforms on [low, high); tensors are bounds for each of the last entries of ``shape``."""
        drawn = self._unit((self.rows, *shape))
        if isinstance(low, Tensor) or isinstance(high, Tensor) or (low, high) != (0.0, 1.0):
            drawn.mul_(high - low)
        return drawn.add_(low) if isinstance(low, Tensor) or low != 0.0 else drawn

    def _unit(self, size: tuple[int, ...]) -> Tensor:
        if self.device.type != "cpu":
            return torch.rand(size, generator=self.generator, device=self.device)
        return torch.from_numpy(self._numpy.random(size, dtype=np.float32))

    def normal(self, *shape: int) -> Tensor:
        """Independent standard normals."""
        return torch.randn((self.rows, *shape), generator=self.generator, device=self.device)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Independent integers (int64), uniform on 0 .. high - 1."""
        return torch.randint(high, (self.rows, *shape), generator=self.generator, device=self.device)

    def categories(self, weights: Tensor) -> Tensor:
        """Independent integers (rows,) int64, k with a probability proportional to ``weights[k]``."""
        sums = weights.double().cumsum(0) if weights.device.type != "mps" else weights.cumsum(0)
        found = torch.searchsorted(sums, self.uniform().to(sums.dtype) * sums[-1], right=True)
        return found.clamp_(max=len(weights) - 1)

    def another(self, stream: int) -> np.random.Generator:
        """A generator of the block's own whose numbers, for each ``stream`` from 1, are independent of all others."""
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence(self._seeds, spawn_key=(stream,))))

    @property
    def generator(self) -> torch.Generator:
        """For torch functions that take ``generator=``, on :attr:`device`."""
        if not self._torch_seeded:  # Seeding takes as long as drawing 10,000 numbers.
            sequence = np.random.SeedSequence(self._seeds, spawn_key=(0,))
            self._torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))
            self._torch_seeded = True
        return self._torch


def draw_blocks(
    draw: Callable[[Block], Tensor],
    rows: int,
    *,
    seed: int,
    device: torch.device,
    threads: int | None = None,
    start: int = 0,
) -> Iterator[Tensor]:
    """Draw rows ``start`` to ``start + rows``, block by block, in order.

    On the CPU a few blocks are drawn ahead, in threads that run their kernels on one thread: matrix
    products on several threads may round differently.
    """
    if seed < 0:
        raise LsamplerError(f"seed={seed} is negative; give a whole number from 0")
    if start % BLOCK_ROWS:
        raise LsamplerError(f"start={start}: rows are drawn in blocks, give a multiple of {BLOCK_ROWS}")
    if threads is not None and threads < 1:
        raise LsamplerError(f"threads={threads}: give a whole number from 1")
    first = start // BLOCK_ROWS
    blocks = (Block(seed, first + index, device) for index in range(-(-rows // BLOCK_ROWS)))

    def work(block: Block) -> Tensor:
        return draw(block)[: start + rows - block.start]

    return Threads(threads).map(work, blocks) if device.type == "cpu" else map(work, blocks)


def resolve_device(name: str | torch.device) -> torch.device:
    """The device of a name, ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        LsamplerError: the name is unknown, or this machine has no such device.
    """
    if isinstance(name, torch.device):
        return name
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, available in there.items() if available))
    kind = name.split(":")[0]
    if not there.get(kind, True):
        raise LsamplerError(f"device '{name}' is not available on this machine; use `device=auto`")
    if kind in there:
        with contextlib.suppress(RuntimeError):
            return torch.device(name)
    raise LsamplerError(f"device '{name}' is unknown; use auto, cpu, cuda or mps")
