"""Pages that open offline, and their tables: what the reports of analyses and comparisons share."""

from __future__ import annotations

import csv
import functools
import io
import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from lsampler.errors import printable
from lsampler.plots import BLUE, INK, PAPER

if TYPE_CHECKING:
    from jinja2 import Template

NUMERIC = r"[-+]?[\d.,]+(e[-+]?\d+)?( ?%)?|[-\N{EN DASH}]"


def render(package: str, **values: Any) -> str:
    """Fill in the template ``report.html`` of a package; everything is escaped that is not marked as safe."""
    template, style = _template(package)
    return template.render(shared_style=style, **values)


@functools.cache
def _template(package: str) -> tuple[Template, Markup]:
    """The compiled template and the style of all pages: a report is written anew after each section and each row."""
    from jinja2 import Environment

    template = (resources.files(package) / "report.html").read_text(encoding="utf-8")
    style = (resources.files("lsampler.reports") / "page.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["units"] = lambda text: str(text).replace(" %", "\N{NO-BREAK SPACE}%")
    environment.tests["numeric"] = lambda text: re.fullmatch(NUMERIC, str(text).strip()) is not None
    return environment.from_string(template), Markup(style)  # noqa: S704 - a file of this package


def title_of(reference: str) -> str:
    """A reference as the title of a page: of a file its name, of others what they are called."""
    return Path(reference).name if re.search(r"\.(h5|shards|safetensors)$", reference) else reference


def inline_svg(text: str, prefix: str) -> Markup:
    """A figure as SVG for the page: without XML prologue, with its own names, in the colours of the page.

    Titles and labels were escaped by matplotlib when it wrote the file.
    """
    text = text[text.index("<svg") :]
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    # Names that nothing refers to are removed: matplotlib gives the same names to equal pictures.
    text = re.sub(r'\s\bid="([^"]+)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(href="|url\()#', rf"\1#{prefix}-", text)
    # A figure fills the width, but it grows by no more than a quarter of its size.
    text = re.sub(
        r'^<svg([^>]*?) width="([\d.]+)pt" height="[\d.]+pt"',
        lambda m: f'<svg{m[1]} style="max-width: {1.25 * float(m[2]):.0f}pt"',
        text,
        count=1,
    )
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace(INK, "var(--ink)").replace(PAPER, "var(--paper)").replace(BLUE, "var(--blue)")
    return Markup(text)  # noqa: S704 - written by matplotlib, see above


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Comma-separated values; numbers in full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([plain(cell) for cell in row] for row in rows)
    return text.getvalue()


def markdown(text: str) -> str:
    """A text as it is in Markdown, on one line: nothing of it is markup, HTML, a link or a column of a table."""
    return re.sub(r"([\\`*_\[\]<>&|#~!])", r"\\\1", " ".join(printable(text).split()))


def plain(value: Any) -> Any:
    """Arrays, NumPy numbers and tuples as lists and numbers; numbers that are not finite as None."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
