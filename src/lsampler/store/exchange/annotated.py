"""AnnData files ``.h5ad``: the latents of single cells, such as ``obsm/X_pca``; read only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsampler.errors import LsamplerError, nearest_name, shortened
from lsampler.extras import require_extra
from lsampler.hdf5_files import open_hdf5, refuse_links
from lsampler.store.exchange.choice import chosen_array, in_words
from lsampler.store.exchange.labels import found_labels
from lsampler.store.exchange.table import RawRows, Table
from lsampler.store.label_tables import obs_columns

LATENTS, DATA = "obsm", ("X", "layers")


def open_h5ad(path: Path, dataset: str | None, stack: ExitStack) -> Table:
    """The cells' latents: an array of ``obsm``, or ``X`` or an array of ``layers`` if asked for.

    The ids are the names of the cells. ``X`` is read in parts; the other arrays are in memory.
    """
    anndata = require_extra("anndata", extra="anndata", user=str(path))
    with open_hdf5(path, "AnnData file") as handle:
        refuse_links(path, handle)
    data = anndata.read_h5ad(path, backed="r")
    stack.callback(data.file.close)
    arrays: dict[str, Any] = {f"{LATENTS}/{key}": value for key, value in data.obsm.items()}
    others = {"X": data.X} | {f"{DATA[1]}/{key}": value for key, value in data.layers.items()}
    others = {key: value for key, value in others.items() if value is not None}
    if dataset is None and not arrays:
        data_themselves = f"`dataset='{next(iter(others), 'X')}'`"
        raise LsamplerError(f"{path}: its obsm holds no latents; to take the data themselves, give {data_themselves}")
    if dataset is not None and dataset not in arrays | others:
        near = nearest_name(dataset, arrays | others)
        raise LsamplerError(f"{path}: holds no array '{shortened(dataset)}'{near}")
    known = arrays if dataset is None else arrays | others
    kinds = {key: (tuple(map(int, value.shape)), np.dtype(_type_of(value)).kind) for key, value in known.items()}
    name = chosen_array(path, kinds, dataset)
    latents, names = known[name], data.obs_names
    shape = kinds[name][0]

    def chunks(step: int) -> Iterator[RawRows]:
        for start in range(0, shape[0], step):
            yield _dense(latents[start : start + step]), list(map(str, names[start : start + step])), None

    labels = found_labels(obs_columns(data.obs))
    beside = ["obs_names", *(labels.names if labels else ())]
    words = in_words("array", [name], beside, [key for key in (*arrays, *others) if key != name])
    return Table(shape, np.dtype(_type_of(latents)), False, chunks, name, words, labels=labels)


def _type_of(array: Any) -> Any:
    """The type of an array, sparse or not, or of a table."""
    return array.dtype if hasattr(array, "dtype") else array.to_numpy().dtype


def _dense(rows: Any) -> NDArray[Any]:
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows)
