"""What several test modules share beside fixtures."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import h5py


class Answer(NamedTuple):
    """The exit code, standard output and standard error of a command."""

    code: int
    out: str
    err: str


def partial_folder(path: Path) -> Path:
    """Where an unfinished store keeps its shards, as docs/store-format.md says."""
    return path.with_name(path.name + ".partial")


def committed_shards(path: Path) -> list[Path]:
    """The committed shards of an unfinished store."""
    return sorted(partial_folder(path).glob("[0-9]*.h5"))


def damage_chunk(path: Path, name: str = "latents", chunk: int = 0) -> None:
    """Flip a bit in a chunk of a dataset of a store file."""
    with h5py.File(path) as handle:
        offset = handle[name].id.get_chunk_info(chunk).byte_offset + 5
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
