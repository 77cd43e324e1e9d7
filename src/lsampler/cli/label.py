"""``lsampler store label``, and how labels are shown."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from lsampler.cli.common import (
    Force,
    IdColumn,
    LabelKinds,
    StoreFile,
    cells,
    console,
    kinds_of,
    new_table,
    out_option,
    report_store,
    say,
)

LABEL = ("name", "kind", "values", "missing")


def print_labels(rows: Iterable[tuple[str, str, str, str]]) -> None:
    """Print what labels a store has."""
    table = new_table(title="labels")
    for name in LABEL:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*cells(*row))
    console().print(table)


def label(
    path: StoreFile,
    labels: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help="A table (.csv, .tsv, .txt, .parquet, .npz, .h5ad) with ids or file names; or 'folders'.",
        ),
    ],
    *,
    id_column: IdColumn = None,
    label_kind: LabelKinds = [],  # noqa: B006
    out: Annotated[Path, out_option("The store to write (.h5 or .shards, as the other is).")],
    force: Force = False,
) -> None:
    """Add labels to a store: named properties of its items, which --where of 'lsampler sample' asks for.

    The table is joined by the ids of the store, or by file names, with or without folders and suffixes; what did not
    join is counted and named. CelebA's list_attr_celeba.txt works as downloaded. 'folders' takes the folder of each
    item as its label.

    With --force, --out may be the store itself: the new one takes its place when it is complete.
    """
    from lsampler.progress import rich_progress
    from lsampler.store.labelling import label_store

    kinds = kinds_of(label_kind)
    with rich_progress() as progress:
        done = label_store(path, labels, out, id_column=id_column, kinds=kinds, force=force, progress=progress)
    for line in done.said:
        say(line)
    report_store(out, done.store)
