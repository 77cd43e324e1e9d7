"""Tables of labels: sound ones, and what is done to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hostile.mutations import SANE, Change, Random, of_zip

LABELLING = "store label BASE/store.h5 FILE --out OUT/x.h5"
LABEL_FILES = (".csv", ".txt", ".npz", ".parquet")


def write_labels(folder: Path, ids: Sequence[str]) -> dict[str, Any]:
    """Write a table of labels in every format; returns the labels."""
    rows = len(ids)
    labels: dict[str, Any] = {"digit": np.arange(rows) % 10, "ink": np.linspace(0.5, 9.5, rows)}
    labels["kind"] = np.array(["a", "", "b"] * (rows // 3))
    columns = {"id": list(ids), **{name: values.tolist() for name, values in labels.items()}}
    pq.write_table(pa.table(columns), folder / "labels.parquet")
    np.savez_compressed(folder / "labels.npz", **{name: np.array(values) for name, values in columns.items()})
    for suffix, separator in (("csv", ","), ("txt", " ")):
        lines = (separator.join(str(value) or "NA" for value in row) for row in zip(*columns.values(), strict=True))
        (folder / f"labels.{suffix}").write_text("\n".join([separator.join(columns), *lines]) + "\n")
    return labels


def change_labels(rng: Random, path: Path) -> Change:
    """Another type or value in a table: fields of text, members of an archive, or columns of Parquet."""
    if path.suffix == ".npz":
        return of_zip(rng, path)
    odd = rng.choice(
        ["", "NaN", "inf", "1e999", "\x1b[31m", "0000", "x" * 70_000, '"', ",", "-0", "1_0", "\u202e", "\x00"]
    )
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        name = rng.choice(table.column_names)
        rows = len(table)
        made: dict[str, Any] = {
            "odd text": pa.array([odd] * rows),
            "one odd text": pa.array([odd, *map(str, range(rows - 1))]),
            "lists": pa.array([[1]] * rows),
            "bytes": pa.array([b"\xff"] * rows),
            "nulls": pa.array([None] * rows, pa.string()),
            "times": pa.array(range(rows), pa.timestamp("s")),
            "infinite": pa.array([float("inf")] * rows),
            "dictionary": pa.array(["1", "2", "3"] * (rows // 3)).dictionary_encode(),
        }
        what = rng.choice(list(made))
        pq.write_table(table.set_column(table.column_names.index(name), name, made[what]), path)
        return f"{name} as {what}", SANE
    lines = path.read_text().split("\n")
    number, separator = rng.randrange(len(lines) - 1), "," if path.suffix == ".csv" else " "
    fields = lines[number].split(separator)
    fields[rng.randrange(len(fields))] = odd
    lines[number] = separator.join(fields)
    path.write_text("\n".join(lines))
    return f"line {number} with {odd[:9]!r}", SANE
