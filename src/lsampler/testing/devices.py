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
LEAVES_TORCH = {"numpy", "__array__"}


class OneDevice(TorchFunctionMode):
    """Tracks which tensors would be on the device, and records operations that mix them with others.

    Tensors on the device are the given ones, those made with ``device=block.device``, and what is
    computed from them. Numbers (0-dimensional tensors) may be anywhere, as with CUDA.

    Args:
        there: tensors that are on the device at the start.

    Attributes:
        problems: one line for each such operation.
    """

    def __init__(self, there: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.problems: list[str] = []
        self._paused = False
        # Keeps them alive, so that no other tensor gets the same id.
        self._there: dict[int, Tensor] = {id(tensor): tensor for tensor in there.values()}
        self._anywhere: dict[int, Tensor] = {}

    def mark(self, tensor: Tensor) -> Tensor:
        """Record that a tensor is on the device."""
        self._there[id(tensor)] = tensor
        return tensor

    def marking(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The same function, whose operations are not tracked, and whose result is on the device."""

        def call(*args: Any, **kwargs: Any) -> Tensor:
            before, self._paused = self._paused, True
            try:
                return self.mark(function(*args, **kwargs))
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
        there = any(id(tensor) in self._there for tensor in given)
        if func == Tensor.device.__get__:
            return PRETENDED if there else func(*args, **kwargs)
        name = getattr(func, "__name__", str(func))
        if there and name in LEAVES_TORCH:
            self.problems.append(f"{name}() of a tensor of the device; write .cpu() before it, or stay in torch")
        if there and name not in MOVES and any(self._elsewhere(tensor) for tensor in given):
            self.problems.append(f"{name}() of a tensor of the device and one made without device=block.device")
        target = self._target(name, args, kwargs)
        result = func(*args, **kwargs)
        if target is not None and given and result is given[0]:
            result = result.view_as(result)  # torch copied nothing, but the result needs an id of its own
        if there if target is None else target:
            for tensor in _tensors((result,)):
                self.mark(tensor)
        elif target is None and any(self._unknown(tensor) for tensor in given):
            self._anywhere |= {id(tensor): tensor for tensor in _tensors((result,))}
        return result

    def _elsewhere(self, tensor: Tensor) -> bool:
        return tensor.ndim > 0 and id(tensor) not in self._there and not self._unknown(tensor)

    def _unknown(self, tensor: Tensor) -> bool:
        # Where .to() has put a module's parameters, and what is computed from them alone, is not tracked.
        return isinstance(tensor, nn.Parameter) or id(tensor) in self._anywhere

    def _target(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool | None:
        """Whether the result is sent to the device (True), to the CPU (False), or stays where it is (None)."""
        if name == "cpu":
            return False
        if name == "type_as":
            return id(args[1]) in self._there
        asked = [kwargs.get("device"), *(args[1:] if name == "to" else ())]
        for value in asked:
            if isinstance(value, Tensor):
                return id(value) in self._there
            if isinstance(value, (str, torch.device)):
                return torch.device(value) == PRETENDED
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
