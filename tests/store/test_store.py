"""The latent store: what is written comes back, whatever is broken is named, and no kill loses a committed row."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import Answer, damage_chunk, numbered, partial_folder
from support import committed_shards as pieces

from lsampler import LatentStore, LsamplerError, StoreWriter, open_store
from lsampler.store.reference import Split
from lsampler.store.writer import write_store

D = 6
NO_UTF8 = os.fsdecode(b"caf\xe9.png")
PROVENANCE: dict[str, str | int] = {"encoder": "abc", "image_size": 8}


def writer_of(path: Path, provenance: Any = PROVENANCE, dimension: int = D, **options: Any) -> StoreWriter:
    """A writer that commits every ten rows."""
    return StoreWriter(path, dimension, provenance, commit_rows=10, **options)


def write(path: Path, rows: NDArray[np.float32], ids: Sequence[str] | None = None, **options: Any) -> LatentStore:
    with StoreWriter(path, D, PROVENANCE, **options) as writer:
        writer.append(rows, ids)
    return open_store(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "latents.h5"


# What is written comes back


ids_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40) | st.just(NO_UTF8)
parts = st.tuples(
    st.integers(0, 25), st.sampled_from(["train", "held-out"]), st.booleans(), st.sampled_from(["go on", "new writer"])
)


@settings(max_examples=30, deadline=None)
@given(plan=st.lists(parts, min_size=1, max_size=6), data=st.data())
def test_any_division_into_appends_gives_the_same_rows_ids_and_splits(
    plan: list[tuple[int, Split, bool, str]], data: st.DataObject
) -> None:
    expected_ids: list[str] = []
    expected_splits: list[str] = []
    commit_rows = data.draw(st.sampled_from([1, 8, 1000]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.h5"
        writer = StoreWriter(path, D, PROVENANCE, commit_rows=commit_rows)
        at, any_ids = 0, False
        for count, split, named, then in plan:
            ids = data.draw(st.lists(ids_texts, min_size=count, max_size=count)) if named else None
            writer.append(numbered(at, at + count), ids, split)
            at += count
            any_ids |= bool(ids)
            expected_ids += ids or [""] * count
            expected_splits += [split] * count
            if then == "new writer" and at:
                writer.finish()
                writer = StoreWriter(path, D, PROVENANCE, commit_rows=commit_rows)
        if at == 0:
            with pytest.raises(LsamplerError, match="no latent vectors"):
                writer.finish()
            assert list(path.parent.iterdir()) == []
            return
        writer.finish()
        store = open_store(path)
        np.testing.assert_array_equal(store.read(), numbered(0, at))
        assert store.ids() == expected_ids
        assert store.has_ids == any_ids
        assert store.splits() == expected_splits
        assert (store.count("train"), len(store)) == (expected_splits.count("train"), at)
        assert store.verify() == []
        assert not partial_folder(path).exists()


def test_nothing_appended_leaves_an_existing_store_as_it_is(path: Path) -> None:
    write(path, numbered(0, 5))
    before = path.read_bytes()
    with writer_of(path) as writer:
        writer.append(np.empty((0, D)), [])
    assert path.read_bytes() == before


def test_force_replaces_an_existing_store_and_forgets_an_interrupted_writer(path: Path) -> None:
    write(path, numbered(0, 5))
    writer_of(path).append(numbered(90, 90 + 10))
    assert pieces(path)
    with writer_of(path, {"encoder": "other"}, force=True) as writer:
        writer.append(numbered(50, 52))
        assert len(open_store(path)) == 5, "the old store stays until the new one is complete"
    np.testing.assert_array_equal(open_store(path).read(), numbered(50, 52))


def test_blocks_give_one_split_in_order(path: Path) -> None:
    with writer_of(path) as writer:
        for start in range(0, 40, 10):
            writer.append(numbered(start, start + 7))
            writer.append(numbered(start + 7, start + 10), split="held-out")
    store = open_store(path)
    train = np.concatenate([numbered(start, start + 7) for start in range(0, 40, 10)])
    blocks = list(store.chunks("train", 8))
    assert max(map(len, blocks)) <= 8
    np.testing.assert_array_equal(np.concatenate(blocks), train)
    np.testing.assert_array_equal(store.latents(), train)
    np.testing.assert_array_equal(np.concatenate(list(store.chunks(None, 9))), numbered(0, 40))
    assert len(store.held_out()) == store.count("held-out") == 12
    assert store.read(38, 99).shape == (2, D)
    assert store.ids(38, 99) == ["", ""]


def test_writer_keeps_a_copy_of_what_it_was_given(path: Path) -> None:
    buffer, names = np.empty((4, D), dtype=np.float32), [""] * 4
    with writer_of(path) as writer:
        for start in range(0, 12, 4):
            buffer[:], names[:] = numbered(start, start + 4), [f"{start + k}" for k in range(4)]
            writer.append(buffer, names)
    store = open_store(path)
    np.testing.assert_array_equal(store.read(), numbered(0, 12))
    assert store.ids() == [str(k) for k in range(12)]


def test_streamed_store_is_complete_or_absent(path: Path) -> None:
    def failing() -> Iterator[NDArray[np.float32]]:
        yield numbered(0, 4)
        raise RuntimeError("the sampler broke")

    with pytest.raises(RuntimeError, match="the sampler broke"):
        write_store(path, D, failing(), {})
    assert list(path.parent.iterdir()) == []
    write_store(path, D, iter([numbered(0, 4), numbered(4, 9)]), {"kind": "samples"})
    np.testing.assert_array_equal(open_store(path).read(), numbered(0, 9))
    with pytest.raises(LsamplerError, match="exists already"):
        write_store(path, D, iter([]), {})


def test_store_of_no_rows_can_be_read(path: Path) -> None:
    write_store(path, D, iter([]), {})
    store = open_store(path)
    assert (len(store), store.verify(), list(store.chunks())) == (0, [], [])


def test_documented_example_reads_a_store_with_h5py_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "store-format.md"
    if not page.is_file():
        pytest.skip("the documentation is not beside the tests")
    monkeypatch.chdir(path.parent)
    store = write(path, numbered(0, 5000), [f"ä{k}" for k in range(5000)])
    found: dict[str, Any] = {}
    exec(page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0], found)
    assert (found["encoder"], found["ids"]) == ("abc", store.ids())
    np.testing.assert_array_equal(found["train"], numbered(4096, 5000))
    with h5py.File(path) as handle:
        assert {name: data.chunks[0] for name, data in handle.items()} == {"latents": 4096, "split": 65536, "ids": 4096}
        assert all(data.fletcher32 for data in handle.values())


# Bad input is refused, and nothing of it is added


@pytest.mark.parametrize(
    ("rows", "ids", "split", "complaint"),
    [
        (np.zeros((3, D + 1)), None, "train", f"D = {D}"),
        (np.zeros(D), None, "train", "shape"),
        (np.full((2, D), np.nan), ["good.png", "bad.png"], "train", "good.png.*NaN"),
        (np.full((2, D), 1e300), None, "train", "infinite"),
        (np.zeros((3, D)), ["a", "b"], "train", "2 ids for 3"),
        (np.zeros((2, D)), ["a", "\ud800"], "train", "cannot be stored"),
        (np.zeros((2, D)), ["a", "b\0"], "train", "cannot be stored"),
        (np.zeros((3, D)), None, "held_out", "did you mean 'held-out'"),
    ],
)
def test_bad_rows_are_refused_and_nothing_is_added(
    path: Path, rows: NDArray[np.float64], ids: list[str] | None, split: Any, complaint: str
) -> None:
    with writer_of(path) as writer:
        writer.append(numbered(0, 2))
        with pytest.raises(LsamplerError, match=complaint) as refusal:
            writer.append(rows, ids, split)
        assert "latents.h5" in str(refusal.value)
        assert writer.pending == 2
        writer.append(numbered(2, 4))
    np.testing.assert_array_equal(open_store(path).read(), numbered(0, 4))


@pytest.mark.parametrize(
    ("dimension", "provenance", "complaint"),
    [
        (D + 1, PROVENANCE, "D = 6"),
        (D, PROVENANCE | {"encoder": "other"}, "encoder = abc, now other"),
        (D, PROVENANCE | {"crop": "none"}, "crop = nothing, now none"),
        (D, {"encoder": "abc"}, "image_size = 8, now nothing"),
    ],
)
@pytest.mark.parametrize("state", ["complete", "interrupted"])
def test_other_provenance_is_refused_and_nothing_is_lost(
    path: Path, state: str, dimension: int, provenance: dict[str, str | int], complaint: str
) -> None:
    writer = writer_of(path)
    writer.append(numbered(0, 10))
    if state == "complete":
        writer.finish()
    del writer
    with pytest.raises(LsamplerError, match=complaint):
        writer_of(path, provenance, dimension)
    writer_of(path).finish()
    np.testing.assert_array_equal(open_store(path).read(), numbered(0, 10))


def test_origin_of_appended_rows_is_added_to_the_stores(path: Path) -> None:
    write(path, numbered(0, 5), origin={"source": "a.zip", "held_out": 1})
    writer_of(path, origin={"source": "b.zip", "held_out": 2}).append(numbered(5, 15))
    with pytest.raises(LsamplerError, match=r"source = b\.zip, now c\.zip"):
        writer_of(path, origin={"source": "c.zip", "held_out": 2})
    with pytest.raises(LsamplerError, match="held_out = 1, now nothing"):
        writer_of(path)
    store = write(path, numbered(15, 16), origin={"source": "b.zip", "held_out": 2})
    assert (store.attributes["source"], store.attributes["held_out"]) == ("a.zip + b.zip", 3)
    np.testing.assert_array_equal(store.read(), numbered(0, 16))


def test_folder_as_output_is_refused_before_any_work(path: Path) -> None:
    path.mkdir()
    for force in (True, False):
        with pytest.raises(LsamplerError, match="is a folder"):
            writer_of(path, force=force)


# Broken files


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
    for command in (["info", name], ["shard", name, "a.shards"], ["merge", name, "a.h5"], ["export", name, "a.npy"]):
        answer = cli("store", *command)
        assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
        assert answer.err.endswith("no such latent store; check the path\n")
    answer = cli("store", "export", path, path.with_name("x" * length + ".npy"))
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
    for copied in (["export", path, path.with_name("a.npy")], ["shard", path, path.with_name("a.shards")]):
        answer = cli("store", *copied)
        assert (answer.code, answer.err) == (
            2,
            f"lsampler: {path}: row 7 holds NaN or infinite values; encode it again\n",
        )


def test_texts_of_variable_length_as_h5py_writes_them_are_read(path: Path) -> None:
    write(path, numbered(0, 3))
    with h5py.File(path, "r+") as handle:
        handle.attrs["format"] = "lsampler-latents"
        handle.attrs["encoder"] = "é"
    assert open_store(path).fingerprint == "é"


# Several processes


def test_several_processes_read_at_once(path: Path) -> None:
    write(path, numbered(0, 9000))
    script = (
        "import sys; from lsampler import open_store; s = open_store(sys.argv[1]); input();"
        "print(sum(float(b.astype('f8').sum()) for _ in range(5) for b in s.chunks()))"
    )
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    # All have the store open before the first goes on; this process reads as well.
    expected = 5 * float(open_store(path).read().astype("f8").sum())
    for reader in readers:
        assert reader.stdin is not None
        reader.stdin.write("\n")
        reader.stdin.flush()
    assert [float(reader.communicate()[0]) for reader in readers] == [expected] * 3


def test_info_and_verify_of_a_sound_store(tiny_store: LatentStore, ok: Callable[..., Answer]) -> None:
    words = " ".join(ok("store", "info", tiny_store.path).out.split())
    for expected in ("latent vectors 1797", "train 1500", "held-out 297", "digits.npy", str(tiny_store.fingerprint)):
        assert expected in words
    assert "1797 latent vectors, all sound" in ok("store", "verify", tiny_store.path).out
