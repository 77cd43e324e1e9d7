"""The folder of a store that is not finished: its shards, its plan, and the lock of the process that writes it.

A store is complete or absent. A store that is not finished is a folder of shards beside it, ``NAME.partial``: each
appears whole by a rename and is then committed. When all are there, the folder becomes a sharded store by a rename, or
the shards are merged into one file, which replaces the old one by a rename. Rerun, a writer resumes after the shards
that are committed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lsampler.errors import LsamplerError
from lsampler.files import (
    MARK,
    check_folder,
    disk_errors,
    file_into_place,
    folder_into_place,
    mark_folder,
    new_file,
    only_writer,
    own_text,
    remove,
)
from lsampler.store.file_store import FileStore, committed_shards, partial_folder
from lsampler.store.hdf5_layout import Provenance, write_file
from lsampler.store.labels import united
from lsampler.store.latent_store import RUN, SHARD
from lsampler.store.sharded_store import MANIFEST, Manifest, Shard, ShardedStore

PLAN = "plan.json"


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
        if not self._force and signature(self._target) != self._replacing:
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
                difference = difference_of(was, now) if earlier else "its plan is lost"
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
            found = json.loads(own_text(self.folder / PLAN))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) and isinstance(found.get("attributes", {}), dict) else {}

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
        self.check_target()
        try:
            with disk_errors(self._target):
                stores = [*filter(None, [base]), *map(FileStore, self.shards())]
                rows = (chunk for store in stores for chunk in store.rows())
                columns = united(store.label_columns for store in stores)
                write_file(merged, self._dimension, rows, {**attributes, RUN: self.run}, columns)
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


def signature(path: Path) -> tuple[int, int, int] | None:
    """Identifies a file among all that had or will have its name; None if there is none."""
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        return found.st_ino, found.st_mtime_ns, found.st_size
    return None


def _as_json(plan: Mapping[str, Any]) -> str:
    return json.dumps(plan, sort_keys=True, default=str)


def difference_of(was: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first setting in which two differ, in words."""
    for key in [*now, *was]:
        if was.get(key) != now.get(key):
            return f"{key} = {was.get(key, 'nothing')}, now {now.get(key, 'nothing')}"
    return None
