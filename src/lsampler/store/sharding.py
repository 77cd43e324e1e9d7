"""Writing of sharded stores, one task per shard: one after the other on this machine, or at once on a cluster.

Finished shards wait in a :class:`PartialStore`. A run that was interrupted, or whose worker died, does only what is
missing. What a shard holds follows from its task alone, so it does not matter which process writes it, or how often.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lsampler.compute.engine import current_engine
from lsampler.errors import LsamplerError
from lsampler.files import check_folder, check_output
from lsampler.progress import ProgressLike, shows_progress, track
from lsampler.store.file_store import FileStore
from lsampler.store.hdf5_layout import Provenance
from lsampler.store.labels import Label, Labels
from lsampler.store.latent_store import LatentStore, Rows
from lsampler.store.opening import open_store
from lsampler.store.partial_store import PartialStore
from lsampler.store.sharded_store import MANIFEST, SUFFIX, ShardedStore
from lsampler.store.writer import write_store

SHARD_ROWS = 1 << 20


@dataclass(frozen=True)
class ShardWork:
    """How the rows of a sharded store come about, in tasks of ``step`` rows, one per shard.

    Attributes:
        doing: what a progress bar shows.
        rows: of all tasks; a task may give fewer than its share.
        step: rows of a shard.
        planned: what decides on the rows, for JSON: digests of what files held in place of their names.
        chunks: gives the rows from one up to another; for a cluster a function of a module with a few plain arguments.
        columns: the labels that the store is to have.
        labels: of all rows, if ``chunks`` is to be given those of its rows as ``labels``.
    """

    doing: str
    rows: int
    step: int
    planned: dict[str, Any]
    chunks: Callable[..., Iterator[Rows]]
    columns: Sequence[Label] = ()
    labels: Labels | None = None

    def task(self, start: int, stop: int) -> ShardWork:
        """The same for these rows alone: a task is sent no labels of others."""
        if self.labels is None:
            return self
        return replace(
            self, chunks=functools.partial(self.chunks, labels=self.labels.rows(slice(start, stop))), labels=None
        )

    def shares(self) -> list[tuple[int, int]]:
        """The first row of every task, and the one after its last."""
        if self.step < 1:
            raise LsamplerError(f"`shard_rows={self.step}`: give at least one row per shard")
        return [(start, min(start + self.step, self.rows)) for start in range(0, self.rows, self.step)]


def write_shards(
    path: str | os.PathLike[str],
    dimension: int,
    work: ShardWork,
    provenance: Provenance,
    *,
    force: bool = False,
    progress: ProgressLike = None,
    prepare: Callable[[Path], None] = lambda folder: None,
) -> tuple[ShardedStore, dict[str, str]]:
    """Run the tasks on the current engine, and make their shards a sharded store.

    ``prepare`` is called with the folder of the unfinished store, to write there what the tasks read.
    Beside the store, the items that this run skipped are returned, with the reasons.
    """
    target, shares = _checked_target(path, force=force), work.shares()
    planned = [work.planned | {"start": start, "rows": stop - start} for start, stop in shares]
    partial = PartialStore(target, dimension, provenance, planned, force=force)
    skipped: dict[str, str] = {}
    try:
        check_output(target, force=force)  # only now no other process writes it
        prepare(partial.folder)
        partial.forget_unusable()
        missing = [number for number in range(len(shares)) if not partial.path(number).is_file()]
        jobs = [
            functools.partial(
                _write_shard,
                partial.path(n).absolute(),
                work.task(*shares[n]),
                shares[n],
                dimension,
                partial.shard_attributes(n),
            )
            for n in missing
        ]
        engine, done = current_engine(), work.rows - sum(shares[n][1] - shares[n][0] for n in missing)
        # On this machine a task has all cores to itself: it draws or encodes with as many threads.
        results = engine.map(operator.call, jobs) if engine.remote else map(operator.call, jobs)
        for _, left_out in track(results, progress, work.doing, work.rows, lambda result: result[0], done):
            skipped |= left_out
        if not any(len(FileStore(shard)) for shard in partial.shards()):
            partial.clear()
            why = "".join(f"; '{item}' {reason}" for item, reason in list(skipped.items())[:1])
            raise LsamplerError(f"{target}: not written, there is no latent vector to store{why}")
        return partial.become_sharded(len(shares)), skipped
    finally:
        partial.close()


def _write_shard(
    path: Path, work: ShardWork, share: tuple[int, int], dimension: int, attributes: dict[str, Any]
) -> tuple[int, dict[str, str]]:
    """Write one shard, unless it is there; returns the number of rows of its task, and what was skipped."""
    skipped: dict[str, str] = {}
    if not path.is_file():
        with contextlib.closing(work.chunks(*share)) as opened:  # type: ignore[type-var]
            rows = _without_skipped(opened, skipped)
            write_store(path, dimension, rows, attributes, columns=work.columns, force=True)
    return share[1] - share[0], skipped


def _without_skipped(chunks: Iterator[Rows], skipped: dict[str, str]) -> Iterator[Rows]:
    for rows in chunks:
        skipped.update(rows.skipped)
        if len(rows):
            yield rows


def _copied(path: Path, digest: str, start: int, stop: int) -> Iterator[Rows]:
    """Rows of another store, if it is still the same after the last one."""
    yield from _opened(path, digest).rows(start, stop)
    _check_same(path, digest)  # another file may have been put in its place


@functools.lru_cache(maxsize=1)
def _opened(path: Path, digest: str) -> LatentStore:
    """Opened once for all tasks: a store of many shards takes seconds."""
    store = open_store(path)
    _check_same(path, digest)
    return store


def _check_same(path: Path, digest: str) -> None:
    if not path.exists() or _digest_of(path) != digest:
        raise LsamplerError(f"{path}: has changed, or is another file for a worker; run the command again")


def _digest_of(path: Path) -> str:
    """Identifies a store among all that had or will have its name."""
    if path.is_dir():
        return hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    found = path.stat()
    return f"{found.st_size} bytes, {found.st_mtime_ns} ns"


@shows_progress
def shard_store(
    store: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    shard_rows: int = SHARD_ROWS,
    force: bool = False,
    progress: ProgressLike = None,
) -> ShardedStore:
    """Copy a latent store into shards of ``shard_rows`` rows.

    Raises:
        LsamplerError: the store is damaged, or the target exists.
    """
    source = open_store(store)
    where = Path(store).absolute()
    digest = _digest_of(where)
    copied = functools.partial(_copied, where, digest)
    work = ShardWork("sharding", len(source), shard_rows, {"source": digest}, copied, source.label_columns)
    return write_shards(path, source.dimension, work, source.provenance(), force=force, progress=progress)[0]


@shows_progress
def merge_store(
    store: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: ProgressLike = None,
) -> FileStore:
    """Copy a sharded store into one file.

    Raises:
        LsamplerError: the store is damaged, or the target exists or does not end in ``.h5``.
    """
    if Path(path).suffix != ".h5":
        raise LsamplerError(f"{path}: the name of a latent store must end in .h5")
    source = open_store(store)
    tracked = track(source.rows(), progress, "merging", len(source), len)
    write_store(path, source.dimension, tracked, source.provenance(), columns=source.label_columns, force=force)
    return FileStore(path)


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
