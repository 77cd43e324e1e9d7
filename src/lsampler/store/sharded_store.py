"""A latent store of several files: a folder of shards with a manifest, for more latents than one file should hold.

``manifest.json`` lists the shards in their order with their rows and bytes. Each shard is a store
by itself and knows its number, so that shards that were swapped, lost or cut short are found.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from lsampler.errors import LsamplerError
from lsampler.files import existing_file, own_text
from lsampler.store.file_store import FileStore, check_finished
from lsampler.store.labels import Label
from lsampler.store.latent_store import RUN, SHARD, LatentStore

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
        listed = {shard.path for shard in self.shards}
        for path in sorted(self.path.glob("[0-9]*.h5")):
            if path not in listed:
                raise LsamplerError(f"{path}: is not in the manifest; remove it, or make the sharded store again")
        self.has_ids = all(shard.has_ids for shard in self.shards if len(shard))
        self.label_columns = self._shared_columns()
        self._listed = manifest.shards
        self._length, train = sum(map(len, self.shards)), sum(shard.train for shard in manifest.shards)
        self._split_counts = np.array([train, self._length - train])

    def _shared_columns(self) -> tuple[Label, ...]:
        several = {shard.label_columns for shard in self.shards if len(shard)}
        if len(several) > 1:
            raise LsamplerError(f"{self.path}: its shards have different labels; make the sharded store again")
        return next(iter(several), ())

    # Another process opens the folder by its name.
    def __reduce__(self) -> tuple[type[ShardedStore], tuple[Path]]:
        return type(self), (self.path.absolute(),)

    def _files(self) -> Iterator[tuple[FileStore, int]]:
        return zip(self.shards, itertools.accumulate(map(len, self.shards), initial=0), strict=False)

    def _verified(self) -> Iterator[tuple[int, list[str]]]:
        for shard, listed in zip(self.shards, self._listed, strict=True):
            sound = True
            for rows, problems in shard._verified():
                sound &= not problems
                yield rows, [f"{shard.path.name}: {problem}" for problem in problems]
            if sound and (found := shard.count("train")) != listed.train:
                wrong = f"{found} rows are in the split train, the manifest says {listed.train}"
                yield 0, [f"{shard.path.name}: {wrong}"]


def is_sharded(path: Path) -> bool:
    """Whether ``path`` is, or by its name is to be, a sharded store."""
    return path.suffix == SUFFIX or (path.is_dir() and (path / MANIFEST).is_file())


def _manifest(path: Path) -> Manifest:
    check_finished(path)
    if not path.exists():
        raise LsamplerError(f"{path}: no such latent store; check the path")
    if path.is_file():
        raise LsamplerError(f"{path}: is a file, expected the folder of a sharded store; check the path")
    file = path / MANIFEST
    if not file.is_file():
        expected = f"expected a latent store (a sharded one holds {MANIFEST}); check the path"
        raise LsamplerError(f"{path}: is a folder, {expected}")
    try:
        found = json.loads(own_text(existing_file(file, "manifest")))
        if isinstance(found, dict) and (version := found.get("format_version", 1)) != 1:
            fix = "install the lsampler that wrote it"
            raise LsamplerError(f"{file}: format_version {version}, this lsampler reads 1; {fix}")
        return Manifest.model_validate(found)
    except LsamplerError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
        raise LsamplerError(f"{file}: not the manifest of a sharded store ({reason}); make the store again") from error
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
    own = [
        ("rows", len(store), shard.rows),
        ("dimension", store.dimension, manifest.dimension),
        ("number", store.attributes.get(SHARD), number),
        ("run", store.attributes.get(RUN), manifest.run),
    ]
    for what, found, expected in [*own, *((key, store.attributes.get(key), attributes[key]) for key in attributes)]:
        if json.dumps(found) != json.dumps(expected):  # NaN is not equal to itself
            raise LsamplerError(f"{path}: its {what} is {found}, the manifest says {expected}; {fix}")
    return store
