"""The state that all threads of a process share, and whether a plugin changes it."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

UNLIKELY_SEED = 3_141_592_653
ADVICE = "use block, or a generator of its own whose seed is a parameter, and leave the settings of the process alone"
SETTERS = (
    (os, "umask"),
    (random, "seed"),
    (random, "setstate"),
    (np.random, "seed"),
    (np.random, "set_state"),
    (torch, "manual_seed"),
    (torch, "set_rng_state"),
    (torch, "set_num_threads"),
    (torch, "set_default_dtype"),
)


def process_state() -> dict[str, object]:
    """What a plugin may not change, as values that can be compared."""
    legacy: Any = np.random.get_state()  # noqa: NPY002
    with ThreadPoolExecutor(1) as pool:  # torch keeps the number by thread, and another one for new threads
        threads = torch.get_num_threads(), pool.submit(torch.get_num_threads).result()
    return {
        "numpy's global random state": (legacy[1].tobytes(), legacy[2:]),
        "torch's global random state": torch.get_rng_state().numpy().tobytes(),
        "Python's global random state": random.getstate(),
        "torch's default type": torch.get_default_dtype(),
        "torch's number of threads": threads,
        "torch's gradient mode": torch.is_grad_enabled(),
        "numpy's error handling": tuple(sorted(np.geterr().items())),
    }


@contextlib.contextmanager
def leaves_process_state(what: str) -> Iterator[None]:
    """Raise AssertionError if the body sets what all threads share, even if it restores it afterwards."""
    with other_global_seeds(UNLIKELY_SEED):  # a body that seeds with 0 what was seeded with 0 would go unnoticed
        before = process_state()
        with calls_of(SETTERS) as called:
            yield
        after = process_state()
    problems = [f"changes {name}" for name, state in before.items() if after[name] != state]
    problems += [f"calls {name}(), which other threads notice" for name in called]
    if problems:
        raise AssertionError(f"{what} {problems[0]}; {ADVICE}")


@contextlib.contextmanager
def calls_of(targets: Iterable[tuple[ModuleType, str]]) -> Iterator[list[str]]:
    """The names of those functions and classes (module, name) that the body calls."""
    called: list[str] = []
    with contextlib.ExitStack() as stack:
        for owner, name in targets:
            stack.enter_context(patch.object(owner, name, _recorded(getattr(owner, name), name, called)))
        yield called


def _recorded(original: Any, name: str, called: list[str]) -> Any:
    """A stand-in that notes each call; isinstance() treats it as the original."""

    class StandIn(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            called.append(name)
            return original(*args, **kwargs)

        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(original, type) and isinstance(value, original)

    return StandIn(name, (), {})


@contextlib.contextmanager
def other_global_seeds(seed: int) -> Iterator[None]:
    """Seed all global generators, and restore them afterwards."""
    before = np.random.get_state(), torch.get_rng_state(), random.getstate()  # noqa: NPY002
    try:
        np.random.seed(seed)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        yield
    finally:
        np.random.set_state(before[0])  # noqa: NPY002
        torch.set_rng_state(before[1])
        random.setstate(before[2])
