"""What a section of the analysis is, and what it yields: numbers, findings, tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lsampler.reports.analysis.context import Context


def percent(share: float, digits: int = 0) -> str:
    """A share as text, such as ``39.3 %``."""
    return f"{100 * share:.{digits}f} %"


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share."""
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def columns(rows: Iterable[Mapping[str, Any]], heads: Mapping[str, str]) -> dict[str, list[Any]]:
    """A table's columns: under each head the rows' values of that name."""
    return {head: [row[name] for row in rows] for head, name in heads.items()}


@dataclass(frozen=True)
class Table:
    """A table: all rows go to a CSV file of that name, the first ``shown`` to the page."""

    name: str
    title: str
    columns: Mapping[str, Iterable[Any]]
    shown: int = 30

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The cells row by row; numbers stay numbers."""
        return list(zip(*self.columns.values(), strict=True))


@dataclass(frozen=True)
class Figure:
    """A figure: the name of its file without suffix, what it shows, and the function that draws it."""

    name: str
    caption: str
    draw: Callable[[], Any]


@dataclass
class Result:
    """What a section yields: its numbers by name, what they say, tables, figures, and what could not be measured."""

    measured: dict[str, Any]
    findings: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def table(self, name: str, title: str, columns: Mapping[str, Iterable[Any]], shown: int = 30) -> None:
        """Add a table."""
        self.tables.append(Table(name, title, columns, shown))

    def figure(self, name: str, caption: str, draw: Callable[[], Any]) -> None:
        """Add a figure, which is drawn when a report is written."""
        self.figures.append(Figure(name, caption, draw))

    def can_measure(self, what: str, context: Context) -> bool:
        """Whether the latent vectors are at hand; otherwise ``what`` is noted as missing."""
        if not context.has_latents:
            self.missing.append(context.missing(what))
        return context.has_latents


@dataclass(frozen=True)
class Section:
    """One section of the analysis: a function, and what is known about it beforehand.

    It is done again when an option that it ``uses``, one of its ``strategies`` (those that it always draws from) or, if
    it ``uses_cores``, an installed core has changed, or, if it ``uses_labels``, the labels or the decoder. ``post`` is
    the one that it follows, ``key`` its name on the command line and in ``analysis.json``, and ``about`` says to the
    reader of the page what it does. ``absent`` says what it needs where it does not run by default.
    """

    title: str
    post: str
    uses: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    uses_cores: bool = False
    uses_labels: bool = False
    needs_latents: bool = False
    fewest_components: int = 1
    absent: str = ""
    key: str = ""
    about: str = ""
    run: Callable[[Context], Result] = field(default=lambda context: Result({}))

    def __call__(self, run: Callable[[Context], Result]) -> Section:
        """The section that ``run`` does: its name is the key, its docstring says what the section is about."""
        return replace(self, key=run.__name__, about=" ".join((run.__doc__ or "").split()), run=run)

    def problem(self, context: Context) -> str | None:
        """Why the section cannot be done for a reference; None if it can."""
        if self.uses_labels and not context.has_labels:
            return f"{context.whole.name} holds no labels. {self.absent}"
        if self.needs_latents and not context.has_latents:
            return f"{context.missing('The section')} Give a store."
        if context.dimension < self.fewest_components:
            return f"The section needs at least {self.fewest_components} components."
        return None
