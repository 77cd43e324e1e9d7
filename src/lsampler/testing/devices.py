"""Checks without a GPU whether a draw would run on one, and lists the GPUs of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lsampler.compute.seeded_blocks import Block

PRETENDED = torch.device("cpu", 0)
"""The CPU under another name than the ``cpu`` on which tensors are made by default."""
MOVES = {"to", "cpu", "type_as", "copy_", "__getitem__", "__setitem__"}
RANDOM = {"uniform", "normal", "integers", "categories", "generator"}
THERE, UNKNOWN, ELSEWHERE = "there", "unknown", "elsewhere"
LEAVES_TORCH = {"numpy", "__array__"}


class OneDevice(TorchFunctionMode):
    """Tracks which tensors would be on the device, and notes operations that mix them with others as ``problems``.

    Tensors on the device are the given ones, those made with ``device=block.device``, and what is
    computed from them. Numbers (0-dimensional tensors) may be anywhere, as with CUDA.
    """

    def __init__(self, there: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.problems: list[str] = []
        self._paused = False
        for tensor in there.values():
            tensor.place = THERE  # type: ignore[attr-defined]

    def marking(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The same function, whose operations are not tracked, and whose result is on the device."""

        def call(*args: Any, **kwargs: Any) -> Tensor:
            before, self._paused = self._paused, True
            try:
                result = function(*args, **kwargs)
                result.place = THERE  # type: ignore[attr-defined]
                return result
            finally:
                self._paused = before

        return call

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        given = list(_tensors((*args, *kwargs.values())))
        places = set(map(_place, given))
        if func == Tensor.device.__get__:
            return PRETENDED if THERE in places else func(*args, **kwargs)
        name = getattr(func, "__name__", str(func))
        if THERE in places and name in LEAVES_TORCH:
            self.problems.append(f"{name}() of a tensor of the device; write .cpu() before it, or stay in torch")
        if THERE in places and name not in MOVES and any(_place(one) == ELSEWHERE and one.ndim for one in given):
            self.problems.append(f"{name}() of a tensor of the device and one made without device=block.device")
        target = _target(name, args, kwargs)
        result = func(*args, **kwargs)
        if target and given and result is given[0]:
            result = result.view_as(result)  # torch copied nothing, but the result has a place of its own
        for tensor in _tensors((result,)):
            tensor.place = target or next((place for place in (THERE, UNKNOWN) if place in places), ELSEWHERE)  # type: ignore[attr-defined]
        return result


def _place(tensor: Tensor) -> str:
    # Where .to() has put a module's parameters, and what is computed from them alone, is not tracked.
    return getattr(tensor, "place", UNKNOWN if isinstance(tensor, nn.Parameter) else ELSEWHERE)


def _target(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Where the result is sent; None if it stays where it is."""
    if name == "cpu":
        return ELSEWHERE
    for value in (kwargs.get("device"), *(args[1:] if name in ("to", "type_as") else ())):
        if isinstance(value, Tensor):
            return _place(value)
        if isinstance(value, (str, torch.device)):
            return THERE if torch.device(value) == PRETENDED else ELSEWHERE
    return None


class WatchedBlock(Block):
    """Records whether it is asked for random numbers, and marks them as tensors of the device."""

    def __init__(self, seed: int, index: int, mode: OneDevice | None = None) -> None:
        super().__init__(seed, index, PRETENDED if mode else torch.device("cpu"))
        self.used, self._mode = False, mode

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in RANDOM:
            return found
        self.used = True
        return self._mode.marking(found) if self._mode and callable(found) else found


def accelerators() -> list[str]:
    """The names of the GPUs of this machine."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [name for name, there in found.items() if there]


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())
