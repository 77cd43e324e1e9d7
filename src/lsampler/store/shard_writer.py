"""Writing of sharded stores, a shard a task: on this machine one after the other, on a cluster at once.

Finished shards wait in a folder beside the store (``NAME.shards.partial``), each appearing whole by
a rename. A run that was interrupted, or whose worker died, does only what is missing. What a shard
holds follows from its task alone, so it does not matter who writes it, or how often.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lsampler.compute.engine import current_engine
from lsampler.compute.seeded_blocks import BLOCK_ROWS as DRAWN_ROWS
from lsampler.errors import LsamplerError
from lsampler.files import check_folder, check_output, disk_errors, mark_folder, new_file
from lsampler.progress import Progress, track
from lsampler.samplers.base import LatentSampler
from lsampler.store.sharded import MANIFEST, RUN, SHARD, SUFFIX, Manifest, Shard, ShardedStore, open_store
from lsampler.store.single_file import LatentStore, partial_folder
from lsampler.store.writer import OWN_ATTRIBUTES, Provenance, StoreBlock, write_store

__all__ = ["SHARD_ROWS", "Note", "ShardTask", "merge_store", "ranges", "sample_shards", "shard_store", "write_shards"]

SHARD_ROWS = 1 << 20
PLAN = "plan.json"
SAMPLER = "sampler.safetensors"


class Note(NamedTuple):
    """Something a task tells of an item that is not in its shard."""

    item: str
    text: str


class ShardTask(Protocol):
    """What a shard is to hold, in a few plain values."""

    @property
    def rows(self) -> int:
        """How many rows, at most."""
        ...

    def planned(self) -> dict[str, Any]:
        """What decides on its rows, for JSON: no names of files, but digests of what they held."""
        ...

    def chunks(self) -> Iterator[StoreBlock | Note]:
        """The rows, and what else there is to tell."""
        ...


@dataclass(frozen=True)
class _Copied:
    """Rows of another store."""

    store: str
    identity: str
    start: int
    rows: int

    def planned(self) -> dict[str, Any]:
        return {"source": self.identity, "start": self.start, "rows": self.rows}

    def chunks(self) -> Iterator[StoreBlock]:
        store = _opened(self.store, self.identity)
        yield from store.labelled(self.start, self.start + self.rows)
        _check_same(store, self.identity)  # a file that was put in its place while it was read


@lru_cache(maxsize=1)
def _opened(path: str, identity: str) -> LatentStore:
    """Once for all tasks: a store of many shards takes seconds."""
    store = open_store(path)
    _check_same(store, identity)
    return store


def _check_same(store: LatentStore, identity: str) -> None:
    try:
        same = _identity(store) == identity
    except OSError:  # it is gone
        same = False
    if not same:
        raise LsamplerError(f"{store.name}: has changed, or is another file for a worker; run the command again")


@dataclass(frozen=True)
class _Drawn:
    """Rows of a fitted strategy."""

    strategy: type[LatentSampler]
    sampler: str
    identity: str
    start: int
    rows: int
    seed: int
    device: str
    threads: int | None

    def planned(self) -> dict[str, Any]:
        return {
            "sampler": self.identity,
            "start": self.start,
            "rows": self.rows,
            "seed": self.seed,
            "device": self.device,
        }

    def chunks(self) -> Iterator[StoreBlock]:
        sampler = self.strategy.load(self.sampler)
        threads = 1 if current_engine().remote else self.threads
        for block in sampler.stream(self.rows, seed=self.seed, device=self.device, threads=threads, start=self.start):
            yield block.cpu().numpy(), None, None


def ranges(total: int, step: int) -> list[tuple[int, int]]:
    """(start, rows) of parts of ``step`` rows."""
    return [(start, min(step, total - start)) for start in range(0, total, step)]


def sample_shards(
    sampler: LatentSampler,
    n: int,
    path: str | os.PathLike[str],
    provenance: Provenance,
    *,
    seed: int = 0,
    device: str = "cpu",
    threads: int | None = None,
    shard_rows: int = SHARD_ROWS,
    force: bool = False,
    progress: Progress | None = None,
) -> ShardedStore:
    """Draw ``n`` vectors into a sharded store: the rows of :meth:`LatentSampler.sample`, whoever draws them.

    Args:
        sampler: fitted.
        n: how many.
        path: of the sharded store.
        provenance: its attributes.
        seed: as for :meth:`LatentSampler.sample`.
        device: likewise.
        threads: on this machine; a worker of a cluster draws with one.
        shard_rows: rows a shard; rounded up to whole blocks of 2048.
        force: replace a store that exists, and forget an interrupted run.
        progress: where to show the advance.

    Raises:
        LsamplerError: the store exists, or an interrupted run drew something else.
    """
    target = _checked_target(path, shard_rows, force=force)
    step = -(-shard_rows // DRAWN_ROWS) * DRAWN_ROWS
    saved, identity = partial_folder(target).absolute() / SAMPLER, sampler._digest()
    strategy = type(sampler)
    tasks = [
        _Drawn(strategy, str(saved), identity, start, rows, seed, device, threads) for start, rows in ranges(n, step)
    ]
    with _Partial(target, sampler.dimension, tasks, provenance, force=force) as partial:
        sampler.save(saved, force=True)
        return partial.write(tasks, progress, "drawing")[0]


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
    target = _checked_target(path, shard_rows, force=force)
    where, identity = str(Path(store).absolute()), _identity(source)
    tasks = [_Copied(where, identity, start, rows) for start, rows in ranges(len(source), shard_rows)]
    if not tasks:
        raise LsamplerError(f"{store}: holds no latent vectors; name a store that does")
    with _Partial(target, source.dimension, tasks, _provenance(source), force=force) as partial:
        return partial.write(tasks, progress, "sharding")[0]


def merge_store(
    store: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> LatentStore:
    """Copy a sharded store into one file.

    Raises:
        LsamplerError: the store is damaged, or the target exists.
    """
    source = open_store(store)
    tracked = track(source.labelled(), progress, "merging", len(source), lambda block: len(block[0]))
    write_store(path, source.dimension, tracked, _provenance(source), force=force)
    return LatentStore(path)


def write_shards(
    path: str | os.PathLike[str],
    dimension: int,
    tasks: Sequence[ShardTask],
    provenance: Provenance,
    *,
    force: bool = False,
    progress: Progress | None = None,
    what: str = "writing",
) -> tuple[ShardedStore, list[Note]]:
    """Work off tasks, a shard each, on the current engine; see the module. Notes are those of this run."""
    target = _checked_target(path, force=force)
    with _Partial(target, dimension, tasks, provenance, force=force) as partial:
        return partial.write(tasks, progress, what)


class _Partial:
    """The folder where finished shards wait for the others."""

    def __init__(
        self, target: Path, dimension: int, tasks: Sequence[ShardTask], provenance: Provenance, *, force: bool
    ) -> None:
        self._target, self._dimension, self._provenance = target, dimension, dict(provenance)
        self._folder = partial_folder(target)
        self._old = target.with_name(f".{target.name}.old")
        plan = {
            "dimension": dimension,
            "attributes": self._provenance,
            "tasks": [task.planned() for task in tasks],
        }
        text = json.dumps(plan, sort_keys=True)
        self._run = hashlib.sha256(text.encode()).hexdigest()[:32]
        self._begin(text, force=force)

    def _begin(self, plan: str, *, force: bool) -> None:
        file = self._folder / PLAN
        check_folder(self._folder, "sharded store")
        with disk_errors(self._folder):
            if force:
                if self._old.exists() and not self._target.exists():
                    self._old.rename(self._target)  # a run was killed just before the new store took its place
                _discard(self._folder)
                _discard(self._old)
            elif self._finished():
                try:
                    earlier = file.read_text(encoding="utf-8")
                except (OSError, ValueError):
                    earlier = ""
                if earlier != plan:
                    raise LsamplerError(
                        f"{self._folder}: is of an interrupted run with other settings ({_difference(earlier, plan)}); "
                        "repeat that one to go on, or add --force to start anew"
                    )
        mark_folder(self._folder, "sharded store")
        with new_file(file, force=True) as beside:
            beside.write_text(plan, encoding="utf-8")

    def _finished(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.h5"))

    def _forget_unusable(self) -> None:
        """A shard that was cut short, perhaps with the machine's power, or is of another run, is made again."""
        for path in self._finished():
            try:
                usable = LatentStore(path).attributes.get(RUN) == self._run
            except LsamplerError:
                usable = False
            if not usable:
                with disk_errors(path):
                    path.unlink()

    def __enter__(self) -> _Partial:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not self._finished():
            shutil.rmtree(self._folder, ignore_errors=True)

    def write(
        self, tasks: Sequence[ShardTask], progress: Progress | None, what: str
    ) -> tuple[ShardedStore, list[Note]]:
        """Do what is missing, then put the store in its place."""
        self._forget_unusable()
        folder = str(self._folder.absolute())
        wanted = [
            _Order(folder, number, task, self._dimension, self._provenance | {RUN: self._run})
            for number, task in enumerate(tasks)
            if not (self._folder / _file(number)).is_file()
        ]
        engine, total = current_engine(), sum(task.rows for task in tasks)
        done = total - sum(order.task.rows for order in wanted)
        # Here a task has all cores to itself: it draws or encodes with as many threads.
        results = engine.map(_carry_out, wanted) if engine.remote else map(_carry_out, wanted)
        notes: list[Note] = []
        for _, told in track(results, progress, what, total, lambda result: result[0], done):
            notes += told
        return self._finish(len(tasks), notes), notes

    def _finish(self, count: int, notes: Sequence[Note]) -> ShardedStore:
        shards = []
        for number in range(count):
            path = self._folder / _file(number)
            store = LatentStore(path)
            if store.attributes.get(RUN) != self._run:
                path.unlink()
                raise LsamplerError(f"{path}: was written by another run meanwhile; run the command again")
            shards.append(Shard(file=path.name, rows=len(store), train=store.count("train"), bytes=path.stat().st_size))
        if not any(shard.rows for shard in shards):
            shutil.rmtree(self._folder)
            why = f"; '{notes[0].item}' {notes[0].text}" if notes else ""
            raise LsamplerError(f"{self._target}: not written, there is no latent vector to store{why}")
        manifest = Manifest(run=self._run, dimension=self._dimension, attributes=self._provenance, shards=shards)
        with new_file(self._folder / MANIFEST, force=True) as beside:
            # A name of a file in it need not be Unicode: what json escapes, it reads again.
            beside.write_text(json.dumps(manifest.model_dump(), indent=1), encoding="utf-8")
        # The plan goes last: a run that is killed on the way finds the folder as that of its own.
        kept = {MANIFEST, PLAN, ".lsampler", *(shard.file for shard in shards)}
        with disk_errors(self._target):
            for entry in self._folder.iterdir():
                if entry.name not in kept:  # what killed workers left
                    entry.unlink(missing_ok=True)
            if self._target.exists():
                self._target.rename(self._old)
            self._folder.rename(self._target)
            (self._target / PLAN).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the store is in its place
            _discard(self._old)
        return ShardedStore(self._target)


@dataclass(frozen=True)
class _Order:
    folder: str
    number: int
    task: ShardTask
    dimension: int
    provenance: Provenance


def _carry_out(order: _Order) -> tuple[int, list[Note]]:
    """Write one shard, unless it is there; returns the rows of its task, and its notes."""
    notes: list[Note] = []
    path = Path(order.folder) / _file(order.number)
    if not path.is_file():
        attributes = {**order.provenance, SHARD: order.number}
        with contextlib.closing(order.task.chunks()) as blocks:  # type: ignore[type-var]
            write_store(path, order.dimension, _without_notes(blocks, notes), attributes, force=True)
    return order.task.rows, notes


def _without_notes(blocks: Iterator[StoreBlock | Note], notes: list[Note]) -> Iterator[StoreBlock]:
    for block in blocks:
        if isinstance(block, Note):
            notes.append(block)
        else:
            yield block


def _discard(path: Path) -> None:
    """Remove a folder, or only the link to one."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _file(number: int) -> str:
    return f"{number:08d}.h5"


def _provenance(store: LatentStore) -> dict[str, Any]:
    return {key: value for key, value in store.attributes.items() if key not in (*OWN_ATTRIBUTES, SHARD, RUN)}


def _identity(store: LatentStore) -> str:
    """Another one than of any store that had or will have its name."""
    if isinstance(store, ShardedStore):
        return hashlib.sha256((store.path / MANIFEST).read_bytes()).hexdigest()
    found = store.path.stat()
    return f"{store.attributes.get('created')}, {found.st_size} bytes, {found.st_mtime_ns} ns"


def _difference(earlier: str, plan: str) -> str:
    """In which setting two plans differ."""
    try:
        was, now = (json.loads(text)["attributes"] for text in (earlier, plan))
    except (ValueError, LookupError, TypeError):
        return "its plan is lost"
    for key in sorted({*was, *now}):
        if was.get(key) != now.get(key):
            return f"{key} = {was.get(key)}, now {now.get(key)}"
    return "of other vectors, or another number of them"


def _checked_target(path: str | os.PathLike[str], shard_rows: int | None = None, *, force: bool) -> Path:
    target = Path(path)
    if shard_rows is not None and shard_rows < 1:
        raise LsamplerError(f"{path}: {shard_rows} rows a shard; give at least one")
    if target.suffix != SUFFIX:
        raise LsamplerError(f"{path}: the name of a sharded store must end in {SUFFIX}")
    check_output(target, force=force)
    if target.exists():
        check_folder(target, "sharded store")
        if not os.access(target, os.W_OK):
            raise LsamplerError(f"{path}: cannot be replaced; change its permissions, or choose another name")
    return target
