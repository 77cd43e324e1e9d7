"""Mutations of the structure of HDF5 files: types, shapes, values, attributes, and places outside the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hostile.mutations import REFUSED, SANE, SECRET, Change, Random


def of_hdf5(rng: Random, path: Path) -> Change:
    """Change the structure of an HDF5 file: what a dataset, an attribute or a link is."""
    with h5py.File(path, "r+") as handle:
        found: list[str] = []
        handle.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        name = rng.choice(found)
        change = rng.choice((_typed, _typed, _shaped, _valued, _elsewhere, _elsewhere, _attribute, _named))
        return change(rng, handle, name)


def _typed(rng: Random, handle: h5py.File, name: str) -> Change:
    """The rows in another type, or no dataset at all."""
    old = handle[name][:]
    rows = len(old)
    del handle[name]
    numbers = np.arange(rows)
    made: dict[str, Callable[[], Any]] = {
        "group": lambda: handle.create_group(name),
        "int": lambda: handle.create_dataset(name, data=numbers),
        "float16": lambda: handle.create_dataset(name, data=numbers.astype(np.float16)),
        "complex": lambda: handle.create_dataset(name, data=np.ones((rows, 6), complex)),
        "compound": lambda: handle.create_dataset(name, (rows,), [("a", "f4"), ("b", "S4")]),
        "text": lambda: handle.create_dataset(name, (rows,), h5py.string_dtype()),
        "control": lambda: handle.create_dataset(name, data=np.array([b"\x1b[31m\n"] * rows)),
        "not UTF-8": lambda: handle.create_dataset(name, data=np.array([b"\xff\xfe"] * rows)),
        "references": lambda: handle.create_dataset(name, (rows,), h5py.ref_dtype),
        "vlen": lambda: handle.create_dataset(name, (rows,), h5py.vlen_dtype(np.float32)),
        "bool": lambda: handle.create_dataset(name, (rows,), bool),
        "opaque": lambda: handle.create_dataset(name, data=np.zeros(rows, "V16")),
        "array": lambda: handle.create_dataset(name, (rows,), np.dtype(("f4", (6,)))),
        "big-endian": lambda: handle.create_dataset(
            name, data=old.astype(">f4" if old.dtype.kind == "f" else old.dtype)
        ),
        "null": lambda: handle.create_dataset(name, data=h5py.Empty("f4")),
        "type": lambda: handle.__setitem__(name, np.dtype("f4")),
    }
    what = rng.choice(list(made))
    made[what]()
    return f"{name} as {what}", SANE


def _shaped(rng: Random, handle: h5py.File, name: str) -> Change:
    old = handle[name]
    kind, dimension = old.dtype, old.shape[-1] if old.ndim == 2 else 6
    del handle[name]
    shapes: tuple[Any, ...] = ((), (0,), (1,), (2**40,), (0, 6), (5, 0), (2**44, dimension), (2**32, 2**20))
    shapes += ((300, dimension, 1), (2**30, 1, 1, 8), (1,) * 30, (300, 2**24), (2**33, 8, 8), (299, dimension))
    shape = rng.choice(shapes)
    chunks = tuple(min(side, 64) or 1 for side in shape[:2]) + (1,) * len(shape[2:])
    unlimited = tuple(None for _ in shape)
    handle.create_dataset(name, shape, kind, **({"chunks": chunks, "maxshape": unlimited} if shape else {}))
    return f"{name} of shape {shape}", SANE


def _valued(rng: Random, handle: h5py.File, name: str) -> Change:
    values = handle[name]
    if values.dtype.kind == "f":
        number = rng.choice((np.nan, np.inf, -np.inf, 3e38, 1e-45))
        place = rng.randrange(len(values))
        values[place] = number
        return f"{name}[{place}] = {number}", SANE if np.isfinite(number) else REFUSED
    values[rng.randrange(len(values))] = 7 if values.dtype.kind in "iu" else b"../x\x1b\n"
    return f"odd value in {name}", SANE


def _elsewhere(rng: Random, handle: h5py.File, name: str) -> Change:
    """The dataset lies outside the file, or nowhere."""
    old, folder = handle[name], Path(handle.filename).parent
    shape, kind = old.shape, old.dtype
    secret = folder / "secret.bin"
    secret.write_text(SECRET * 2000)
    with h5py.File(folder / "beside.h5", "w") as beside:
        beside["rows"] = old[:]
    os.mkfifo(folder / "pipe")
    what = rng.choice(("external storage", "external fifo", "external zero", "external link", "fifo link"))
    what = rng.choice((what, "virtual", "virtual gone", "soft loop", "dangling", "unknown filter", "hard link"))
    del handle[name]
    if what.startswith("external ") and what != "external link":
        place = {"storage": secret, "fifo": folder / "pipe", "zero": "/dev/zero"}[what.split()[1]]
        handle.create_dataset(name, shape, kind, external=[(str(place), 0, h5py.h5f.UNLIMITED)])
    elif what in ("external link", "fifo link"):
        handle[name] = h5py.ExternalLink(str(folder / ("beside.h5" if what == "external link" else "pipe")), "rows")
    elif what in ("virtual", "virtual gone"):
        layout = h5py.VirtualLayout(shape, kind)
        layout[:] = h5py.VirtualSource("beside.h5" if what == "virtual" else "gone.h5", "rows", shape)
        handle.create_virtual_dataset(name, layout)
    elif what in ("soft loop", "dangling"):
        handle[name] = h5py.SoftLink(f"/{name}" if what == "soft loop" else "/nowhere")
    elif what == "unknown filter":
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((1,) * len(shape))
        plan.set_filter(rng.choice((32001, 32015, 60000)), h5py.h5z.FLAG_OPTIONAL)
        h5py.h5d.create(handle.id, name.encode(), h5py.h5t.py_create(kind), h5py.h5s.create_simple(shape), dcpl=plan)
    else:
        handle[name] = handle["/"]
    return f"{name}: {what}", SANE if what in ("unknown filter", "hard link", "soft loop", "dangling") else REFUSED


def _attribute(rng: Random, handle: h5py.File, name: str) -> Change:
    where = rng.choice((handle, handle, handle[name]))
    key = rng.choice(list(where.attrs) or ["format"])
    values: tuple[Any, ...] = (
        "",
        "\x1b[31m\nx",
        "x" * 60_000,
        2**63 - 1,
        -1,
        np.nan,
        np.arange(5000),
        b"\xff\xfe",
        np.bytes_(b"\xff"),
    )
    values += (h5py.Empty("f4"), np.zeros(3, "V8"), handle.ref, [1.5], True, "other", np.array([[1, 2], [3, 4]]))
    value = rng.choice(values)
    where.attrs.pop(key, None)
    if rng.random() < 0.8:
        where.attrs[key] = value
        return f"attribute {key} = {str(value)[:30]!r}", SANE
    return f"no attribute {key}", SANE


def _named(rng: Random, handle: h5py.File, name: str) -> Change:
    new = rng.choice((b"\x1b[31m", b"\xff\xfe", b"x" * 5000, b"a/" * 200 + b"b", b"latents ", b"IMAGES"))
    handle.move(name, new)
    for _ in range(rng.choice((0, 0, 3))):
        handle.create_dataset(rng.randbytes(4).hex(), data=np.ones((3, 6), np.float32))
    return f"{name} renamed to {new[:12]!r}", SANE
