"""What checks are made of: a demand, a refusal in one line, a look at the state that belongs to everybody."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch

from lsampler.errors import LsamplerError, PluginCrash
from lsampler.testing._check import told

__all__ = ["global_state", "leaves_global_state", "other_global_seeds", "refusal", "require", "works_or_refuses"]

Result = TypeVar("Result")
LONGEST_LINE = 400
UNLIKELY_SEED = 3_141_592_653


def require(holds: object, problem: str) -> None:
    """Raise AssertionError with what was seen and the mend."""
    if not holds:
        raise AssertionError(problem)


def refusal(what: str, call: Callable[[], object], *, naming: str = "") -> str:
    """The line with which ``call()`` is refused.

    Args:
        what: is refused, for the message if it is not.
        call: has to raise LsamplerError.
        naming: a word that the line has to hold.
    """
    try:
        call()
    except LsamplerError as error:
        _require_one_line(what, error)
        require(naming in str(error), f"{what} is refused without naming '{naming}': {error}; say who refuses")
        return str(error)
    except Exception as error:
        raise AssertionError(f"{what} stops with {told(error)}; raise LsamplerError with one line instead") from error
    raise AssertionError(f"{what} is accepted; raise LsamplerError with one line that says the mend")


def works_or_refuses(what: str, call: Callable[[], Result]) -> Result | None:
    """The result, or None where it is refused in one line; nothing else may be raised."""
    try:
        return call()
    except LsamplerError as error:
        _require_one_line(what, error)
        return None
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error.__cause__
    except Exception as error:
        raise AssertionError(
            f"{what} stops with {told(error)}; let it work, or raise LsamplerError with one line that says the mend"
        ) from error


def _require_one_line(what: str, error: LsamplerError) -> None:
    if isinstance(error, PluginCrash):
        cause = error.__cause__ or error
        raise AssertionError(
            f"{what} stops with {told(cause)}; let it work, or raise LsamplerError with one line that says the mend"
        ) from cause
    text = str(error)
    require(
        text.strip() and "\n" not in text and len(text) <= LONGEST_LINE,
        f"{what} is refused with {text!r:.200}; say it in one line",
    )


def global_state() -> dict[str, object]:
    """What a plugin may not change, as values that can be compared."""
    legacy: Any = np.random.get_state()  # noqa: NPY002
    return {
        "numpy's global random state": (legacy[1].tobytes(), legacy[2:]),
        "torch's global random state": torch.get_rng_state().numpy().tobytes(),
        "Python's global random state": random.getstate(),
        "torch's default type": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "numpy's error handling": tuple(sorted(np.geterr().items())),
    }


@contextlib.contextmanager
def leaves_global_state(what: str) -> Iterator[None]:
    """Raise AssertionError if the body changes :func:`global_state`."""
    with other_global_seeds(UNLIKELY_SEED):  # who seeds with 0 what was seeded with 0 would not be seen
        before = global_state()
        yield
        after = global_state()
    for name, state in before.items():
        require(
            after[name] == state,
            f"{what} changes {name}; use block, or a generator of its own made from a seed that is a parameter",
        )


@contextlib.contextmanager
def other_global_seeds(seed: int) -> Iterator[None]:
    """Seed all global generators, and put them back afterwards."""
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
