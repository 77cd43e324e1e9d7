"""What a check is, how the checks of a plugin are run, and the assertions that checks are made of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from lsampler.errors import LsamplerError, PluginCrash, nearest_name
from lsampler.testing.process_state import leaves_process_state

Result = TypeVar("Result")
LONGEST_LINE = 400
PREFIX = "check_"
ADVICE = "raise LsamplerError with one line that says how to fix it"


class ComplianceError(AssertionError):
    """A plugin breaks promises that all plugins of its kind make.

    Attributes:
        plugin: its name and parameters.
        failures: name of each failed check -> what was observed and how to fix it.
    """

    def __init__(self, plugin: str, failures: Mapping[str, str], run: int = 1) -> None:
        self.plugin, self.failures = plugin, dict(failures)
        lines = [f"{', '.join(names)}: {text}" for text, names in _by_text(failures).items()]
        if run > 1:
            lines = [f"{plugin}: {len(failures)} of {run} checks failed", *(f"  {line}" for line in lines)]
        else:
            lines = [f"{plugin}: {line}" for line in lines]
        super().__init__("\n".join(lines))


def _by_text(failures: Mapping[str, str]) -> dict[str, list[str]]:
    """One defect often fails several checks with the same message."""
    grouped: dict[str, list[str]] = {}
    for name, text in failures.items():
        grouped.setdefault(text, []).append(name)
    return grouped


@dataclass(frozen=True)
class Check:
    """One check of one plugin; calling it raises :class:`ComplianceError` if the check fails.

    Attributes:
        name: of the check.
        plugin: name and parameters of the plugin.
        about: what is promised.
        skip: why the check is skipped for this plugin; empty if it is not.
    """

    name: str
    plugin: str
    about: str
    skip: str = ""
    run: Callable[[], None] = field(default=lambda: None, repr=False)

    @property
    def id(self) -> str:
        """The name of the pytest test."""
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
    """A plugin under test.

    Its methods ``check_...`` are the checks; the first paragraph of their docstrings says what is promised.
    """

    label: str
    """Name and parameters of the plugin."""

    @classmethod
    def methods(cls) -> dict[str, str]:
        """The name of each check and of its method, those of base classes first."""
        found = [name for base in reversed(cls.__mro__) for name in vars(base) if name.startswith(PREFIX)]
        return {name.removeprefix(PREFIX).replace("_", "-"): name for name in found}

    def checks(self, skip: Mapping[str, str]) -> list[Check]:
        """All checks of this plugin."""
        return [
            Check(name, self.label, _first_paragraph(getattr(self, method)), skip.get(name, ""), getattr(self, method))
            for name, method in self.methods().items()
        ]

    def steps(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """The name of each public method that users call one after the other, and a call of it."""
        raise NotImplementedError

    def check_global_state_untouched(self) -> None:
        """Using it leaves the global random states, thread counts, default types and the umask as they were."""
        for what, call in self.steps():
            with leaves_process_state(what):
                works_or_refuses(what, call)


def _first_paragraph(function: Callable[[], None]) -> str:
    return " ".join((function.__doc__ or "").split("\n\n", 1)[0].split())


def run_all(checks: Collection[Check], skip: Iterable[str] = ()) -> None:
    """Run every check that is not skipped, and report all failures together.

    Raises:
        ComplianceError: checks failed.
        LsamplerError: ``skip`` names a check that does not exist.
    """
    require_known(skip, {check.name for check in checks})
    errors = []
    for check in checks:
        if not check.skip:
            try:
                check()
            except ComplianceError as error:
                errors.append(error)
    if errors:
        failures = {name: text for error in errors for name, text in error.failures.items()}
        run = sum(not check.skip for check in checks)
        raise ComplianceError(errors[0].plugin, failures, run) from errors[0].__cause__


def require_known(skip: Iterable[str], names: Collection[str]) -> None:
    """Raise LsamplerError if a check that is to be skipped does not exist."""
    for name in skip:
        if name not in names:
            raise LsamplerError(f"`skip`: no check '{name}'{nearest_name(name, names)}")


def require(holds: object, problem: str) -> None:
    """Raise AssertionError with what was observed and how to fix it."""
    if not holds:
        raise AssertionError(problem)


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
    except PluginCrash as error:
        raise AssertionError(f"{what} stops with {described(error)}; {ADVICE}") from error.__cause__ or error
    except LsamplerError as error:
        text = str(error)
        one_line = text.strip() and "\n" not in text and len(text) <= LONGEST_LINE
        require(one_line, f"{what} is refused with {text!r:.200}; say it in one line")
        return error
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error.__cause__
    except Exception as error:
        raise AssertionError(f"{what} stops with {described(error)}; {ADVICE}") from error


def described(error: BaseException) -> str:
    """An exception in one line."""
    if isinstance(error, PluginCrash) and error.__cause__:
        return described(error.__cause__)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
