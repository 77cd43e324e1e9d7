"""A latent store in one HDF5 file: reading it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from lsampler.errors import LsamplerError
from lsampler.hdf5_files import open_hdf5
from lsampler.store.hdf5_layout import check_layout, decoded_all, label_columns, plain
from lsampler.store.latent_store import Read, SingleStore


class FileStore(SingleStore):
    """An existing store file, opened for every operation and read-only.

    Args:
        path: of the HDF5 file.

    Raises:
        LsamplerError: the file is missing, truncated, foreign, of another version, or unfinished.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = Path(path)
        self.name = str(path)
        check_finished(self.path)
        with self._open() as handle, _damage(f"{self.path}: damaged; encode again"):
            self.attributes = {key: plain(value) for key, value in handle.attrs.items()}
            self._length, self.dimension = map(int, handle["latents"].shape)
            self.has_ids, self.label_columns = "ids" in handle, label_columns(self.path, handle)
        self.fingerprint = self.attributes.get("encoder")
        if not isinstance(self.fingerprint, str | None):
            raise LsamplerError(f"{path}: damaged, the attribute 'encoder' is no text; encode again")

    # Another process opens the file by its name.
    def __reduce__(self) -> tuple[type[FileStore], tuple[Path]]:
        return type(self), (self.path.absolute(),)

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Read]:
        with self._open() as handle:
            # Each is opened once: HDF5 forgets where the chunks are when a dataset is closed.
            datasets: dict[str, h5py.Dataset] = {}

            def read(name: str, start: int, stop: int) -> Any:
                damaged = f"rows {start}..{stop - 1} are damaged; run 'lsampler store verify' and encode again"
                with _damage(f"{self.path}: {damaged}"):
                    if name not in datasets:
                        datasets[name] = handle[name]
                    found = datasets[name][start:stop]
                return decoded_all(found) if name == "ids" else found

            yield read

    @contextlib.contextmanager
    def _open(self) -> Iterator[h5py.File]:
        with open_hdf5(self.path, "latent store") as handle:
            with _damage(f"{self.path}: damaged; encode again"):
                check_layout(self.path, handle)
            yield handle


def partial_folder(path: Path) -> Path:
    """Where a writer of the store at ``path`` keeps its finished shards."""
    return path.with_name(path.name + ".partial")


def committed_shards(path: Path) -> list[Path]:
    """The finished shards, in order, of a store at ``path`` that is not finished."""
    return sorted(partial_folder(path).glob("[0-9]*.h5"))


def check_finished(path: Path) -> None:
    """Raises LsamplerError if there is no store at ``path``, but an unfinished one."""
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:  # a name that the disk does not allow
        raise LsamplerError(f"{path}: no such latent store; check the path") from error
    if not exists and committed_shards(path):
        raise LsamplerError(f"{path}: unfinished; rerun the command that was writing it to resume")


@contextlib.contextmanager
def _damage(message: str) -> Iterator[None]:
    """Turn what h5py raises for broken bytes into one line."""
    try:
        yield
    except LsamplerError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, IndexError, TypeError, AttributeError, MemoryError) as error:
        raise LsamplerError(message) from error
