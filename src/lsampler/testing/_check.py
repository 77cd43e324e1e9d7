"""A check of one plugin, what it says when it fails, and all of them in one report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lsampler.errors import LsamplerError, PluginCrash, nearest_name

__all__ = ["Check", "ComplianceError", "checks_for", "require_known", "run_all"]


class ComplianceError(AssertionError):
    """A plugin does not keep to what is promised of all plugins.

    Attributes:
        plugin: its name and parameters.
        failures: name of each failed check -> what was seen and how to mend it.
    """

    def __init__(self, plugin: str, failures: Mapping[str, str], run: int = 1) -> None:
        self.plugin, self.failures = plugin, dict(failures)
        lines = [f"{', '.join(names)}: {text}" for text, names in _by_text(failures).items()]
        if run > 1:
            lines = [f"{plugin}: {len(failures)} of {run} checks failed", *(f"  {line}" for line in lines)]
        else:
            lines = [f"{plugin}: {line}" for line in lines]
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class Check:
    """One promise, asked of one plugin; calling it raises :class:`ComplianceError` if it is not kept.

    Attributes:
        name: of the promise.
        plugin: name and parameters of the plugin.
        about: what is promised.
        skip: why it is not asked of this plugin; empty if it is.
    """

    name: str
    plugin: str
    about: str
    skip: str = ""
    ask: Callable[[], None] = field(default=lambda: None, repr=False)

    @property
    def id(self) -> str:
        """What pytest calls the test."""
        return f"{self.plugin}-{self.name}"

    def __call__(self) -> None:
        """Ask. A RuntimeWarning of NumPy on the way is a failure, too."""
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            try:
                self.ask()
            except ComplianceError:
                raise
            except AssertionError as error:
                raise ComplianceError(self.plugin, {self.name: str(error)}) from error.__cause__
            except Exception as error:
                raise ComplianceError(self.plugin, {self.name: f"stopped with {told(error)}"}) from error


def checks_for(
    plugin: str, subject: Any, asked: Sequence[Callable[[Any], None]], skip: Mapping[str, str]
) -> list[Check]:
    """The checks of one plugin, named after the functions that ask, described by their docstrings."""

    def bound(function: Callable[[Any], None]) -> Callable[[], None]:
        return lambda: function(subject)

    return [
        Check(name_of(function), plugin, about(function), skip.get(name_of(function), ""), bound(function))
        for function in asked
    ]


def require_known(skip: Iterable[str], asked: Iterable[Callable[[Any], None]]) -> None:
    """Raise LsamplerError if a check that is to be skipped does not exist."""
    names = {name_of(function) for function in asked}
    for name in skip:
        if name not in names:
            raise LsamplerError(f"skip: no check '{name}'{nearest_name(name, names)}")


def run_all(checks: Iterable[Check]) -> None:
    """Run every check that is not skipped, and report all failures together."""
    failures: dict[str, str] = {}
    run, first = 0, None
    for check in checks:
        if check.skip:
            continue
        run += 1
        try:
            check()
        except ComplianceError as error:
            first = first or error
            failures |= error.failures
    if first is not None:
        raise ComplianceError(first.plugin, failures, run) from first.__cause__


def name_of(function: Callable[[Any], None]) -> str:
    """``same_seed`` is the check ``same-seed``."""
    return function.__name__.replace("_", "-")


def about(function: Callable[[Any], None]) -> str:
    """The first paragraph of the docstring, in one line."""
    return " ".join((function.__doc__ or "").split("\n\n", 1)[0].split())


def told(error: BaseException) -> str:
    """An exception in one line."""
    if isinstance(error, PluginCrash) and error.__cause__:
        return told(error.__cause__)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _by_text(failures: Mapping[str, str]) -> dict[str, list[str]]:
    """One defect often fails several checks with the same words."""
    grouped: dict[str, list[str]] = {}
    for name, text in failures.items():
        grouped.setdefault(text, []).append(name)
    return grouped
