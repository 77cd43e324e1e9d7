"""Whether a strategy that was fitted with labels draws under conditions, and has a density under them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lsampler.compute.seeded_blocks import BLOCK_ROWS
from lsampler.samplers.base import LatentSampler
from lsampler.samplers.density import as_tensors
from lsampler.store.memory_store import MemoryStore
from lsampler.testing.checks import CPU, require, works_or_refuses

LABEL, WITH, WITHOUT = "marked", "marked=1", "marked=0"
EFFECT = 3.0
"""What the label adds to the widest component, in units of its spread."""
OWN = "do not override fit(), sample(), stream() or log_prob()"


def with_a_label(store: MemoryStore) -> tuple[MemoryStore, NDArray[np.float64]]:
    """The vectors with a binary label that moves every second one, and its least-squares effect (D,)."""
    rows, held_out = (part.astype(np.float64) for part in (store.latents(), store.held_out()))
    widest = int(rows.std(axis=0).argmax())
    marks = [np.arange(len(part)) % 2 for part in (rows, held_out)]
    for part, mark in zip((rows, held_out), marks, strict=True):
        part[:, widest] += EFFECT * store.statistics().std[widest] * mark
    moved = [part.astype(np.float32) for part in (rows, held_out)]
    effect = moved[0][marks[0] == 1].mean(axis=0, dtype=np.float64) - moved[0][marks[0] == 0].mean(
        axis=0, dtype=np.float64
    )
    found = MemoryStore(*moved, labels={LABEL: np.concatenate(marks)}, name=store.name, fingerprint=store.fingerprint)
    return found, effect


def require_conditions(sampler: LatentSampler, effect: NDArray[np.float64]) -> None:
    """Raise AssertionError unless a strategy that was fitted with a label draws under it, and keeps it in a file."""
    many = sampler.sample(BLOCK_ROWS + 9, seed=3, where=WITH)
    again = sampler.sample(20, seed=3, where=WITH)
    require(torch.equal(again, many[:20]), f"under {WITH}, sample(20) is not the head of a longer draw; {OWN}")
    apart = (many - sampler.sample(len(many), seed=3, where=WITHOUT)).double().numpy()
    slack = 1e-4 * np.abs(effect).max()
    moved = f"draws under {WITH} differ from those under {WITHOUT} by {apart.mean(axis=0)[np.abs(effect).argmax()]:.3g}"
    expected = f"the label's effect is {effect[np.abs(effect).argmax()]:.3g}"
    require((np.abs(apart - effect) < slack + 1e-5 * np.abs(many.numpy())).all(), f"{moved}, {expected}; {OWN}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fitted.safetensors"
        sampler.save(path)
        loaded = type(sampler).load(path)
    same = torch.equal(loaded.sample(20, seed=3, where=WITH), again)
    require(same and loaded.note() == sampler.note(), f"loaded it draws others under {WITH}; do not override load()")
    if sampler.has_density() and works_or_refuses("log_prob()", lambda: sampler.log_prob(many[:2])) is not None:
        _require_density(sampler, many[:50].numpy(), effect)


def _require_density(sampler: LatentSampler, rows: NDArray[Any], effect: NDArray[np.float64]) -> None:
    """That of all vectors is the mean of those with and without the label, and a moved one that of moved vectors."""
    each = [sampler.log_prob(rows, where=where) for where in (WITHOUT, WITH)]
    whole, expected = sampler.log_prob(rows), np.logaddexp(*each) - np.log(2)
    same = np.allclose(whole, expected, rtol=1e-6, atol=1e-4)
    require(same, f"log_prob() is not the mean of those under {WITH} and {WITHOUT}; {OWN}")
    state, z = as_tensors(sampler.state, CPU, torch.float64), torch.from_numpy(rows.astype(np.float64))
    moves = torch.from_numpy(np.outer([0.0, 0.5], effect))
    with torch.no_grad():
        found = sampler.moved_log_density(state, z, moves).numpy()
        own = np.stack([sampler.log_density(state, z - move).double().numpy() for move in moves])
    require(found.shape == own.shape, f"moved_log_density() gave {found.shape} for 2 moves, expected {own.shape}")
    differ = "moved_log_density() differs from log_density() of moved vectors; correct it, or leave it out"
    require(np.allclose(found, own, rtol=1e-6, atol=1e-6), differ)
