"""How objects show themselves: one line at the prompt, a small card of HTML in a notebook, a table as a DataFrame.

The HTML takes its colours from the notebook, so that it can be read on light and on dark pages. All texts in it are
escaped.
"""

from __future__ import annotations

import base64
import contextlib
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from markupsafe import Markup, escape

from lsampler.errors import printable, shortened
from lsampler.extras import require_extra

MOST_LETTERS = 200
"""Of the line at the prompt."""
NAME_LETTERS, FACT_LETTERS = 60, 90
STYLE = Markup("""<style>
.lsampler { --ink: currentColor; --paper: transparent; --blue: #2b8cc9; color: inherit; font-size: 13px;
  line-height: 1.45; max-width: 1000px; margin: 4px 0; }
.lsampler p { margin: 3px 0; }
.lsampler .dim { opacity: .72; } .lsampler .warn { border-left: 3px solid #d08a2e; padding-left: 8px; }
.lsampler .wide { overflow-x: auto; }
.lsampler table { border-collapse: collapse; margin: 6px 0; font-size: 12px; font-variant-numeric: tabular-nums; }
.lsampler th, .lsampler td { text-align: right; padding: 3px 9px; vertical-align: top; color: inherit;
  background: transparent; border: 0; border-top: 1px solid rgba(127, 127, 127, .35); }
.lsampler .text { text-align: left; } .lsampler thead th { border-top: 0; vertical-align: bottom; }
.lsampler small { display: block; font-weight: 400; opacity: .72; }
.lsampler .soft > * { background: rgba(127, 127, 127, .13); } .lsampler td.best { background: rgba(0, 160, 105, .22); }
.lsampler details { margin: 4px 0; } .lsampler summary { cursor: pointer; }
.lsampler figure { display: inline-block; margin: 4px 10px 4px 0; vertical-align: top; max-width: 100%; }
.lsampler figcaption { font-size: 12px; opacity: .8; } .lsampler figure img { max-width: 100%; border-radius: 3px; }
.lsampler .drawing { display: block; max-width: 820px; }
.lsampler figure svg { display: block; width: 100%; height: auto; }
</style>""")


@dataclass(frozen=True)
class About:
    """What an object says of itself.

    Attributes:
        kind: the name of its class.
        name: what it is called; a path may be long.
        facts: a few words each, such as ``D = 256``; empty ones are left out.
    """

    kind: str
    name: str = ""
    facts: Sequence[str] = ()

    @property
    def text(self) -> str:
        """One line of at most 200 letters, such as ``<MemoryStore latents: 900 vectors, D = 12>``."""
        words = [shortened(printable(fact), FACT_LETTERS) for fact in self.facts if fact]
        head = f"{self.kind} {shortened(printable(self.name), NAME_LETTERS)}".strip()
        text = f"{head}: {', '.join(words)}" if words else head
        return f"<{shortened(text, MOST_LETTERS - 2)}>"

    def html(self, *parts: Markup) -> str:
        """The name, the facts, and below them the parts, as HTML that needs nothing else."""
        name = shortened(printable(self.name), 2 * NAME_LETTERS)
        facts = " \N{MIDDLE DOT} ".join(shortened(printable(fact), MOST_LETTERS) for fact in self.facts if fact)
        head = Markup("<p><b>{}</b> {}<br><span class=dim>{}</span></p>").format(self.kind, name, facts)
        return str(Markup('<div class="lsampler">{}{}{}</div>').format(STYLE, head, Markup().join(parts)))


class Shown:
    """Shows itself in one line at the prompt and as HTML in a notebook, from what :meth:`_about` says."""

    @abstractmethod
    def _about(self) -> About:
        """What the object says of itself; quick, and it never fails."""

    def _parts(self) -> Iterable[Markup]:
        """Tables and pictures for a notebook."""
        return ()

    def __repr__(self) -> str:
        try:
            return self._about().text
        except Exception:  # of an object that is not whole: one whose making failed, or with fields of wrong types
            return object.__repr__(self)

    def _repr_html_(self) -> str:
        return self._about().html(*self._parts())


def name_of(path: Any) -> str:
    """The name of a file without the folders that lead to it; another name as it is."""
    text = str(path)
    return PurePath(text).name if re.search(r"\.\w{1,12}$", text) else text


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun, such as ``1 row`` or ``2,000 rows``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def encoder(fingerprint: str | None) -> str:
    """The start of an encoder's fingerprint in words; empty if it is unknown."""
    return f"encoder {fingerprint[:8]}" if fingerprint else ""


def paragraph(text: object, css: str = "") -> Markup:
    """A paragraph; ``css`` is one of the classes of :data:`STYLE`."""
    return Markup('<p class="{}">{}</p>').format(css, printable(str(text)))


def cautions(lines: Iterable[str]) -> Iterator[Markup]:
    """Paragraphs that are marked as warnings."""
    return (paragraph(line, "warn") for line in lines)


def cell(text: object, *, tag: str = "td", css: str = "", below: str = "", hint: str = "") -> Markup:
    """A cell of a table; ``below`` is a small line below its text, and ``hint`` is shown under the pointer."""
    small = Markup("<small>{}</small>").format(printable(below)) if below else ""
    shown = text if isinstance(text, Markup) else escape(printable(str(text)))
    title = Markup(' title="{}"').format(printable(hint)) if hint else ""
    return Markup('<{0} class="{1}"{2}>{3}{4}</{0}>').format(Markup(tag), css, title, shown, small)  # noqa: S704 - td or th


def table(
    heads: Sequence[Markup | str], rows: Iterable[Sequence[Any]], soft: Callable[[int], bool] | None = None
) -> Markup:
    """A table of cells; cells that are not made by :func:`cell` are texts, and ``soft`` tells which rows are shaded."""
    top = Markup().join(head if isinstance(head, Markup) else cell(head, tag="th", css="text") for head in heads)
    lines = [
        Markup("<tr{}>{}</tr>").format(
            Markup(" class=soft") if soft and soft(index) else "",
            Markup().join(each if isinstance(each, Markup) else cell(each, css="text") for each in row),
        )
        for index, row in enumerate(rows)
    ]
    body = Markup().join(lines)
    return Markup("<div class=wide><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>").format(top, body)


def fold(title: str, *parts: Markup) -> Markup:
    """Parts that are shown when their title is clicked."""
    return Markup("<details><summary>{}</summary>{}</details>").format(printable(title), Markup().join(parts))


def picture(image: bytes, caption: str = "", *, kind: str = "jpeg", width: int | None = None) -> Markup:
    """A picture in the file format ``kind``, with its caption."""
    data = base64.b64encode(image).decode("ascii")
    size = Markup(" width={}").format(width) if width else ""
    drawn = Markup('<img src="data:image/{};base64,{}" alt="{}"{}>').format(kind, data, printable(caption), size)
    return figure(drawn, caption)


def figure(drawing: Markup, caption: str = "", css: str = "") -> Markup:
    """A drawing with its caption; of the class ``drawing`` it is as wide as the page allows."""
    html = Markup('<figure class="{}">{}<figcaption>{}</figcaption></figure>')
    return html.format(css, drawing, printable(caption))


def if_possible(make: Callable[[], Markup | None]) -> Iterator[Markup]:
    """What ``make`` makes, or nothing if it fails: a picture that cannot be drawn must not hide the rest."""
    with contextlib.suppress(Exception):
        made = make()
        if made is not None:
            yield made


def frame(columns: Mapping[str, Any], user: str) -> Any:
    """A ``pandas.DataFrame`` of columns.

    Raises:
        LsamplerError: pandas is not installed.
    """
    return require_extra("pandas", extra="frames", user=f"{user}.to_frame()").DataFrame(dict(columns))
