"""Imports: which columns and arrays are taken, and files that are made to do harm."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import Answer, numbered

from lsampler import LsamplerError, open_store
from lsampler.store import import_latents

ROWS = 12
Z = numbered(0, ROWS, 4)
WIDE: dict[str, Any] = {f"z{k}": Z[:, k] for k in range(4)}
NUMBER = np.arange(ROWS)
NESTED = [[[1.0, 2.0]]] * ROWS
LISTS = Z.tolist()


def write(path: Path, columns: dict[str, Any]) -> Path:
    """The columns as a table, or as the arrays of an archive or an HDF5 file."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".npz":
        np.savez(path, **columns)
    else:
        with h5py.File(path, "w") as handle:
            for name, values in columns.items():
                handle[name] = values
    return path


# What is certain is taken, and said

TAKEN: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "decimals": (
        WIDE | {"z2": pa.array([Decimal(f"{value:.3f}") for value in Z[:, 2].tolist()])},
        None,
        "z0, z1, z2, z3 (4); left out: nothing",
    ),
    "whole numbers": (WIDE | {"z2": (8 * Z[:, 2]).astype(int), "z3": NUMBER}, None, "z0, z1, z2, z3 (4); left"),
    "texts beside": (WIDE | {"name": ["a"] * ROWS, "id": NUMBER}, None, "z0, z1, z2, z3 (4), with id; left out: name"),
    "images beside": (WIDE | {"image": [b"png"] * ROWS}, None, "z0, z1, z2, z3 (4); left out: image"),
    "names without numbers": ({"x": Z[:, 0], "y": Z[:, 1]}, None, "x, y (2); left out: nothing"),
    "lists": ({"embedding": LISTS, "label": NUMBER, "boxes": NESTED}, None, "embedding; left out: label, boxes"),
    "a pattern": (WIDE | {"image_id": NUMBER}, "z*", "z0, z1, z2, z3 (4); left out: image_id"),
    "names in any order": (WIDE, "z3,z1", "z3, z1 (2); left out: z0, z2"),
    "a name with a comma": ({"a,b": Z[:, 0], "a": Z[:, 1]}, "a,b", "a,b; left out: a"),
    "an id that is wanted": (WIDE | {"image_id": NUMBER}, "image_id", "image_id; left out: z0, z1, z2, z3"),
    "control characters": (WIDE | {"\x1b[31mred": ["a"] * ROWS}, None, "z0, z1, z2, z3 (4); left out: ?[31mred"),
    "many": ({f"z{k}": Z[:, 0] for k in range(9)}, None, "z0, z1, z2, ..., z8 (9); left out: nothing"),
}


@pytest.mark.parametrize(("columns", "wanted", "words"), TAKEN.values(), ids=list(TAKEN))
def test_columns_that_are_taken_are_said(
    tmp_path: Path, cli: Callable[..., Answer], columns: dict[str, Any], wanted: str | None, words: str
) -> None:
    chosen = [] if wanted is None else ["--columns", wanted]
    answer = cli("store", "import", write(tmp_path / "a.parquet", columns), "--out", tmp_path / "s.h5", *chosen)
    assert answer.code == 0, answer.err
    assert f"read: columns {words}" in answer.out
    taken = words.split(" (")[0].split(";")[0].split(", ")
    expected = [np.asarray(columns[name], float) for name in taken if name in columns]
    if "..." not in words:
        np.testing.assert_allclose(open_store(tmp_path / "s.h5").read(), np.column_stack(expected), rtol=1e-3)


# What is not certain is refused

UNCERTAIN: dict[str, tuple[dict[str, Any], str]] = {
    "an id as a number": (WIDE | {"image_id": NUMBER}, "'image_id' int64 is among the columns of numbers (z0,"),
    "an id as a float": (WIDE | {"image_id": NUMBER / 1}, "'image_id' double is among"),
    "an index": (WIDE | {"Unnamed: 0": NUMBER}, "--columns 'z*'"),
    "an index of pandas": ({"__index_level_0__": NUMBER, **WIDE}, "'__index_level_0__' int64 is among"),
    "a score": (WIDE | {"score": Z[:, 0]}, "'score' float is among"),
    "an id in the series": ({"0": NUMBER, **{f"{k}": Z[:, k] for k in range(1, 4)}}, "'0' int64 is among"),
    "an id beside floats": ({"number": NUMBER, "a": Z[:, 0], "b": Z[:, 1]}, "'number' int64 is among"),
    "a label alone": ({"label": NUMBER}, "'label' int64 is all there is, and looks like an id"),
    "a label of floats": ({"width": Z[:, 0], "label": Z[:, 1]}, "'label' float is among"),
    "texts in the series": (WIDE | {"z2": ["a"] * ROWS}, "'z2' string would be left out"),
    "nested lists": ({"emb": NESTED, "label": NUMBER}, "'emb' list<element: list<element: double>> would be left out"),
    "bytes": ({"row": NUMBER, "embedding": [b"1234"] * ROWS, "score": Z[:, 0]}, "'embedding' binary would be left out"),
    "bytes beside a series": (WIDE | {"latent": [b"1234"] * ROWS}, "'latent' binary would be left out"),
    "records": ({"x": [{"a": 1.0}] * ROWS, "value": Z[:, 0]}, "'x' struct<a: double> would be left out"),
    "lists beside nested ones": ({"box": LISTS, "emb": NESTED}, "'box' or 'emb' list<element: list"),
    "lists beside a series": (WIDE | {"box": LISTS}, "'box' or 'z0' float, 'z1' float, 'z2' float and 1 more may be"),
    "nested lists alone": ({"emb": NESTED}, "holds no column of numbers or lists of numbers, but 'emb'"),
}  # fmt: skip
ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "a label of vectors": ({"labels": NUMBER[:, None], "images": np.zeros((ROWS, 3, 4))}, "'labels' (12, 1) or"),
    "a label alone": ({"label": NUMBER[:, None]}, "'label' (12, 1) is the only array of vectors, and looks like"),
    "records beside": ({"x": Z, "embedding": np.array([b"abcd"] * ROWS)}, "'x' (12, 4) or 'embedding' (12,)"),
}  # fmt: skip
REFUSED = [(f"a.parquet {name}", *row) for name, row in UNCERTAIN.items()]
REFUSED += [(f"a{suffix} {name}", *row) for suffix in (".npz", ".h5") for name, row in ARRAYS.items()]


@pytest.mark.parametrize(("columns", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_may_be_meant_otherwise_is_refused(
    tmp_path: Path,
    cli: Callable[..., Answer],
    request: pytest.FixtureRequest,
    columns: dict[str, Any],
    message: str,
) -> None:
    """Regression: an id as a number was a component, and a label was imported instead of the vectors beside it."""
    path = write(tmp_path / request.node.callspec.id.split()[0], columns)
    answer = cli("store", "import", path, "--out", tmp_path / "s.h5")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1), answer
    assert answer.err.startswith(f"lsampler: {path}: ")
    assert message in answer.err
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("y*", "holds no column of numbers or lists of numbers 'y*'; known"),
        ("z0,name", "'name' string cannot be among the latent vectors"),
        ("z0,emb", "'emb' list<element: double> cannot be among"),
        ("", "holds no column of numbers or lists of numbers ''"),
        ("z" * 5000, "holds no column of numbers or lists of numbers 'zzz"),
    ],
)
def test_columns_that_cannot_be_chosen_are_named(tmp_path: Path, wanted: str, message: str) -> None:
    write(tmp_path / "a.parquet", WIDE | {"name": ["a"] * ROWS, "emb": LISTS})
    with pytest.raises(LsamplerError) as refusal:
        import_latents(tmp_path / "a.parquet", tmp_path / "s.h5", dataset=wanted)
    assert message in str(refusal.value)
    assert len(str(refusal.value)) < 400


# Files that are made to do harm


def npy(path: Path, shape: Any, descr: str = "<f4", data: bytes = b"", order: bool = False) -> Path:
    with path.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, {"descr": descr, "fortran_order": order, "shape": shape})
        handle.write(data)
    return path


def npz(path: Path, member: Path, name: str = "latents") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(member, f"{name}.npy")
    return path


def h5(path: Path, change: Callable[[h5py.File], object]) -> Path:
    with h5py.File(path, "w") as handle:
        change(handle)
    return path


HARM: dict[str, tuple[Callable[[Path], Path], str]] = {
    "negative shape": (lambda d: npy(d / "a.npy", (-5, 4)), "has the shape (-5, 4), which no array has"),
    "negative in an archive": (lambda d: npz(d / "a.npz", npy(d / "b.npy", (5, -4))), "which no array has"),
    "giant shape": (lambda d: npy(d / "a.npy", (1 << 60, 4), data=bytes(64)), "but 64 are there"),
    "giant in Fortran's order": (lambda d: npy(d / "a.npy", (1 << 40, 4), order=True), "but 0 are there"),
    "giant ids": (
        lambda d: write(d / "a.h5", {"latents": Z, "ids": np.zeros(ROWS, "S70000")}),
        "'ids' is of type |S70000; give texts of at most",
    ),
    "a link to a pipe": (lambda d: (d / "a.npy", (d / "a.npy").symlink_to(d / "pipe"))[0], "not a regular file"),
    "a link to a device": (lambda d: (d / "a.npy", (d / "a.npy").symlink_to("/dev/zero"))[0], "not a regular file"),
    "2^40 rows": (
        lambda d: h5(d / "a.h5", lambda h: h.create_dataset("z", (1 << 40, 8), "f4", chunks=(1024, 8))),
        "'z' declares the shape (1099511627776, 8), but nothing of it was written",
    ),
    "contiguous rows": (
        lambda d: h5(d / "a.h5", lambda h: h.create_dataset("z", (1 << 40, 8), "f4")),
        "but nothing of it was written",
    ),
    "another file": (
        lambda d: h5(d / "a.h5", lambda h: h.create_dataset("z", (9, 2), "f4", external=[(str(d / "pipe"), 0, 72)])),
        "'z' lies in other files",
    ),
    "only links": (
        lambda d: h5(d / "a.h5", lambda h: h.__setitem__("z", h5py.ExternalLink("pipe", "/z"))),
        "'z' to 'pipe:/z' are links out of the file",
    ),
    "a link beside": (
        lambda d: h5(
            d / "a.h5", lambda h: (h.__setitem__("z", Z), h.__setitem__("split", h5py.ExternalLink("pipe", "/")))
        ),
        "'split' to 'pipe:/' are links out of the file",
    ),
    "no HDF5": (lambda d: (d / "a.h5", (d / "a.h5").write_bytes(b"PK" * 500))[0], "it does not begin as one"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), HARM.values(), ids=list(HARM))
def test_harmful_files_are_refused_before_they_are_read(
    tmp_path: Path, cli: Callable[..., Answer], make: Callable[[Path], Path], message: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = make(tmp_path)
    answer = cli("store", "import", path, "--out", tmp_path / "s.h5")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1), answer
    assert str(path) in answer.err
    assert message in answer.err
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".parquet"])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr("lsampler.store.exchange.table.MOST_UNPACKED", 1 << 20)
    path, zeros = tmp_path / f"a{suffix}", np.zeros((200_000, 64), np.float32)
    if suffix == ".npz":
        np.savez_compressed(path, latents=zeros)
    elif suffix == ".h5":
        h5(path, lambda handle: handle.create_dataset("latents", data=zeros, chunks=(20_000, 64), compression="gzip"))
    else:
        pq.write_table(pa.table({f"z{k}": zeros[:, k] for k in range(64)}), path)
    with pytest.raises(LsamplerError, match=rf"a{suffix}: declares 1.28e\+07 numbers in [\d,]+ bytes"):
        import_latents(path, tmp_path / "s.h5")


def test_links_within_a_file_are_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        handle["deep/z"] = Z
        handle["latents"] = h5py.SoftLink("/deep/z")
    for dataset in (None, "deep/z"):
        store = import_latents(tmp_path / "a.h5", tmp_path / "s.h5", dataset=dataset, force=True).store
        np.testing.assert_array_equal(store.read(), Z)
