"""Tables of scores on the console."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lsampler.cli.common import cells, console, new_table
from lsampler.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lsampler.scoring.evaluation import Evaluation
    from lsampler.scoring.scores import Score


NAME_WIDTH = 19
MEASURED_WIDTH = 10_000


def print_scores(result: Evaluation) -> None:
    """Print one table or more for each group of scores."""
    out = console()
    scores = [score for row in result.rows for score in row.scores if not score.detail]
    for group in dict.fromkeys(score.group for score in scores):
        title = group
        for table in _tables(out, result, group):
            out.print(*cells(title), style="bold")
            out.print(table)
            title = f"{group} (continued)"


def _tables(out: Console, result: Evaluation, group: str) -> list[Table]:
    """The columns of a group in as few tables as the console has room for, about equally many in each."""
    from rich.measure import Measurement

    wide = out.options.update(max_width=MEASURED_WIDTH)
    labels = list(dict.fromkeys(score.label for row in result.rows for score in row.scores if _is_shown(score, group)))
    tables: list[Table] = []
    for size in dict.fromkeys(-(-len(labels) // parts) for parts in range(1, len(labels) + 1)):
        shares = [labels[start : start + size] for start in range(0, len(labels), size)]
        tables = [_table(result, group, share, out.width) for share in shares]
        if all(Measurement.get(out, wide, table).maximum <= out.width for table in tables):
            break
    return tables


def _table(result: Evaluation, group: str, labels: Sequence[str], width: int) -> Table:
    table = new_table(pad_edge=False, padding=(0, 1, 0, 0))
    # Long names, such as those of files, are folded, so that there is room for scores.
    table.add_column("samples", min_width=NAME_WIDTH, max_width=max(NAME_WIDTH, width // 4), overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    for label in cells(*labels):
        table.add_column(label, justify="right", no_wrap=True)
    for row in result.rows:
        scores = {score.label: score for score in row.scores if _is_shown(score, group)}
        table.add_row(*cells(row.name, row.n), *(_cell(scores[label]) if label in scores else "" for label in labels))
    return table


def _is_shown(score: Score, group: str) -> bool:
    return score.group == group and not score.detail


def _cell(score: Score) -> Text:
    from rich.text import Text

    note = f"\n{printable(score.note)}" if score.note else ""
    return Text.assemble(score.text, "\n", (f"{score.range_text}{note}", "dim"))
