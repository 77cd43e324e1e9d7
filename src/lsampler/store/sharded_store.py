"""A latent store of several files: a folder of shards with a manifest, for more latents than one file should hold.

``manifest.json`` lists the shards in their order with their rows and bytes. Each shard is a store
by itself and knows its number, so that shards that were swapped, lost or cut short are found.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from lsampler.errors import LsamplerError
from lsampler.statistics.passes import Segment, segment_rows
from lsampler.store.file_store import FileSegment, FileStore, check_finished
from lsampler.store.hdf5_layout import RUN, SHARD
from lsampler.store.latent_store import CHUNK_ROWS, LatentStore, Read
from lsampler.store.reference import Split

__all__ = ["MANIFEST", "SUFFIX", "Manifest", "Shard", "ShardedStore", "is_sharded"]

MANIFEST = "manifest.json"
SUFFIX = ".shards"


class Shard(BaseModel):
    """What the manifest says about a shard."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    # A name in the folder: a manifest from elsewhere must not lead out of it.
    file: Annotated[str, StringConstraints(pattern=r"^[0-9]{8}\.h5$")]
    rows: int = Field(ge=0)
    train: int = Field(ge=0)
    bytes: int = Field(ge=0)

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        if self.train > self.rows:
            raise ValueError(f"{self.train} of {self.rows} rows are in the split train")
        return self


class Manifest(BaseModel):
    """What a sharded store consists of."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal["lsampler-shards"] = "lsampler-shards"
    format_version: Literal[1] = 1
    run: str
    dimension: int = Field(ge=1)
    attributes: dict[str, Any]
    shards: list[Shard] = Field(min_length=1)


class ShardedStore(LatentStore):
    """An existing sharded store; it is read like one file with all rows.

    Args:
        path: of the folder.

    Attributes:
        shards: the store files, in order.

    Raises:
        LsamplerError: no manifest, a shard missing or damaged, or shards that are not the manifest's.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path, self.name = Path(path), str(path)
        manifest = _manifest(self.path)
        self.dimension, self.attributes = manifest.dimension, dict(manifest.attributes)
        self.fingerprint = self.attributes.get("encoder")
        self.shards = [_checked(self.path, number, shard, manifest) for number, shard in enumerate(manifest.shards)]
        _check_no_others(self.path, manifest)
        self.has_ids = all(shard.has_ids for shard in self.shards if len(shard))
        self._listed = manifest.shards
        self._starts = np.cumsum([0, *map(len, self.shards)]).tolist()

    def __reduce__(self) -> tuple[type[ShardedStore], tuple[Path]]:
        """Another process opens the folder by its name."""
        return type(self), (self.path.absolute(),)

    def __len__(self) -> int:
        """The number of latent vectors."""
        return int(self._starts[-1])

    def count(self, split: Split) -> int:
        """How many vectors belong to a split."""
        train = sum(shard.train for shard in self._listed)
        return train if split == "train" else len(self) - train

    def chunks(
        self, split: Split | None = "train", chunk_rows: int = CHUNK_ROWS, *, start: int = 0, stop: int | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """The latent vectors of a split, or all with None, in order, as arrays (n, D), none of two shards."""
        for shard, first, last in self._within(start, stop):
            yield from shard.chunks(split, chunk_rows, start=first, stop=last)

    def segments(self, split: Split = "train") -> Sequence[Segment]:
        """The vectors of :meth:`chunks` in segments that tasks can read at the same time."""
        step = segment_rows(len(self))
        return [
            FileSegment(shard, start + first, min(step, len(shard) - first), split, first)
            for shard, start in zip(self.shards, self._starts[:-1], strict=True)
            for first in range(0, len(shard), step)
        ]

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Read]:
        def read(name: Literal["latents", "split", "ids"], start: int, stop: int) -> Any:
            found = []
            for shard, first, last in self._within(start, stop):
                with shard._reader() as read_shard:
                    found.append(read_shard(name, first, last))
            if name == "ids":
                return [text for texts in found for text in texts]
            return np.concatenate(found or [np.empty((0, self.dimension)[: 1 + (name == "latents")], np.float32)])

        yield read

    def _verified(self) -> Iterator[tuple[int, list[str]]]:
        for shard, listed in zip(self.shards, self._listed, strict=True):
            sound = True
            for rows, problems in shard._verified():
                sound &= not problems
                yield rows, [f"{shard.path.name}: {problem}" for problem in problems]
            if sound and (found := shard.count("train")) != listed.train:
                wrong = f"{found} rows are in the split train, the manifest says {listed.train}"
                yield 0, [f"{shard.path.name}: {wrong}"]

    def _within(self, start: int, stop: int | None) -> Iterator[tuple[FileStore, int, int]]:
        """The shards that hold rows ``start`` to ``stop``, and which of their rows these are."""
        begin, end = self._bounds(start, stop)
        for shard, offset in zip(self.shards, self._starts[:-1], strict=True):
            first, last = max(begin - offset, 0), min(end - offset, len(shard))
            if first < last:
                yield shard, first, last


def is_sharded(path: Path) -> bool:
    """Whether ``path`` is, or by its name is to be, a sharded store."""
    return path.suffix == SUFFIX or (path.is_dir() and (path / MANIFEST).is_file())


def _manifest(path: Path) -> Manifest:
    file = path / MANIFEST
    check_finished(path)
    if not path.exists():
        raise LsamplerError(f"{path}: no such latent store; check the path")
    if path.is_file():
        raise LsamplerError(f"{path}: is a file, expected the folder of a sharded store; check the path")
    if not file.is_file():
        raise LsamplerError(
            f"{path}: is a folder, expected a latent store (a sharded one holds {MANIFEST}); check the path"
        )
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        version = found.get("format_version", 1) if isinstance(found, dict) else 1
        if version != 1:
            raise LsamplerError(
                f"{file}: format_version {version}, this lsampler reads 1; install the lsampler that wrote it"
            )
        return Manifest.model_validate(found)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        reason = error.errors()[0]["msg"].lower()
        raise LsamplerError(
            f"{file}: not the manifest of a sharded store ({where}: {reason}); make the store again"
        ) from error
    except PermissionError as error:
        raise LsamplerError(f"{file}: cannot be read; check its permissions") from error
    except (OSError, ValueError, RecursionError) as error:
        raise LsamplerError(f"{file}: damaged, cannot be read; make the sharded store again") from error


def _checked(folder: Path, number: int, shard: Shard, manifest: Manifest) -> FileStore:
    path = folder / shard.file
    fix = "restore the right file, or make the sharded store again"
    if not path.is_file():
        raise LsamplerError(f"{path}: this shard is missing; {fix}")
    size = path.stat().st_size
    if size != shard.bytes:
        raise LsamplerError(f"{path}: has {size} bytes, the manifest says {shard.bytes}; {fix}")
    store = FileStore(path)
    attributes = {"encoder": None, **manifest.attributes}
    pairs = [
        ("rows", len(store), shard.rows),
        ("dimension", store.dimension, manifest.dimension),
        ("number", store.attributes.get(SHARD), number),
        ("run", store.attributes.get(RUN), manifest.run),
        *((key, store.attributes.get(key), value) for key, value in attributes.items()),
    ]
    for what, found, expected in pairs:
        if json.dumps(found) != json.dumps(expected):  # NaN is not equal to itself
            raise LsamplerError(f"{path}: its {what} is {found}, the manifest says {expected}; {fix}")
    return store


def _check_no_others(folder: Path, manifest: Manifest) -> None:
    listed = {shard.file for shard in manifest.shards}
    for path in sorted(folder.glob("[0-9]*.h5")):
        if path.name not in listed:
            raise LsamplerError(f"{path}: is not in the manifest; remove it, or make the sharded store again")
