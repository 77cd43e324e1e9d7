"""Whether a draw would run on a GPU, found out without one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lsampler.compute.seeded_blocks import Block

__all__ = ["PRETENDED", "OneDevice", "WatchedBlock", "accelerators", "own_generators"]

PRETENDED = torch.device("cpu", 0)
"""The CPU, but told apart from the plain ``cpu`` that tensors are on without being asked."""
MOVES = {"to", "cpu", "type_as", "copy_", "__getitem__", "__setitem__"}
LEAVES_TORCH = {"numpy", "__array__"}


class OneDevice(TorchFunctionMode):
    """Follows which tensors would be on the device, and notes where they meet one that would not.

    Tensors on the device are the given ones, those made with ``device=block.device``, and what is
    computed from them. Numbers (0-dimensional tensors) may be anywhere, as with CUDA.

    Args:
        there: tensors that are on the device to begin with.

    Attributes:
        problems: a line for each meeting.
    """

    def __init__(self, there: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.problems: list[str] = []
        # Kept alive, so that no other tensor gets one of these identities.
        self._there: dict[int, Tensor] = {id(tensor): tensor for tensor in there.values()}
        self._anywhere: dict[int, Tensor] = {}

    def mark(self, tensor: Tensor) -> Tensor:
        """Say that a tensor is on the device."""
        self._there[id(tensor)] = tensor
        return tensor

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
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
            result = result.view_as(result)  # torch moves nothing, but the two are to be told apart
        if there if target is None else target:
            for tensor in _tensors((result,)):
                self.mark(tensor)
        elif target is None and any(self._unknown(tensor) for tensor in given):
            self._anywhere |= {id(tensor): tensor for tensor in _tensors((result,))}
        return result

    def _elsewhere(self, tensor: Tensor) -> bool:
        return tensor.ndim > 0 and id(tensor) not in self._there and not self._unknown(tensor)

    def _unknown(self, tensor: Tensor) -> bool:
        # Of a module's parameters, and what is computed from them alone, only torch knows where .to() has put them.
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
    """Knows whether a random number was asked of it, and puts them on the pretended device."""

    def __init__(self, seed: int, index: int, mode: OneDevice | None = None) -> None:
        super().__init__(seed, index, PRETENDED if mode else torch.device("cpu"))
        self.used, self._mode = False, mode

    def _unit(self, size: tuple[int, ...]) -> Tensor:
        return self._given(super()._unit(size))

    def normal(self, *shape: int) -> Tensor:
        """See :meth:`Block.normal`."""
        return self._given(super().normal(*shape))

    def integers(self, high: int, *shape: int) -> Tensor:
        """See :meth:`Block.integers`."""
        return self._given(super().integers(high, *shape))

    @property
    def generator(self) -> torch.Generator:
        """See :attr:`Block.generator`."""
        self.used = True
        return super().generator

    def _given(self, tensor: Tensor) -> Tensor:
        self.used = True
        return self._mode.mark(tensor) if self._mode else tensor


def accelerators() -> list[str]:
    """The devices of this machine beside the CPU."""
    return [
        name
        for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()))
        if there
    ]


@contextlib.contextmanager
def own_generators() -> Iterator[list[str]]:
    """The names of random generators that the body makes."""
    made: list[str] = []
    with contextlib.ExitStack() as stack:
        for owner, name in ((np.random, "default_rng"), (np.random, "RandomState"), (torch, "Generator")):
            stack.enter_context(patch.object(owner, name, _watched(getattr(owner, name), name, made)))
        yield made


def _watched(original: Any, name: str, made: list[str]) -> Any:
    """A stand-in that makes what the original makes, and is as good for isinstance()."""

    class StandIn(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            made.append(name)
            return original(*args, **kwargs)

        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(original, type) and isinstance(value, original)

    return StandIn(name, (), {})


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())
