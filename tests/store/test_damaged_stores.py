"""Store files that are damaged: every one is found and named, and nothing wrong is read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from stored import write, writer_of
from support import Answer, damage_chunk, numbered

from lsampler import LsamplerError, open_store


def stored(change: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    """A store of which something was changed."""

    def spoil(path: Path) -> None:
        write(path, numbered(0, 3))
        with h5py.File(path, "r+") as handle:
            change(handle)

    return spoil


def _truncated(path: Path) -> None:
    write(path, numbered(0, 3))
    path.write_bytes(path.read_bytes()[:-1000])


def _no_hdf5(path: Path) -> None:
    path.write_bytes(b"PK\3\4" + bytes(500))


def _unfinished(path: Path) -> None:
    writer = writer_of(path)
    writer.append(numbered(0, 3))
    writer.commit()


_foreign = stored(lambda handle: handle.attrs.clear())

_other_version = stored(lambda handle: handle.attrs.update(format_version=99))

BROKEN: dict[Callable[[Path], object], str] = {
    lambda path: None: "no such latent store; check the path",
    Path.mkdir: "is a folder",
    Path.touch: "is empty",
    _no_hdf5: "not a readable HDF5 file",
    _truncated: "it is truncated; copy it",
    _foreign: "not a latent store",
    _other_version: "store format 99, this lsampler reads 1",
    stored(lambda handle: handle["split"].resize(2, axis=0)): "do not fit together",
    stored(lambda handle: handle.pop("latents")): "damaged",
    _unfinished: "unfinished; rerun the command",
}


@pytest.mark.parametrize(("spoil", "complaint"), BROKEN.items(), ids=list(BROKEN.values()))
def test_broken_store_is_one_line_naming_the_file(
    path: Path, cli: Callable[..., Answer], spoil: Callable[[Path], object], complaint: str
) -> None:
    spoil(path)
    with pytest.raises(LsamplerError, match=complaint) as refusal:
        open_store(path)
    assert str(refusal.value).startswith(str(path))
    for command in ("info", "verify"):
        answer = cli("store", command, path)
        assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
        assert str(path) in answer.err


@pytest.mark.parametrize("suffix", [".h5", ".shards"])
@pytest.mark.parametrize("length", [300, 5000])
def test_a_name_that_no_disk_allows_is_no_store(
    path: Path, cli: Callable[..., Answer], suffix: str, length: int
) -> None:
    write(path, numbered(0, 3))
    name = path.with_name("x" * length + suffix)
    for command in (
        ["info", name],
        ["shard", name, "--out", "a.shards"],
        ["merge", name, "--out", "a.h5"],
        ["export", name, "--out", "a.npy"],
    ):
        answer = cli("store", *command)
        assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
        assert answer.err.endswith("no such latent store; check the path\n")
    answer = cli("store", "export", path, "--out", path.with_name("x" * length + ".npy"))
    assert answer.err.endswith(
        "could not be written (File name too long); nothing was left behind, choose a shorter name\n"
    )


@pytest.mark.parametrize("spoil", [_no_hdf5, _truncated, _foreign, _other_version])
def test_broken_store_is_not_appended_to(path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(LsamplerError):
        writer_of(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["latents", "split", "ids"])
def test_flipped_byte_is_found_and_never_read(path: Path, cli: Callable[..., Answer], name: str) -> None:
    store = write(path, numbered(0, 10_000), [f"{k}.png" for k in range(10_000)])
    damage_chunk(path, name)
    store = open_store(path)
    found = store.verify()
    assert found[0] == "rows 0..4095: damaged, a checksum does not match"
    assert len(found) == (3 if name == "split" else 1)
    read: Callable[[], object] = {"latents": store.latents, "ids": store.ids, "split": store.splits}[name]
    with pytest.raises(LsamplerError, match=r"rows 0\.\.\d+ are damaged") as refusal:
        read()
    assert str(path) in str(refusal.value)
    np.testing.assert_array_equal(store.read(4096), numbered(4096, 10_000))
    answer = cli("store", "verify", path)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "rows 0..4095" in answer.err


def test_flipped_bit_anywhere_is_found_or_harmless(path: Path) -> None:
    """Regression: texts of variable length had no checksum, and one flipped bit made HDF5 read forever."""
    intact = write(path, numbered(0, 300), [f"é{k}" for k in range(300)], origin={"source": "a.zip"})
    expected = (intact.read().tobytes(), intact.ids(), intact.splits(), intact.attributes)
    content = path.read_bytes()
    rng = np.random.default_rng(5)
    # The first bytes hold all metadata.
    for offset in {*rng.integers(0, len(content), 150).tolist(), *rng.integers(0, 4096, 450).tolist()}:
        changed = bytearray(content)
        changed[offset] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with contextlib.suppress(LsamplerError):
            store = open_store(path)
            if store.verify() == []:
                assert (store.read().tobytes(), store.ids(), store.splits(), store.attributes) == expected, offset


def test_nan_and_unknown_splits_written_by_others_are_found_and_not_copied(
    path: Path, cli: Callable[..., Answer]
) -> None:
    write(path, numbered(0, 10))
    with h5py.File(path, "r+") as handle:
        handle["latents"][7, 2] = np.nan
        handle["split"][3] = 9
    assert open_store(path).verify() == [
        "rows 0..9: 1 hold NaN or infinite values, first 7",
        "rows 0..9: unknown split",
    ]
    for copied in (
        ["export", path, "--out", path.with_name("a.npy")],
        ["shard", path, "--out", path.with_name("a.shards")],
    ):
        answer = cli("store", *copied)
        assert (answer.code, answer.err) == (
            2,
            f"lsampler: {path}: row 7 holds NaN or infinite values; encode it again\n",
        )
