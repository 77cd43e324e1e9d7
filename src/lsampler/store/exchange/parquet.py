"""Parquet tables; they need the extra ``parquet``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError
from lsampler.store.exchange.choice import Field, chosen_columns, in_words
from lsampler.store.exchange.labels import COLUMNS, kept_labels
from lsampler.store.exchange.table import RawRows, Table
from lsampler.store.labels import Labels, as_json
from lsampler.store.latent_shape import LATENT_SHAPE, shape_attribute
from lsampler.store.latent_store import LatentStore, Rows

MOST_MORE = 1 << 24
"""Numbers that a row group may hold beyond those of rows of equal length: they are read to name the odd row."""


def open_parquet(path: Path, dataset: str | None, stack: ExitStack) -> Table:
    """A ``.parquet`` table, whose latents are one column of lists or several of numbers."""
    arrow = _pyarrow(path)
    # Read through a small buffer and not ahead: a row group, which may be the whole file, would be held at once.
    file = stack.enter_context(arrow.parquet.ParquetFile(path, buffer_size=1 << 16, pre_buffer=False))
    schema = file.schema_arrow
    if len(set(schema.names)) < len(schema.names):
        raise LsamplerError(f"{path}: several columns have the same name; rename them")
    identity = next((name for name in ("id", "ids") if name in schema.names), None)
    split = "split" if "split" in schema.names else None
    # pandas writes its index as a column.
    index = {name for name in (schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(name, str)}
    labels = _labels(path, arrow, file)
    known = {identity, split, *(labels.names if labels else ())}
    fields = [_field(arrow, field) for field in schema if field.name not in known | index]
    taken = chosen_columns(path, fields, dataset)
    beside = [name for name in (identity, split) if name]
    names = [field.name for field in taken]
    as_lists = taken[0].kind == "vector"
    dimension = _list_length(path, arrow, file, names[0]) if as_lists else len(names)

    def chunks(step: int) -> Iterator[RawRows]:
        start = 0
        # Threads would decode columns side by side, and each would keep memory of its own.
        for batch in file.iter_batches(batch_size=step, columns=[*names, *beside], use_threads=False):
            if as_lists:
                latents = _list_rows(path, start, arrow, batch.column(names[0]), dimension)
            else:
                latents = np.column_stack([_numbers(arrow, batch.column(name)) for name in names])
            ids, splits = (batch.column(name).to_pylist() if name else None for name in (identity, split))
            yield latents, ids, splits
            start += batch.num_rows

    beside += labels.names if labels else ()
    words = in_words("columns", names, beside, [name for name in schema.names if name not in (*names, *beside)])
    shape = (file.metadata.num_rows, dimension)
    recorded = (schema.metadata or {}).get(LATENT_SHAPE.encode())
    told = recorded.decode("utf-8", "replace") if recorded else None
    return Table(
        shape, np.dtype(np.float64), split is not None, chunks, names[0] if as_lists else None, words, told, labels
    )


def _labels(path: Path, arrow: Any, file: Any) -> Labels | None:
    """The labels that an export has written, which the metadata of the schema describe."""
    described = (file.schema_arrow.metadata or {}).get(COLUMNS.encode())
    if described is None:
        return None
    plain = [
        field.name
        for field in file.schema_arrow
        if any(test(field.type) for test in (arrow.types.is_floating, arrow.types.is_integer, arrow.types.is_string))
    ]
    table = file.read(columns=plain, use_threads=False)
    values = {name: np.array([None, *table.column(name).to_pylist()], dtype=object)[1:] for name in plain}
    return kept_labels(path, values, described)


def _field(arrow: Any, field: Any) -> Field:
    """What a column may be."""
    types, kind = arrow.types, field.type

    def numeric(kind: Any) -> bool:
        return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind))

    if types.is_integer(kind):
        return Field(field.name, str(kind), "integer")
    if numeric(kind):
        return Field(field.name, str(kind), "float")
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return Field(field.name, str(kind), "vector" if numeric(kind.value_type) else "nested")
    if types.is_nested(kind) or isinstance(kind, arrow.BaseExtensionType):
        return Field(field.name, str(kind), "nested")
    binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    return Field(field.name, str(kind), "binary" if binary else "other")


def _numbers(arrow: Any, column: Any) -> NDArray[np.float64]:
    """Numbers of any type as float64; NaN for missing ones."""
    found: NDArray[np.float64] = arrow.compute.cast(column, "float64", safe=False).to_numpy(zero_copy_only=False)
    return found


def _list_length(path: Path, arrow: Any, file: Any, column: str) -> int:
    """D, as the first row has it; rows that hold far more are not read."""
    batch = next(file.iter_batches(batch_size=1, columns=[column]), None)
    if batch is None or not batch.num_rows:
        return 0
    dimension = arrow.compute.list_value_length(batch.column(column))[0].as_py() or 0
    groups = [file.metadata.row_group(k) for k in range(file.metadata.num_row_groups)]
    for group in groups:
        held = sum(
            part.num_values
            for part in map(group.column, range(group.num_columns))
            if part.path_in_schema.split(".")[0] == column
        )
        if held > group.num_rows * max(dimension, 1) + MOST_MORE:
            problem = f"{held} numbers in {group.num_rows} rows, of which the first has {dimension}"
            raise LsamplerError(f"{path}: '{column}' holds {problem}; give as many in every row")
    return int(dimension)


def _list_rows(path: Path, start: int, arrow: Any, column: Any, dimension: int) -> NDArray[Any]:
    lengths = arrow.compute.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    odd = np.flatnonzero(lengths != dimension)
    if len(odd):
        raise LsamplerError(
            f"{path}: row {start + odd[0]} holds {lengths[odd[0]]} numbers, the first row {dimension}; "
            "give as many in every row"
        )
    return _numbers(arrow, column.flatten()).reshape(-1, dimension)


def write_parquet(path: Path, store: LatentStore, total: int, chunks: Iterator[Rows]) -> None:
    """The columns ``id``, ``split``, one for each label, and ``latent``.

    The metadata of the schema hold ``latent_shape``, if known, and say what the labels are.
    """
    arrow = _pyarrow(path)
    taken = next((label.name for label in store.label_columns if label.name in ("id", "ids", "split", "latent")), None)
    if taken is not None:
        raise LsamplerError(f"{store.name}: the label '{taken}' has the name of another column; export to .npz or .h5")
    types = {"binary": arrow.int8(), "categorical": arrow.string(), "continuous": arrow.float32()}
    of_labels = [(label.name, types[label.kind]) for label in store.label_columns]
    latent = arrow.list_(arrow.float32(), store.dimension)
    schema = arrow.schema(
        [("id", arrow.string())] * store.has_ids + [("split", arrow.string()), *of_labels, ("latent", latent)]
    )
    described = {COLUMNS: as_json(store.label_columns)} if of_labels else {}
    schema = schema.with_metadata((shape_attribute(store.latent_shape) | described) or None)
    # Latents hardly repeat: a dictionary of them costs memory and time, and makes the file larger.
    with arrow.parquet.ParquetWriter(str(path), schema, use_dictionary=["split"]) as writer:
        for chunk in chunks:
            latents = arrow.FixedSizeListArray.from_arrays(arrow.array(chunk.latents.ravel()), store.dimension)
            columns = {"id": chunk.ids, "split": chunk.splits, "latent": latents}
            for label, values in zip(store.label_columns, chunk.labels.values() if chunk.labels else (), strict=True):
                missing = None if label.kind == "categorical" else np.isnan(values)
                columns[label.name] = arrow.array(values, schema.field(label.name).type, mask=missing, safe=False)
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
