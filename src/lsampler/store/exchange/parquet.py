"""Parquet tables; they need the extra ``parquet``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.store.exchange.table import RawRows, Table, only
from lsampler.store.latent_store import LatentStore, Rows


def open_parquet(path: Path, dataset: str | None, stack: ExitStack) -> Table:
    """A ``.parquet`` table, whose latents are one column of lists or several of numbers."""
    arrow = _pyarrow(path)
    # Read through a small buffer and not ahead: a row group, which may be the whole file, would be held at once.
    file = stack.enter_context(arrow.parquet.ParquetFile(path, buffer_size=1 << 16, pre_buffer=False))
    names = set(file.schema_arrow.names)
    identity = next((name for name in ("id", "ids") if name in names), None)
    split = "split" if "split" in names else None
    column, components = _columns(path, arrow, file.schema_arrow, dataset, no_component={identity, split})
    dimension = len(components) if column is None else _list_length(file, column)
    wanted = [*filter(None, (column, identity, split)), *components]

    def chunks(step: int) -> Iterator[RawRows]:
        start = 0
        # Threads would decode columns side by side, and each would keep memory of its own.
        for batch in file.iter_batches(batch_size=step, columns=wanted, use_threads=False):
            if column is None:
                latents = np.column_stack([batch.column(c).to_numpy(zero_copy_only=False) for c in components])
            else:
                latents = _list_rows(path, start, arrow, batch.column(column), dimension)
            ids, splits = (batch.column(name).to_pylist() if name else None for name in (identity, split))
            yield latents, ids, splits
            start += batch.num_rows

    return Table((file.metadata.num_rows, dimension), np.dtype(np.float64), split is not None, chunks, column)


def _columns(
    path: Path, arrow: Any, schema: Any, dataset: str | None, no_component: set[str | None]
) -> tuple[str | None, list[str]]:
    """The column whose lists are the latents, or else the columns that are their components."""
    types = arrow.types

    def numeric(kind: Any) -> bool:
        return bool(types.is_floating(kind) or types.is_integer(kind))

    def vectors(kind: Any) -> bool:
        lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return bool(lists and numeric(kind.value_type))

    # pandas writes its index as a column.
    index = {name for name in (schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(name, str)}
    components = [f.name for f in schema if numeric(f.type) and f.name not in no_component | index]
    lists = {f.name: str(f.type) for f in schema if vectors(f.type)}
    if lists or dataset is not None or not components:
        return only(path, "column of numbers or lists of numbers", "latent", lists, dataset), []
    return None, components


def _list_length(file: Any, column: str) -> int:
    """D, as the first row has it."""
    batch = next(file.iter_batches(batch_size=1, columns=[column]), None)
    first = batch.column(column)[0].as_py() if batch is not None and batch.num_rows else None
    return len(first or ())


def _list_rows(path: Path, start: int, arrow: Any, column: Any, dimension: int) -> NDArray[Any]:
    lengths = arrow.compute.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    odd = np.flatnonzero(lengths != dimension)
    if len(odd):
        raise LsamplerError(
            f"{path}: row {start + odd[0]} holds {lengths[odd[0]]} numbers, the first row {dimension}; "
            "give as many in every row"
        )
    numbers: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return numbers.reshape(-1, dimension)


def write_parquet(path: Path, store: LatentStore, total: int, chunks: Iterator[Rows]) -> None:
    """The columns ``id``, ``split`` and ``latent``."""
    arrow = _pyarrow(path)
    latent = arrow.list_(arrow.float32(), store.dimension)
    schema = arrow.schema([("id", arrow.string())] * store.has_ids + [("split", arrow.string()), ("latent", latent)])
    # Latents hardly repeat: a dictionary of them costs memory and time, and makes the file larger.
    with arrow.parquet.ParquetWriter(str(path), schema, use_dictionary=["split"]) as writer:
        for chunk in chunks:
            latents = arrow.FixedSizeListArray.from_arrays(arrow.array(chunk.latents.ravel()), store.dimension)
            columns = {"id": chunk.ids, "split": chunk.splits, "latent": latents}
            try:
                batch = arrow.record_batch([columns[name] for name in schema.names], schema=schema)
            except UnicodeEncodeError as error:
                odd = f"id {error.object!r} is not UTF-8, which Parquet cannot keep"
                raise LsamplerError(f"{store.name}: {odd}; export to .npz or .h5") from error
            writer.write_batch(batch)


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise LsamplerError(
            f"{path}: Parquet needs pyarrow; install it with: pip install 'lsampler[parquet]'"
        ) from error
    return pyarrow
