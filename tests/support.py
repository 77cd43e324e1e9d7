"""What several test modules share beside fixtures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lsampler.store import StoreWriter


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


def store_of(path: Path, latents: NDArray[Any], **provenance: str) -> Path:
    """A latent store of these vectors."""
    with StoreWriter(path, latents.shape[1], provenance) as writer:
        writer.append(latents)
    return path


def listing(folder: Path) -> dict[str, bytes | None]:
    """All files with their content, and all folders."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def numbered(start: int, stop: int, dimension: int = 6) -> NDArray[np.float32]:
    """Latent vectors that say which they are: row k holds k, k + 1/8, ..."""
    return (np.arange(start, stop)[:, np.newaxis] + np.arange(dimension) / 8).astype(np.float32)


def damage_chunk(path: Path, name: str = "latents", chunk: int = 0) -> None:
    """Flip a bit in a chunk of a dataset of a store file."""
    with h5py.File(path) as handle:
        offset = handle[name].id.get_chunk_info(chunk).byte_offset + 5
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def run_in_one_process(commands: Sequence[Sequence[object]], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run several commands in a process of their own, which imports libraries once and shows all that they print."""
    script = (
        "import json, sys\n"
        "from lsampler.cli import main\n"
        "for arguments in json.load(sys.stdin):\n"
        "    sys.argv = ['lsampler', *arguments]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
    )
    given = json.dumps([list(map(str, command)) for command in commands])
    return subprocess.run(
        [sys.executable, "-c", script], input=given, capture_output=True, text=True, timeout=300, **options
    )


def wrong_models(rows: Sequence[tuple[object, ...]]) -> pytest.MarkDecorator:
    """Parametrise a test by rows: what is wrong, the model, its parameters, what the one line must say."""
    names = ("model", "parameters", "message")
    return pytest.mark.parametrize(names, [row[1:] for row in rows], ids=[str(row[0]) for row in rows])


def check_model(
    model: Any, images: torch.Tensor, latents: torch.Tensor, decoded: torch.Tensor, tolerance: float = 1e-5
) -> None:
    """Compare an autoencoder with what its own library gives; decoded images are clipped."""
    latents, decoded = latents.detach().flatten(1), decoded.detach().clamp(0, 1)
    torch.testing.assert_close(model.encode(images).cpu(), latents, rtol=0, atol=tolerance)
    torch.testing.assert_close(model.decode(latents).cpu(), decoded, rtol=0, atol=tolerance)
