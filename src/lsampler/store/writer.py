"""Writing of latent stores in one file, so that a process killed at any moment loses nothing committed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.arrays import not_finite
from lsampler.errors import LsamplerError, nearest_name, shortened
from lsampler.files import check_output, new_file
from lsampler.store.file_store import FileStore
from lsampler.store.hdf5_layout import Provenance, all_storable, storable, write_file
from lsampler.store.labels import Label, Labels, recoded, united
from lsampler.store.latent_store import RUN, SPLITS, Rows
from lsampler.store.partial_store import PartialStore, difference_of, signature
from lsampler.store.reference import Split


def write_store(
    path: str | os.PathLike[str],
    dimension: int,
    chunks: Iterable[NDArray[np.float32] | Rows],
    provenance: Provenance,
    *,
    columns: Sequence[Label] = (),
    force: bool = False,
) -> None:
    """Stream chunks into a new store file, complete or absent; memory does not grow with the rows.

    A chunk is latent vectors (n, D), alone or with ids, splits and labels; the caller has checked them. ``columns`` are
    the labels that the store is to have.
    """
    with new_file(path, force=force) as beside:
        rows = (chunk if isinstance(chunk, Rows) else Rows(chunk) for chunk in chunks)
        write_file(beside, dimension, rows, provenance, columns)


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
        found = signature(self.path)
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
                self.path, self.dimension, self.provenance | self.origin, replacing=signature(self.path)
            )
        try:
            self._shards = [FileStore(shard) for shard in self._partial.shards()]
        except LsamplerError as error:
            raise LsamplerError(f"{error}, or pass `force=True` to start over") from error
        if [shard.path for shard in self._shards] != [self._partial.path(k) for k in range(len(self._shards))]:
            raise LsamplerError(f"{self._partial.folder}: a shard is missing; pass `force=True` to start over")

    def _check_appendable(self, store: FileStore) -> None:
        found, expected = store.provenance(), self.provenance | self.origin
        joined = {key: None for key, value in self.origin.items() if isinstance(found.get(key), type(value))}
        was, now = {"D": store.dimension, **found, **joined}, {"D": self.dimension, **expected, **joined}
        if difference := difference_of(was, now):
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
        self,
        latents: NDArray[Any],
        ids: Sequence[str] | None = None,
        split: Split | Sequence[Split] = "train",
        labels: Labels | None = None,
    ) -> None:
        """Add latent vectors (n, D), with one id each and perhaps labels, to a split, or each to its own.

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
        for what, values in (("ids", ids), ("splits", splits), ("labels", labels and labels.codes)):
            if values is not None and len(values) != len(rows):
                raise LsamplerError(f"{self.path}: {len(values)} {what} for {len(rows)} latent vectors")
        for identity in ids if ids and not all_storable(ids) else ():
            if not storable(identity):
                shown = shortened(repr(identity))
                raise LsamplerError(f"{self.path}: id {shown} cannot be stored; rename it without NUL, or shorter")
        if len(bad := not_finite(rows)):
            named = f"{bad[0]} (item '{ids[bad[0]]}')" if ids else f"{bad[0]}"
            raise LsamplerError(f"{self.path}: latent vector {named} holds NaN or infinite values; check the encoder")
        if len(rows):
            self._pending.append(Rows(rows, None if ids is None else list(ids), splits, labels))
            self.pending += len(rows)
        if self.pending >= self._commit_rows:
            self.commit()

    def committed_ids(self) -> list[str]:
        """The ids of the committed rows."""
        return [identity for shard in self._shards for identity in shard.ids()]

    def committed_labels(self) -> Labels | None:
        """The labels of the committed rows; None if they have none."""
        columns = united(shard.label_columns for shard in self._shards)
        codes = [recoded(shard.labels, columns, len(shard)) for shard in self._shards]
        return Labels(columns, np.concatenate(codes)) if columns else None

    def commit(self) -> None:
        """Make the rows appended so far survive whatever happens to this process."""
        if not self._pending:
            return
        number = len(self._shards)
        path = self._partial.path(number)
        columns = united(rows.labels.columns for rows in self._pending if rows.labels)
        attributes = self._partial.shard_attributes(number)
        write_store(path, self.dimension, self._pending, attributes, columns=columns, force=True)
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
