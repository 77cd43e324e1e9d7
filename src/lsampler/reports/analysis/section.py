"""What a section of the analysis is, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsampler.reports.analysis.context import Context

__all__ = ["Figure", "Result", "Section", "Table", "percent"]


def percent(share: float, digits: int = 0) -> str:
    """A share as text, such as ``39.3 %``."""
    return f"{100 * share:.{digits}f} %"


@dataclass(frozen=True)
class Table:
    """A table: all rows in a CSV file, the first ``shown`` on the page.

    Attributes:
        name: of the file, without suffix.
        title: above the table on the page.
        columns: their heads.
        rows: cells; numbers stay numbers in the file.
        shown: how many rows the page shows; 0 for the file alone.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    shown: int = 30


@dataclass(frozen=True)
class Figure:
    """A figure: the file's name without suffix, what it shows, and how it is drawn."""

    name: str
    caption: str
    draw: Callable[[], Any]


@dataclass
class Result:
    """What a section gives.

    Attributes:
        measured: every number, by name; plain Python values once it is written.
        findings: what the numbers say, a sentence each.
        tables: of the section.
        figures: of the section.
        missing: what could not be done here, and why.
    """

    measured: dict[str, Any]
    findings: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Section:
    """One section of the analysis.

    Attributes:
        key: its name on the command line and in ``analysis.json``.
        title: its heading.
        post: which post it follows.
        about: what it does, for the reader of the page.
        run: does it.
        passes: how often it reads all latent vectors, for the progress bar.
        uses: the options that change it; the others do not make it stale.
        needs_latents: whether it can do nothing with statistics alone.
        uses_cores: whether it says something of every core that is installed.
    """

    key: str
    title: str
    post: str
    about: str
    run: Callable[[Context], Result]
    passes: int = 1
    uses: tuple[str, ...] = ()
    needs_latents: bool = False
    uses_cores: bool = False
