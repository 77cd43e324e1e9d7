"""The latent store: what is written comes back, and bad input is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from stored import PROVENANCE, D, write, writer_of
from support import Answer, numbered, partial_folder
from support import committed_shards as pieces

from lsampler import LsamplerError, open_store
from lsampler.store import LatentStore, StoreWriter
from lsampler.store.reference import Split
from lsampler.store.writer import write_store

NO_UTF8 = os.fsdecode(b"caf\xe9.png")


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
