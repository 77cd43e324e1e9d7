"""Writing of latent stores, so that a process killed at any moment loses nothing committed.

A store is complete or absent. A store that is not finished is a folder of shards beside it, ``NAME.partial``: each
appears whole by a rename and is then committed. When all are there, the folder becomes a sharded store by a rename, or
the shards are merged into one file, which replaces the old one by a rename. Rerun, a writer resumes after the shards
that are committed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, nearest_name
from lsampler.files import (
    MARK,
    check_folder,
    check_output,
    disk_errors,
    file_into_place,
    folder_into_place,
    mark_folder,
    new_file,
    only_writer,
    remove,
)
from lsampler.statistics.moments import not_finite
from lsampler.store.file_store import FileStore, committed_shards, partial_folder
from lsampler.store.hdf5_layout import Provenance, StoreFile, hdf5_file, storable
from lsampler.store.latent_store import RUN, SHARD, SPLITS, Rows
from lsampler.store.reference import Split
from lsampler.store.sharded_store import MANIFEST, Manifest, Shard, ShardedStore

PLAN = "plan.json"


def write_store(
    path: str | os.PathLike[str],
    dimension: int,
    chunks: Iterable[NDArray[np.float32] | Rows],
    provenance: Provenance,
    *,
    force: bool = False,
) -> None:
    """Stream chunks into a new store file, complete or absent; memory does not grow with the rows.

    A chunk is latent vectors (n, D), alone or with ids and splits; the caller has checked them.
    """
    with new_file(path, force=force) as beside:
        _fill(beside, dimension, chunks, provenance)


def _fill(path: Path, dimension: int, chunks: Iterable[NDArray[np.float32] | Rows], attributes: Provenance) -> None:
    with hdf5_file(path, libver="v112") as handle:
        file = StoreFile(handle, dimension, attributes)
        for chunk in chunks:
            file.append(chunk if isinstance(chunk, Rows) else Rows(chunk))


class PartialStore:
    """The folder in which finished shards wait until the store ``target`` is complete.

    ``tasks`` say what decides on the rows of each shard, in values that JSON knows; None for shards of any rows.
    ``force`` discards what an interrupted run has left; without it, the target is replaced only if it is still the
    store with the signature ``replacing``. The attribute ``run`` identifies everything that determines the
    rows; without ``tasks`` it is different for every store.
    """

    def __init__(
        self,
        target: Path,
        dimension: int,
        attributes: Provenance,
        tasks: Sequence[Mapping[str, Any]] | None = None,
        *,
        replacing: object = None,
        force: bool = False,
    ) -> None:
        self._replacing = replacing
        self._target, self._dimension, self._attributes = target, dimension, dict(attributes)
        self._force, self.folder, self._old = force, partial_folder(target), target.with_name(f".{target.name}.old")
        check_folder(self.folder, "sharded store")
        mark_folder(self.folder, "sharded store")
        self._lock = only_writer(self.folder, target)
        try:
            if force:
                self._start_over()
            self._begin({"dimension": dimension, "attributes": self._attributes, "tasks": tasks})
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let other processes write; finished shards stay."""
        if self._lock.close.alive and not self.shards():
            self.clear()
        self._lock.close()

    def check_target(self) -> None:
        """Raise LsamplerError if the target has appeared or changed meanwhile."""
        if not self._force and _signature(self._target) != self._replacing:
            fix = "run the command again, or choose another name"
            raise LsamplerError(f"{self._target}: was written by another process meanwhile; {fix}")

    def _start_over(self) -> None:
        with disk_errors(self.folder):
            if self._old.exists() and not self._target.exists():
                self._old.rename(self._target)  # a run was killed just before the new store took its place
            self._empty()
            remove(self._old)

    def _begin(self, plan: dict[str, Any]) -> None:
        """Compare the plan with that of an interrupted run."""
        session = uuid.uuid4().hex if plan["tasks"] is None else ""
        if self.shards():
            earlier = self._earlier_plan()
            session = earlier.pop("session", session)
            if _as_json(earlier) != _as_json(plan):
                was, now = (
                    {"D": found.get("dimension"), **(found.get("attributes") or {})} for found in (earlier, plan)
                )
                difference = _difference(was, now) if earlier else "its plan is lost"
                what = difference or "of other vectors, or another number of them"
                fix = "rerun that one to resume, or pass `force=True` to start over"
                raise LsamplerError(f"{self.folder}: is of an interrupted run with other settings ({what}); {fix}")
        self._plan = _as_json(plan | {"session": session})
        self.run = hashlib.sha256(self._plan.encode()).hexdigest()[:32]
        if not self.shards():
            with new_file(self.folder / PLAN, force=True) as beside:
                beside.write_text(self._plan, encoding="utf-8")

    def _earlier_plan(self) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / PLAN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def shards(self) -> list[Path]:
        """The committed shards, in order."""
        return committed_shards(self._target)

    def path(self, number: int) -> Path:
        """Where a shard is, or will be."""
        return self.folder / f"{number:08d}.h5"

    def shard_attributes(self, number: int) -> dict[str, Any]:
        """The attributes of a shard."""
        return self._attributes | {RUN: self.run, SHARD: number}

    def forget_unusable(self) -> None:
        """Remove shards that were cut short, perhaps by a power failure, or are of another run: they are made again."""
        for path in self.shards():
            try:
                usable = FileStore(path).attributes.get(RUN) == self.run
            except LsamplerError:
                usable = False
            if not usable:
                with disk_errors(path):
                    path.unlink()

    def merge(self, base: FileStore | None, attributes: Provenance) -> None:
        """Put the rows of ``base``, if any, and all shards into one file, which takes the target's place."""
        # In the folder, under one name: what a killed merge leaves is overwritten by the next.
        merged = self.folder / "merged.h5"
        try:
            with disk_errors(self._target):
                stores = [*filter(None, [base]), *map(FileStore, self.shards())]
                rows = (chunk for store in stores for chunk in store.rows())
                _fill(merged, self._dimension, rows, {**attributes, RUN: self.run})
                self.check_target()
                file_into_place(merged, self._target, force=self._force or base is not None)
        finally:
            merged.unlink(missing_ok=True)
        self.clear()

    def become_sharded(self, count: int) -> ShardedStore:
        """Make the folder, which holds ``count`` shards, a sharded store, and put it in the target's place."""
        shards = []
        for path in map(self.path, range(count)):
            store = FileStore(path)
            if store.attributes.get(RUN) != self.run:
                path.unlink()
                raise LsamplerError(f"{path}: was written by another run meanwhile; run the command again")
            shards.append(Shard(file=path.name, rows=len(store), train=store.count("train"), bytes=path.stat().st_size))
        manifest = Manifest(run=self.run, dimension=self._dimension, attributes=self._attributes, shards=shards)
        with new_file(self.folder / MANIFEST, force=True) as beside:
            # A name of a file in it need not be Unicode: what json escapes, it reads again.
            beside.write_text(json.dumps(manifest.model_dump(), indent=1), encoding="utf-8")
        # The plan goes last: a run that is killed on the way finds its own folder again.
        kept = {MANIFEST, PLAN, MARK, *(shard.file for shard in shards)}
        with disk_errors(self._target):
            for entry in self.folder.iterdir():
                if entry.name not in kept:  # what killed workers left
                    remove(entry)
            folder_into_place(self.folder, self._target, self._old, force=self._force)
            (self._target / PLAN).unlink(missing_ok=True)
        remove(self._old)
        self._lock.close()
        return ShardedStore(self._target)

    def clear(self) -> None:
        """Remove the folder."""
        self._empty()
        remove(self.folder)
        self._lock.close()

    def _empty(self) -> None:
        """Remove the last shard first: a process killed here leaves a beginning, never a gap."""
        others = [entry for entry in self.folder.iterdir() if entry.name != MARK and entry not in self.shards()]
        for entry in [*reversed(self.shards()), *others]:
            remove(entry)


class StoreWriter:
    """Appends rows to a store file, new or existing; a context manager.

    Rows are committed every ``commit_rows`` rows. Left without an exception, the context
    merges them into the store; left by one (Ctrl-C too), it commits what it has and keeps the
    shards, and a new writer on the same path resumes after :attr:`committed` rows.

    Args:
        path: of the store.
        dimension: D.
        provenance: attributes of the whole store, such as encoder and crop.
        origin: attributes of the rows this writer adds, such as source. Those of an existing
            store may differ: texts are joined with " + ", numbers added.
        force: start over: discard an existing store of that name once the new one is complete.
        append: to an existing store; False refuses one.
        commit_rows: how often rows are committed.

    Attributes:
        committed: rows that survive whatever happens to this process.
        pending: rows that were appended, but are not committed yet.

    Raises:
        LsamplerError: existing rows have another D or another provenance, or another process is writing the store.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dimension: int,
        provenance: Provenance,
        *,
        origin: Provenance | None = None,
        force: bool = False,
        append: bool = True,
        commit_rows: int = 1024,
    ) -> None:
        self.path, self.dimension = Path(path), dimension
        self.provenance, self.origin = dict(provenance), dict(origin or {})
        check_output(self.path, force=force or append)
        if self.path.is_dir():
            raise LsamplerError(f"{path}: is a folder, cannot be replaced by a file")
        found = _signature(self.path)
        self._base = FileStore(self.path) if found and not force else None
        if self._base:
            self._check_appendable(self._base)
        self._partial = PartialStore(self.path, dimension, self.provenance | self.origin, replacing=found, force=force)
        try:
            self._partial.check_target()  # only now no other process writes it
            self._resume()
        except BaseException:
            self._partial.close()
            raise
        self._commit_rows = commit_rows
        self._pending: list[Rows] = []
        self.pending = 0
        self.committed = sum(map(len, self._shards))

    def _resume(self) -> None:
        if self._base and self._base.attributes.get(RUN) == self._partial.run:
            # A process was killed after it had merged the shards, and before it had removed them.
            self._partial.clear()
            self._partial = PartialStore(
                self.path, self.dimension, self.provenance | self.origin, replacing=_signature(self.path)
            )
        self._shards = [FileStore(shard) for shard in self._partial.shards()]
        if [shard.path for shard in self._shards] != [self._partial.path(k) for k in range(len(self._shards))]:
            raise LsamplerError(f"{self._partial.folder}: a shard is missing; pass `force=True` to start over")

    def _check_appendable(self, store: FileStore) -> None:
        found, expected = store.provenance(), self.provenance | self.origin
        joined = dict.fromkeys(self.origin.keys() & found.keys())
        was, now = {"D": store.dimension, **found, **joined}, {"D": self.dimension, **expected, **joined}
        if difference := _difference(was, now):
            fix = "choose another name or pass `force=True`"
            raise LsamplerError(f"{self.path}: was written with {difference}; {fix}")

    def __enter__(self) -> Self:
        """Nothing is written before the first row."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Merge, or after an exception keep what can be kept."""
        if kind is None:
            self.finish()
            return
        # If this fails too, the exception under way says more.
        with contextlib.suppress(LsamplerError):
            self.commit()
        self._partial.close()

    def append(
        self, latents: NDArray[Any], ids: Sequence[str] | None = None, split: Split | Sequence[Split] = "train"
    ) -> None:
        """Add latent vectors (n, D), with one id each, to a split, or each to its own.

        Raises:
            LsamplerError: wrong shape, NaN or infinite values; nothing of the call is added.
        """
        # A copy: callers fill the same array again and again. Too large for float32 is refused below.
        with np.errstate(over="ignore"):
            rows = np.array(latents, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise LsamplerError(f"{self.path}: latents of shape {rows.shape}, the store holds D = {self.dimension}")
        splits: list[Split] = [split] * len(rows) if isinstance(split, str) else list(split)
        unknown = next((str(name) for name in splits if name not in SPLITS), None)
        if unknown is not None:
            raise LsamplerError(f"{self.path}: split '{unknown}' is unknown{nearest_name(unknown, SPLITS)}")
        for what, values in (("ids", ids), ("splits", splits)):
            if values is not None and len(values) != len(rows):
                raise LsamplerError(f"{self.path}: {len(values)} {what} for {len(rows)} latent vectors")
        for identity in ids or ():
            if not storable(identity):
                raise LsamplerError(f"{self.path}: id {identity!r} cannot be stored; rename it without NUL or the like")
        if len(bad := not_finite(rows)):
            named = f"{bad[0]} (item '{ids[bad[0]]}')" if ids else f"{bad[0]}"
            raise LsamplerError(f"{self.path}: latent vector {named} holds NaN or infinite values; check the encoder")
        if len(rows):
            self._pending.append(Rows(rows, None if ids is None else list(ids), splits))
            self.pending += len(rows)
        if self.pending >= self._commit_rows:
            self.commit()

    def committed_ids(self) -> list[str]:
        """The ids of the committed rows."""
        return [identity for shard in self._shards for identity in shard.ids()]

    def commit(self) -> None:
        """Make the rows appended so far survive whatever happens to this process."""
        if not self._pending:
            return
        number = len(self._shards)
        path = self._partial.path(number)
        write_store(path, self.dimension, self._pending, self._partial.shard_attributes(number), force=True)
        added = self.pending
        # First: were Ctrl-C to come after the next line, leaving the context must not commit them twice.
        self._pending, self.pending = [], 0
        self._shards.append(FileStore(path))
        self.committed += added

    def finish(self) -> None:
        """Merge the committed rows into the store and remove the shards."""
        try:
            self.commit()
            if self._shards:
                self._partial.merge(self._base, self.provenance | self._joined_origin())
                self._shards = []
            elif self._base is None:
                raise LsamplerError(f"{self.path}: no latent vectors to store")
        finally:
            self._partial.close()

    def _joined_origin(self) -> dict[str, Any]:
        earlier = {} if self._base is None else self._base.attributes
        joined = dict(self.origin)
        for key, value in self.origin.items():
            if key in earlier:
                joined[key] = f"{earlier[key]} + {value}" if isinstance(value, str) else earlier[key] + value
        return joined


def _signature(path: Path) -> tuple[int, int, int] | None:
    """Identifies a file among all that had or will have its name; None if there is none."""
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size
    return None


def _as_json(plan: Mapping[str, Any]) -> str:
    return json.dumps(plan, sort_keys=True, default=str)


def _difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first setting in which two differ, in words."""
    for key in [*now, *was]:
        if was.get(key) != now.get(key):
            return f"{key} = {was.get(key, 'nothing')}, now {now.get(key, 'nothing')}"
    return None
