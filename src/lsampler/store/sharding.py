"""Writing of sharded stores, one task per shard: one after the other on this machine, or at once on a cluster.

Finished shards wait in a :class:`PartialStore`. A run that was interrupted, or whose worker died, does only what is
missing. What a shard holds follows from its task alone, so it does not matter which process writes it, or how often.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from lsampler.compute.engine import current_engine
from lsampler.errors import LsamplerError
from lsampler.files import check_folder, check_output
from lsampler.progress import Progress, track
from lsampler.store.file_store import FileStore
from lsampler.store.hdf5_layout import OWN_ATTRIBUTES, Provenance
from lsampler.store.latent_store import Rows
from lsampler.store.opening import open_store
from lsampler.store.sharded_store import MANIFEST, SUFFIX, ShardedStore
from lsampler.store.writer import PartialStore, write_store

__all__ = ["SHARD_ROWS", "ShardTask", "Skipped", "merge_store", "ranges", "shard_store", "write_shards"]

SHARD_ROWS = 1 << 20


class Skipped(NamedTuple):
    """An item that is not in its shard, and why."""

    item: str
    reason: str


class ShardTask(Protocol):
    """What a shard is to hold, in a few plain values."""

    @property
    def rows(self) -> int:
        """How many rows, at most."""
        ...

    @property
    def doing(self) -> str:
        """What is done, as shown by a progress bar."""
        ...

    def planned(self) -> dict[str, Any]:
        """What decides on its rows, for JSON: digests of what files held in place of their names."""
        ...

    def chunks(self) -> Iterator[Rows | Skipped]:
        """The rows, and the items that were skipped."""
        ...


def write_shards(
    path: str | os.PathLike[str],
    dimension: int,
    tasks: Sequence[ShardTask],
    provenance: Provenance,
    *,
    force: bool = False,
    progress: Progress | None = None,
    prepare: Callable[[Path], None] | None = None,
) -> tuple[ShardedStore, list[Skipped]]:
    """Run tasks, one per shard, on the current engine, and make their shards a sharded store.

    ``prepare`` is called with the folder of the unfinished store, to write there what the tasks read.

    Returns:
        The store, and the items that this run skipped.

    Raises:
        LsamplerError: the store exists, an interrupted run was another one, or there are no rows.
    """
    target = _checked_target(path, force=force)
    if not tasks:
        raise LsamplerError(f"{target}: not written, there is no latent vector to store")
    partial = PartialStore(target, dimension, provenance, [task.planned() for task in tasks], force=force)
    skipped: list[Skipped] = []
    try:
        partial.begin()
        if prepare:
            prepare(partial.folder)
        partial.forget_unusable()
        wanted = [
            _Order(str(partial.path(number).absolute()), task, dimension, partial.shard_attributes(number))
            for number, task in enumerate(tasks)
            if not partial.path(number).is_file()
        ]
        engine, total = current_engine(), sum(task.rows for task in tasks)
        done = total - sum(order.task.rows for order in wanted)
        # On this machine a task has all cores to itself: it draws or encodes with as many threads.
        results = engine.map(_write_shard, wanted) if engine.remote else map(_write_shard, wanted)
        for _, left_out in track(results, progress, tasks[0].doing, total, lambda result: result[0], done):
            skipped += left_out
    except BaseException:
        if not partial.shards():
            partial.clear()
        raise
    if not any(len(FileStore(shard)) for shard in partial.shards()):
        partial.clear()
        why = f"; '{skipped[0].item}' {skipped[0].reason}" if skipped else ""
        raise LsamplerError(f"{target}: not written, there is no latent vector to store{why}")
    return partial.become_sharded(len(tasks)), skipped


@dataclass(frozen=True)
class _Order:
    path: str
    task: ShardTask
    dimension: int
    attributes: dict[str, Any]


def _write_shard(order: _Order) -> tuple[int, list[Skipped]]:
    """Write one shard, unless it is there; returns the number of rows of its task, and what was skipped."""
    skipped: list[Skipped] = []
    path = Path(order.path)
    if not path.is_file():
        with contextlib.closing(order.task.chunks()) as chunks:  # type: ignore[type-var]
            write_store(path, order.dimension, _without_skipped(chunks, skipped), order.attributes, force=True)
    return order.task.rows, skipped


def _without_skipped(chunks: Iterator[Rows | Skipped], skipped: list[Skipped]) -> Iterator[Rows]:
    for chunk in chunks:
        if isinstance(chunk, Skipped):
            skipped.append(chunk)
        else:
            yield chunk


@dataclass(frozen=True)
class CopyTask:
    """Rows of another store."""

    store: str
    digest: str
    start: int
    rows: int
    doing: ClassVar[str] = "sharding"

    def planned(self) -> dict[str, Any]:
        """What decides on the rows."""
        return {"source": self.digest, "start": self.start, "rows": self.rows}

    def chunks(self) -> Iterator[Rows]:
        """The rows, if the store is still the same after the last one."""
        store = _opened(self.store, self.digest)
        yield from store.rows(self.start, self.start + self.rows)
        _check_same(store, self.digest)  # another file may have been put in its place


@lru_cache(maxsize=1)
def _opened(path: str, digest: str) -> FileStore | ShardedStore:
    """Opened once for all tasks: a store of many shards takes seconds."""
    store = open_store(path)
    _check_same(store, digest)
    return store


def _check_same(store: FileStore | ShardedStore, digest: str) -> None:
    try:
        same = source_digest(store) == digest
    except OSError:  # it is gone
        same = False
    if not same:
        raise LsamplerError(f"{store.name}: has changed, or is another file for a worker; run the command again")


def source_digest(store: FileStore | ShardedStore) -> str:
    """Identifies a store among all that had or will have its name."""
    if isinstance(store, ShardedStore):
        return hashlib.sha256((store.path / MANIFEST).read_bytes()).hexdigest()
    found = store.path.stat()
    return f"{store.attributes.get('created')}, {found.st_size} bytes, {found.st_mtime_ns} ns"


def shard_store(
    store: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    shard_rows: int = SHARD_ROWS,
    force: bool = False,
    progress: Progress | None = None,
) -> ShardedStore:
    """Copy a latent store into shards of ``shard_rows`` rows.

    Raises:
        LsamplerError: the store is damaged, or the target exists.
    """
    source = open_store(store)
    digest, where = source_digest(source), str(Path(store).absolute())
    tasks = [CopyTask(where, digest, start, rows) for start, rows in ranges(len(source), shard_rows)]
    return write_shards(path, source.dimension, tasks, _provenance(source), force=force, progress=progress)[0]


def merge_store(
    store: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> FileStore:
    """Copy a sharded store into one file.

    Raises:
        LsamplerError: the store is damaged, or the target exists or does not end in ``.h5``.
    """
    if Path(path).suffix != ".h5":
        raise LsamplerError(f"{path}: the name of a latent store must end in .h5")
    source = open_store(store)
    tracked = track(source.rows(), progress, "merging", len(source), len)
    write_store(path, source.dimension, tracked, _provenance(source), force=force)
    return FileStore(path)


def ranges(total: int, step: int) -> list[tuple[int, int]]:
    """(first row, number of rows) of shards of ``step`` rows.

    Raises:
        LsamplerError: ``step`` is less than 1.
    """
    if step < 1:
        raise LsamplerError(f"`shard_rows={step}`: give at least one row per shard")
    return [(start, min(step, total - start)) for start in range(0, total, step)]


def _provenance(store: FileStore | ShardedStore) -> dict[str, Any]:
    return {key: value for key, value in store.attributes.items() if key not in OWN_ATTRIBUTES}


def _checked_target(path: str | os.PathLike[str], *, force: bool) -> Path:
    target = Path(path)
    if target.suffix != SUFFIX:
        raise LsamplerError(f"{path}: the name of a sharded store must end in {SUFFIX}")
    check_output(target, force=force)
    if target.exists():
        check_folder(target, "sharded store")
        if not os.access(target, os.W_OK):
            raise LsamplerError(f"{path}: cannot be replaced; change its permissions, or choose another name")
    return target
