"""Labels for the rows of a store that exists: a copy with further labels, which may take its place."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsampler.errors import LsamplerError
from lsampler.files import check_output
from lsampler.progress import ProgressLike, shows_progress, track
from lsampler.store.file_store import FileStore
from lsampler.store.label_joining import joined_labels
from lsampler.store.labels import Label, LabelKind, Labels, as_json, recoded, united
from lsampler.store.latent_store import LatentStore, Rows
from lsampler.store.opening import open_store
from lsampler.store.sharded_store import SUFFIX, ShardedStore
from lsampler.store.sharding import ShardWork, write_shards
from lsampler.store.writer import write_store

STEP = 4096


@dataclass(frozen=True)
class LabelledStore:
    """The new store, and in words what was joined and what was not, a line each."""

    store: FileStore | ShardedStore
    said: tuple[str, ...]


@shows_progress
def label_store(
    store: str | os.PathLike[str],
    labels: Any,
    out: str | os.PathLike[str],
    *,
    id_column: str | None = None,
    kinds: Mapping[str, LabelKind] | None = None,
    force: bool = False,
    progress: ProgressLike = None,
) -> LabelledStore:
    """Copy a store and give its rows labels.

    Labels that it has already are kept. Where the table has a value for one of the same name, that value replaces it.

    Args:
        store: the path of a store, of one file or of shards.
        labels: a table of labels, ``folders``, or arrays with a value for each row, see :func:`joined_labels`.
        out: the new store, of one file (``.h5``) or of shards (``.shards``) as the other is. With ``force`` it may be
            the store itself: whenever the process is killed, the old one or the new one is there, whole.
        id_column: which column of a table holds the ids.
        kinds: of labels whose values do not tell, see :meth:`Labels.of`.
        force: replace an existing store.
        progress: shows the progress; by default bars in a notebook and on a terminal, False for none.

    Raises:
        LsamplerError: nothing of the table belongs to a row, a label has another kind than in the store, or ``out``
            exists.
    """
    source, target = open_store(store), Path(out)
    suffix = SUFFIX if isinstance(source, ShardedStore) else ".h5"
    if target.suffix != suffix:
        raise LsamplerError(f"{out}: {store} is of the kind {suffix}; choose a name that ends so")
    check_output(target, force=force)
    joined = joined_labels(labels, source.ids(), source.name, id_column=id_column, kinds=kinds)
    try:
        columns = united([source.label_columns, joined.labels.columns])
    except LsamplerError as error:
        raise LsamplerError(f"{source.name}: {error}, or declare its kind with `label_kind=...`") from error
    attributes = source.provenance()
    if isinstance(source, FileStore):
        rows = _labelled(source, columns, 0, len(source), labels=joined.labels)
        tracked = track(rows, progress, "labelling", len(source), len)
        write_store(target, source.dimension, tracked, attributes, columns=columns, force=force)
        return LabelledStore(FileStore(target), joined.said)
    digest = hashlib.sha256(as_json(columns).encode() + joined.labels.codes.tobytes()).hexdigest()
    shard_rows = max(map(len, source.shards))
    chunks = functools.partial(_labelled, source, columns)
    planned = {"source": str(source.path.absolute()), "labels": digest}
    work = ShardWork("labelling", len(source), shard_rows, planned, chunks, columns, joined.labels)
    written, _ = write_shards(target, source.dimension, work, attributes, force=force, progress=progress)
    return LabelledStore(written, joined.said)


def _labelled(
    source: LatentStore, columns: Sequence[Label], start: int, stop: int, *, labels: Labels
) -> Iterator[Rows]:
    """Rows of a store with further labels, of which there is a row for each of these."""
    at = 0
    for rows in source.rows(start, stop, STEP):
        old = recoded(rows.labels, columns, len(rows))
        new = recoded(labels.rows(slice(at, at + len(rows))), columns, len(rows))
        merged = Labels(columns, np.where(np.isnan(new), old, new))
        yield Rows(rows.latents, rows.ids, rows.splits, merged)
        at += len(rows)
