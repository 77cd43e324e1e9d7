"""What the tests of imports and exports share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lsampler import open_store
from lsampler.store import LatentStore
from lsampler.store.latent_store import Rows
from lsampler.store.writer import write_store

D = 6
SUFFIXES = [".npy", ".npz", ".h5", ".parquet"]
Cli = Callable[..., Any]


def store_of(path: Path, rows: NDArray[Any], ids: Sequence[str] | None = None, splits: Any = None) -> LatentStore:
    write_store(path, rows.shape[1], [Rows(rows, ids, splits)], {"encoder": "abc"})
    return open_store(path)


def save(path: Path, latents: NDArray[Any], **beside: Any) -> Path:
    """The latents as a file of any format, as other programs write it; ``beside`` are ids and split."""
    if path.suffix == ".npy":
        np.save(path, latents)
    elif path.suffix == ".npz":
        np.savez_compressed(path, latents=latents, **beside)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as handle:
            for name, values in {"latents": latents, **beside}.items():
                handle[name] = values
    else:
        columns = {"id" if name == "ids" else name: list(values) for name, values in beside.items()}
        pq.write_table(pa.table(columns | {"latent": list(latents)}), path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
