"""What the tests of store files share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler import open_store
from lsampler.store import LatentStore, StoreWriter

D = 6

PROVENANCE: dict[str, str | int] = {"encoder": "abc", "image_size": 8}


def writer_of(path: Path, provenance: Any = PROVENANCE, dimension: int = D, **options: Any) -> StoreWriter:
    """A writer that commits every ten rows."""
    return StoreWriter(path, dimension, provenance, commit_rows=10, **options)


def write(path: Path, rows: NDArray[np.float32], ids: Sequence[str] | None = None, **options: Any) -> LatentStore:
    with StoreWriter(path, D, PROVENANCE, **options) as writer:
        writer.append(rows, ids)
    return open_store(path)
