"""What a check is, how the checks of a plugin are run, and the assertions that checks are made of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsampler.errors import LsamplerError, PluginCrash, nearest_name
from lsampler.testing.process_state import leaves_process_state

Result = TypeVar("Result")
LONGEST_LINE = 400
PREFIX = "check_"
ADVICE = "raise LsamplerError with one line that says how to fix it"
CPU = torch.device("cpu")


class ComplianceError(AssertionError):
    """A plugin breaks promises that all plugins of its kind make.

    Attributes:
        plugin: its name and parameters.
        failures: name of each failed check -> what was observed and how to fix it.
    """

    def __init__(self, plugin: str, failures: Mapping[str, str], run: int = 1) -> None:
        self.plugin, self.failures = plugin, dict(failures)
        names: dict[str, list[str]] = {}  # one defect often fails several checks with the same message
        for name, text in failures.items():
            names.setdefault(text, []).append(name)
        lines = [f"{', '.join(names[text])}: {text}" for text in names]
        count = [f"{len(failures)} of {run} checks failed"] if run > 1 else []
        super().__init__(f"{plugin}: " + "\n  ".join([*count, *lines]))


@dataclass(frozen=True)
class Check:
    """One check of one plugin; calling it raises :class:`ComplianceError` if the check fails.

    Attributes:
        name: of the check.
        plugin: name and parameters of the plugin.
        about: what is promised.
        run: raises AssertionError if the promise is broken.
    """

    name: str
    plugin: str
    about: str
    run: Callable[[], None] = field(repr=False)

    @property
    def id(self) -> str:
        return f"{self.plugin}-{self.name}"

    def __call__(self) -> None:
        """Run the check. A RuntimeWarning of NumPy is a failure, too."""
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            try:
                self.run()
            except ComplianceError:
                raise
            except AssertionError as error:
                raise ComplianceError(self.plugin, {self.name: str(error)}) from error.__cause__
            except Exception as error:
                raise ComplianceError(self.plugin, {self.name: f"stopped with {described(error)}"}) from error


class Subject:
    """A plugin under test: its methods ``check_...`` are the checks, and their docstrings say what is promised."""

    label: str
    """Name and parameters of the plugin."""

    def checks(self) -> list[Check]:
        """All checks of this plugin, those of base classes first."""
        methods = [name for base in reversed(type(self).__mro__) for name in vars(base) if name.startswith(PREFIX)]
        found = {method.removeprefix(PREFIX).replace("_", "-"): getattr(self, method) for method in methods}
        return [Check(name, self.label, run.__doc__ or "", run) for name, run in found.items()]

    def steps(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """The name of each public method that users call one after the other, and a call of it."""
        raise NotImplementedError

    def check_global_state_untouched(self) -> None:
        """Using it never sets random states, thread counts, types or umask of the process, even for a moment."""
        for what, call in self.steps():
            with leaves_process_state(what):
                works_or_refuses(what, call)


def run_all(checks: Collection[Check], skip: Iterable[str]) -> None:
    """Run every check that is not skipped, and report all failures together, as ComplianceError."""
    require_known(skip, checks)
    wanted, errors = [check for check in checks if check.name not in skip], []
    for check in wanted:
        try:
            check()
        except ComplianceError as error:
            errors.append(error)
    if errors:
        failures = {name: text for error in errors for name, text in error.failures.items()}
        raise ComplianceError(errors[0].plugin, failures, len(wanted)) from errors[0].__cause__


def require_known(skip: Iterable[str], checks: Iterable[Check]) -> None:
    """Raise LsamplerError if a check that is to be skipped does not exist."""
    names = {check.name for check in checks}
    for name in skip:
        if name not in names:
            raise LsamplerError(f"`skip`: no check '{name}'{nearest_name(name, names)}")


def require(holds: object, problem: str) -> None:
    """Raise AssertionError with what was observed and how to fix it."""
    if not holds:
        raise AssertionError(problem)


def require_tensor(what: str, found: Any, shape: tuple[int, ...]) -> None:
    """Require a tensor of this shape, float32, finite, and on the CPU."""
    require(isinstance(found, Tensor), f"{what} gave {type(found).__name__}, expected a tensor")
    require(tuple(found.shape) == shape, f"{what} gave shape {tuple(found.shape)}, expected {shape}")
    require(found.dtype == torch.float32, f"{what} gave {found.dtype}, expected float32; write .float()")
    require(found.device.type == "cpu", f"{what} gave a tensor on {found.device}, expected cpu")
    require(bool(torch.isfinite(found).all()), f"{what} gave NaN or infinite values; check the parameters")


def require_unchanged(arrays: Callable[[], Mapping[str, NDArray[Any]]], use: Callable[[], object]) -> None:
    """Require that ``use()`` leaves the arrays as they are."""
    before = {name: array.copy() for name, array in arrays().items()}
    use()
    for name, array in arrays().items():
        same = np.array_equal(array, before[name])
        require(same, f"{name} are changed; copy before in-place operations such as -= and sort()")


def refuses(what: str, call: Callable[[], object], *, naming: str = "") -> None:
    """Require that ``call()`` raises LsamplerError with one line, which contains the word ``naming``."""
    error = _result_or_refusal(what, call)
    if not isinstance(error, LsamplerError):
        raise AssertionError(f"{what} is accepted; {ADVICE}")
    require(naming in str(error), f"{what} is refused without naming '{naming}': {error}; name it in the message")


def works_or_refuses(what: str, call: Callable[[], Result]) -> Result | None:
    """The result of ``call()``, or None where it raises LsamplerError with one line; it may raise nothing else."""
    found = _result_or_refusal(what, call)
    return None if isinstance(found, LsamplerError) else found


def _result_or_refusal(what: str, call: Callable[[], Result]) -> Result | LsamplerError:
    try:
        return call()
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error.__cause__
    except Exception as error:
        if isinstance(error, LsamplerError) and not isinstance(error, PluginCrash):
            text = str(error)
            one_line = text.strip() and "\n" not in text and len(text) <= LONGEST_LINE
            require(one_line, f"{what} is refused with {text!r:.200}; say it in one line")
            return error
        raise AssertionError(f"{what} stops with {described(error)}; {ADVICE}") from _own(error)


def described(error: BaseException) -> str:
    """An exception in one line."""
    error = _own(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _own(error: BaseException) -> BaseException:
    """What the plugin itself raised."""
    return (isinstance(error, PluginCrash) and error.__cause__) or error
