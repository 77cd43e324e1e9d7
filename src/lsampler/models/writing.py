"""Decoded items -> files: pictures, arrays, tables and plots, by the suffix of the output."""

from __future__ import annotations

import csv
import itertools
import math
import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lsampler.compute.arrays import as_numbers
from lsampler.data.item_plots import figure_of
from lsampler.data.items import Item
from lsampler.data.pictures import enlarged, image_grid
from lsampler.errors import LsamplerError
from lsampler.extras import require_extra
from lsampler.files import MARK, check_folder, mark_folder, new_directory, new_file
from lsampler.models.protocols import Decoder, item_of
from lsampler.plots import house_style, save_figure
from lsampler.progress import ProgressLike, track

MAX_GRID_IMAGES = 4096
# Of so many items at most a plot is made; more take the memory of all of them.
MAX_PLOTTED = 1 << 20
JPEG_QUALITY = 92
PICTURES, PLOTS = (".png", ".jpg", ".jpeg"), (".png", ".svg", ".pdf")
NUMBERS = (".npy", ".npz", ".csv", ".tsv", ".parquet")
TABLES = (".csv", ".tsv", ".parquet")
Batches = Iterable[NDArray[Any]]


def check_item_output(out: Path, item: Item, n: int) -> None:
    """Raise LsamplerError unless items can be written to a file of this name."""
    suffix = out.suffix.lower()
    if item.is_image:
        allowed: tuple[str, ...] = (*PICTURES, ".npy", ".npz")
        if suffix in allowed or out.is_dir() or not suffix:
            if suffix in PICTURES and n > MAX_GRID_IMAGES:
                raise LsamplerError(
                    f"{out}: {n} images are too many for one grid; give a folder, or at most {MAX_GRID_IMAGES}"
                )
            return
        raise LsamplerError(
            f"{out}: images are written as a grid ({', '.join(PICTURES)}), as an array (.npy, .npz) or into a folder; "
            "choose such a name"
        )
    if suffix in TABLES and len(item.shape) > 1:
        raise LsamplerError(f"{out}: {item.words} has no columns; choose a name ending in .npy or .npz")
    if suffix in PLOTS and n > MAX_PLOTTED:
        raise LsamplerError(f"{out}: {n} items are too many for one plot; draw at most {MAX_PLOTTED}, or give a .npy")
    if suffix not in (*NUMBERS, *PLOTS):
        raise LsamplerError(
            f"{out}: {item.plural} are written as numbers ({', '.join(NUMBERS)}) or as a plot ({', '.join(PLOTS)}); "
            "choose such a name"
        )


def save_items(
    items: Any,
    out: str | os.PathLike[str],
    item: Item | Decoder,
    *,
    real: Any = None,
    force: bool = False,
) -> None:
    """Save items in memory as a picture that shows them, or as numbers; the suffix of the file says which.

    Args:
        items: (n, *shape), as :func:`lsampler.decode` gives them.
        out: for images ``.png`` or ``.jpg``, one picture of all, or a folder of single ones; for other items ``.png``,
            ``.svg`` or ``.pdf``, a plot, or ``.npy``, ``.npz``, ``.csv``, ``.tsv`` or ``.parquet``.
        item: what they are, or the autoencoder that made them.
        real: real items (m, *shape), whose densities a plot of a table shows, too.
        force: replace what exists.

    Raises:
        LsamplerError: items of another shape, a suffix that does not suit them, or the output exists.
    """
    what = item if isinstance(item, Item) else item_of(item)
    rows = _checked(items, "items", what)
    compared = None if real is None else _checked(real, "real", what)
    shown: NDArray[Any] = rows
    if what.is_image:
        low, high = what.value_range
        shown = ((rows.clip(low, high) - low) * (255 / (high - low))).round().astype(np.uint8).transpose(0, 2, 3, 1)
    write_items([shown], what, len(rows), Path(out), real=compared, force=force)


def _checked(given: Any, name: str, item: Item) -> NDArray[np.float32]:
    array = as_numbers(given, f"`{name}`", "give items as decode gives them", "(n, ...)")
    if array.shape[1:] != item.shape or not len(array):
        expected = ", ".join(map(str, item.shape))
        raise LsamplerError(f"`{name}`: shape {array.shape}; give one or more {item.plural}, (n, {expected})")
    return array.astype(np.float32, copy=False)


def write_items(
    batches: Batches,
    item: Item,
    n: int,
    out: Path,
    *,
    real: NDArray[np.float32] | None = None,
    force: bool = False,
    progress: ProgressLike = None,
) -> None:
    """Write decoded items to a file or a folder, by its suffix; it appears when all are there.

    Numbers are written batch by batch, in memory that does not grow with their number.

    Args:
        batches: of images (b, H, W, C) uint8, or other items (b, *shape) float32.
        item: what they are.
        n: how many there are in all.
        out: a ``.png`` or ``.jpg`` grid or a folder of images; a ``.npy``, ``.npz``, ``.csv``, ``.tsv`` or ``.parquet``
            file of numbers; or a ``.png``, ``.svg`` or ``.pdf`` that shows items that are no images.
        real: real items (m, *shape) that such a plot compares them with.
        force: replace what exists.
        progress: shows the progress.

    Raises:
        LsamplerError: the suffix does not suit the items, or the output exists.
    """
    check_item_output(out, item, n)
    suffix = out.suffix.lower()
    if item.is_image and suffix in PICTURES:
        save_grid(np.concatenate(list(batches)), out, force=force)
        return
    if item.is_image and suffix not in NUMBERS:
        save_folder(batches, n, out, force=force, progress=progress)
        return
    with new_file(out, force=force) as beside:
        tracked = track(batches, progress, f"writing {item.plural}", n, len)
        if suffix in PLOTS:
            with house_style():
                save_figure(figure_of(np.concatenate(list(tracked)), item, real), beside)
        elif suffix == ".npy":
            with beside.open("wb") as stream:
                _write_array(stream, tracked, n)
        elif suffix == ".npz":
            _write_npz(beside, tracked, n, item)
        elif suffix == ".parquet":
            _write_parquet(beside, tracked, item)
        else:
            _write_text(beside, tracked, item, "\t" if suffix == ".tsv" else ",")


def save_grid(images: NDArray[np.uint8], path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write images (n, H, W, C) uint8 as one picture, in rows as square as possible; small ones are enlarged."""
    with new_file(path, force=force) as beside:
        image_grid(enlarged(images)).save(beside, quality=JPEG_QUALITY)


def save_folder(
    batches: Iterable[NDArray[np.uint8]],
    total: int,
    path: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: ProgressLike = None,
) -> None:
    """Write images as numbered PNG files in a folder, which appears when all are there."""
    from PIL import Image

    _check_folder(Path(path))
    digits = max(6, len(str(total - 1)))
    with new_directory(path, force=force) as beside:
        mark_folder(beside, "images", Path(path))
        index = 0
        for batch in track(batches, progress, "writing images", total, len):
            for image in batch:
                pixels = image[..., 0] if image.shape[-1] == 1 else image
                Image.fromarray(pixels).save(beside / f"{index:0{digits}d}.png")
                index += 1


def _check_folder(path: Path) -> None:
    """The folder is replaced as a whole: what the user added to it shall not go, either."""
    check_folder(path, "images")
    for entry in path.iterdir() if path.is_dir() else ():
        if entry.name != MARK and not re.fullmatch(r"\d{6,}\.png", entry.name):
            raise LsamplerError(f"{path}: holds '{entry.name}', so it is not replaced; choose another folder")


def _write_array(stream: IO[bytes], batches: Batches, n: int) -> None:
    """An array (n, ...) in NumPy's format, batch by batch."""
    remaining = iter(batches)
    first = next(remaining)
    header = {"descr": first.dtype.str, "fortran_order": False, "shape": (n, *first.shape[1:])}
    np.lib.format.write_array_header_1_0(stream, header)
    for batch in itertools.chain([first], remaining):
        stream.write(np.ascontiguousarray(batch).tobytes())


def _write_npz(path: Path, batches: Batches, n: int, item: Item) -> None:
    """The array ``items``, and ``names`` where the features or channels have names."""
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("items.npy", "w", force_zip64=True) as stream:
            _write_array(stream, batches, n)
        if item.names:
            with archive.open("names.npy", "w") as stream:
                np.lib.format.write_array(stream, np.array(item.names), allow_pickle=False)


def _write_text(path: Path, batches: Batches, item: Item, delimiter: str) -> None:
    """A line of names, then a line for each row, with the digits that give the same float32 again."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        writer.writerow(item.features)
        for batch in batches:
            writer.writerows([[f"{value:.9g}" for value in row] for row in batch.tolist()])


def _write_parquet(path: Path, batches: Batches, item: Item) -> None:
    arrow = require_extra("pyarrow", extra="parquet", user=str(path))
    parquet = require_extra("pyarrow.parquet", extra="parquet", user=str(path))
    schema = arrow.schema([(name, arrow.float32()) for name in item.features])
    with parquet.ParquetWriter(path, schema) as writer:
        for rows in _gathered(batches, max(1, (1 << 20) // math.prod(item.shape))):
            writer.write_table(arrow.table(list(np.ascontiguousarray(rows.T)), schema=schema))


def _gathered(batches: Batches, least: int) -> Iterator[NDArray[Any]]:
    """Batches of at least so many rows, but for the last: a group of rows for each would be slow to read."""
    kept: list[NDArray[Any]] = []
    for batch in batches:
        kept.append(batch)
        if sum(map(len, kept)) >= least:
            yield np.concatenate(kept)
            kept = []
    if kept:
        yield np.concatenate(kept)
