"""Stores that are damaged or made to do harm: one line, nothing read from elsewhere, no long wait."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support import Answer, numbered

from lsampler import LsamplerError, open_store
from lsampler.store import StoreWriter, shard_store

SECRET = b"a line of another file\n" * 20
Change = Callable[[h5py.File], object]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of 20 vectors with ids, beside a secret and a pipe."""
    (tmp_path / "secret").write_bytes(SECRET)
    os.mkfifo(tmp_path / "pipe")
    with StoreWriter(tmp_path / "latents.h5", 6, {"encoder": "abc"}) as writer:
        writer.append(numbered(0, 20), [f"{k}.png" for k in range(20)])
    return tmp_path / "latents.h5"


def put(name: str, *arguments: Any, **options: Any) -> Change:
    """Another dataset in place of one of the store."""

    def change(handle: h5py.File) -> None:
        del handle[name]
        handle.create_dataset(name, *arguments, **options)

    return change


def link(name: str, to: Any) -> Change:
    def change(handle: h5py.File) -> None:
        del handle[name]
        handle[name] = to

    return change


def outside(name: str, file: str, shape: tuple[int, ...], dtype: str) -> Change:
    def change(handle: h5py.File) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        put(name, shape, dtype, external=[(str(Path(handle.filename).parent / file), 0, size)])(handle)

    return change


def virtual(handle: h5py.File) -> None:
    layout = h5py.VirtualLayout((20, 6), "<f4")
    layout[:] = h5py.VirtualSource("gone.h5", "latents", (20, 6))
    del handle["latents"]
    handle.create_virtual_dataset("latents", layout)


def many_rows(handle: h5py.File) -> None:
    for name in ("latents", "split", "ids"):
        handle[name].resize(1 << 44, axis=0)


def unknown_filter(handle: h5py.File) -> None:
    """A chunk of Blosc, as a program with that filter writes it."""
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk((20, 6))
    created.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (2, 2, 4, 480))
    del handle["latents"]
    h5py.h5d.create(handle.id, b"latents", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((20, 6)), created)


def attribute(name: str, value: Any) -> Change:
    return lambda handle: handle.attrs.__setitem__(name, value)


REFUSED: dict[str, tuple[Change, str]] = {
    "ids in another file": (outside("ids", "secret", (20,), "S10"), "'ids' lies in other files"),
    "latents in a pipe": (outside("latents", "pipe", (20, 6), "<f4"), "'latents' lies in other files"),
    "link to a pipe": (link("ids", h5py.ExternalLink("pipe", "/ids")), "'ids' is a link to another place"),
    "link that leads nowhere": (link("split", h5py.SoftLink("/none")), "'split' is a link to another place"),
    "virtual dataset": (virtual, "virtual dataset of other files ('gone.h5')"),
    "filter": (unknown_filter, "'latents' is compressed with a filter (32001"),
    "2^44 rows": (many_rows, "'latents' declares the shape (17592186044416, 6), but only"),
    "D of 2^40": (put("latents", (20, 1 << 40), "<f4", chunks=(1, 1 << 20)), "but nothing of it was written"),
    "D of 0": (put("latents", (20, 0), "<f4"), "D must be 1 to"),
    "chunk of 4 GB": (put("latents", (20, 6), "<f4", maxshape=(None, 6), chunks=(1 << 27, 6)), "more than 512 MB"),
    "three axes": (put("latents", data=np.zeros((20, 2, 3), "<f4")), "'latents' is float32 with 3 axes"),
    "double precision": (put("latents", data=np.zeros((20, 6))), "'latents' is float64"),
    "ids of integers": (put("ids", data=np.arange(20)), "'ids' is int64 with 1 axes, not texts"),
    "ids of records": (put("ids", data=np.zeros(20, [("a", "i4")])), "not texts (N,)"),
    "ids of lists": (put("ids", (20,), h5py.vlen_dtype(np.int32)), "not texts (N,)"),
    "ids of 100 MB": (put("ids", (20,), "S100000000", chunks=(1,)), "of at most 16384 bytes"),
    "split of texts": (put("split", data=np.array([b"train"] * 20)), "'split' is |S5"),
    "a group of ids": (lambda h: (h.pop("ids"), h.create_group("ids")), "'ids' is no dataset"),
    "a type of latents": (link("latents", np.dtype("<f4")), "'latents' is no dataset"),
    "encoder is a number": (attribute("encoder", 5), "the attribute 'encoder' is no text"),
    "version is a list": (attribute("format_version", np.arange(3)), "store format [0, 1, 2], this lsampler"),
    "version of any length": (attribute("format_version", "1" * 50_000), "this lsampler reads 1"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=list(REFUSED))
def test_what_is_no_plain_store_is_one_line(
    path: Path, cli: Callable[..., Answer], change: Change, message: str
) -> None:
    """Regression: bytes of other files passed for ids, a pipe was waited for, zeros stood for what is missing."""
    with h5py.File(path, "r+") as handle:
        change(handle)
    for command in (["info", path], ["verify", path], ["export", path, "--out", path.with_name("out.npz")]):
        answer = cli("store", *command)
        assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1), answer
        assert answer.err.startswith(f"lsampler: {path}: ")
        assert message in answer.err
        assert len(answer.err) < 400
    assert sorted(file.name for file in path.parent.iterdir()) == ["latents.h5", "pipe", "secret"]


def test_a_store_that_is_no_regular_file_is_refused_at_once(path: Path, tmp_path: Path) -> None:
    for number, target in enumerate((tmp_path / "pipe", Path("/dev/zero"))):
        link = tmp_path / f"{number}.h5"
        link.symlink_to(target)
        with pytest.raises(LsamplerError, match=r"\.h5: is not a regular file, expected a latent store"):
            open_store(link)


@pytest.mark.parametrize("name", ["manifest.json", ".lsampler", "plan.json"])
@pytest.mark.parametrize("target", ["/dev/zero", "pipe", "deep"])
def test_texts_of_a_folder_are_bounded_before_they_are_read(
    path: Path, tmp_path: Path, name: str, target: str, cli: Callable[..., Answer]
) -> None:
    """Regression: a mark that led to /dev/zero took all memory, one that led to a pipe waited for ever."""
    folder = tmp_path / ("a.shards.partial" if name == "plan.json" else "a.shards")
    shard_store(path, tmp_path / "a.shards").path.rename(folder)
    (tmp_path / "deep").write_text("[" * 100_000)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / target)
    command = (
        ["verify", folder] if name == "manifest.json" else ["shard", path, "--out", tmp_path / "a.shards", "--force"]
    )
    if name == "plan.json":
        command.remove("--force")
    answer = cli("store", *command)
    assert (answer.code, answer.err.count("\n")) == (2, 1), answer
    assert str(folder) in answer.err


def test_a_manifest_of_giant_numbers_is_one_line(path: Path, tmp_path: Path, cli: Callable[..., Answer]) -> None:
    folder = shard_store(path, tmp_path / "a.shards").path
    sound = json.loads((folder / "manifest.json").read_text())
    for number in ("9" * 30, "9" * 5000, "-1", "1e400"):
        text = json.dumps(sound).replace('"rows": 20', f'"rows": {number}')
        (folder / "manifest.json").write_text(text)
        answer = cli("store", "info", folder)
        assert (answer.code, answer.err.count("\n")) == (2, 1), answer
        assert str(folder) in answer.err
        assert len(answer.err) < 400
