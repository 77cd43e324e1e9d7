"""The latent store: what is written comes back, whatever is broken is named, and no kill loses a committed row."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
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
from support import committed_shards as pieces
from support import partial_folder

from lsampler import LatentStore, LsamplerError, StoreWriter, open_store
from lsampler.store.reference import Split
from lsampler.store.writer import write_store

D = 6
PROVENANCE: dict[str, str | int] = {"encoder": "abc", "image_size": 8}
Lsampler = Callable[..., subprocess.CompletedProcess[str]]


def numbered(start: int, stop: int) -> NDArray[np.float32]:
    """Rows that say which they are: row k holds k, k + 1/8, ..."""
    return (np.arange(start, stop)[:, np.newaxis] + np.arange(D) / 8).astype(np.float32)


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


ids_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
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


def test_append_to_an_existing_store_keeps_the_first_rows(path: Path) -> None:
    write(path, numbered(0, 5), ["a", "b", "c", "d", "e"])
    store = write(path, numbered(5, 8), ["ä", "日本", "a/very/long/name.jpg"])
    np.testing.assert_array_equal(store.read(), numbered(0, 8))
    assert store.ids() == ["a", "b", "c", "d", "e", "ä", "日本", "a/very/long/name.jpg"]
    assert store.attributes["encoder"] == "abc"


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


def test_ids_that_are_no_utf8_come_back(path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.png")
    assert write(path, numbered(0, 1), [odd]).ids() == [odd]


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


def test_writer_without_rows_makes_no_store(path: Path) -> None:
    with pytest.raises(LsamplerError, match="no latent vectors"), writer_of(path):
        pass
    assert list(path.parent.iterdir()) == []


def test_folder_as_output_is_refused_before_any_work(path: Path) -> None:
    path.mkdir()
    for force in (True, False):
        with pytest.raises(LsamplerError, match="is a folder"):
            writer_of(path, force=force)


# Broken files


def _foreign(path: Path) -> None:
    with h5py.File(path, "w") as handle:
        handle["latents"] = np.zeros((3, 2))


def _other_version(path: Path) -> None:
    write(path, numbered(0, 3))
    with h5py.File(path, "r+") as handle:
        handle.attrs["format_version"] = 99


def _short_split(path: Path) -> None:
    write(path, numbered(0, 3))
    with h5py.File(path, "r+") as handle:
        handle["split"].resize(2, axis=0)


def _without_latents(path: Path) -> None:
    write(path, numbered(0, 3))
    with h5py.File(path, "r+") as handle:
        del handle["latents"]


def _truncated(path: Path) -> None:
    write(path, numbered(0, 3))
    path.write_bytes(path.read_bytes()[:-1000])


def _no_hdf5(path: Path) -> None:
    path.write_bytes(b"PK\3\4" + bytes(500))


def _unfinished(path: Path) -> None:
    writer = writer_of(path)
    writer.append(numbered(0, 3))
    writer.commit()


BROKEN: dict[Callable[[Path], object], str] = {
    lambda path: None: "no such latent store",
    Path.mkdir: "is a folder",
    Path.touch: "is empty",
    _no_hdf5: "not a readable HDF5 file",
    _truncated: "may be truncated",
    _foreign: "not a latent store",
    _other_version: "store format 99, this lsampler reads 1",
    _short_split: "do not fit together",
    _without_latents: "damaged",
    _unfinished: "unfinished; rerun the command",
}


@pytest.mark.parametrize(("spoil", "complaint"), BROKEN.items(), ids=list(BROKEN.values()))
def test_broken_store_is_one_line_naming_the_file(path: Path, spoil: Callable[[Path], object], complaint: str) -> None:
    spoil(path)
    with pytest.raises(LsamplerError, match=complaint) as refusal:
        open_store(path)
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("spoil", [_no_hdf5, _truncated, _foreign, _other_version])
def test_broken_store_is_not_appended_to(path: Path, spoil: Callable[[Path], object]) -> None:
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(LsamplerError):
        writer_of(path)
    assert path.read_bytes() == before


def _flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def _chunk_offset(path: Path, name: str, chunk: int) -> int:
    with h5py.File(path) as handle:
        return int(handle[name].id.get_chunk_info(chunk).byte_offset)


def test_flipped_byte_in_the_latents_is_found_and_never_read(path: Path, lsampler: Lsampler) -> None:
    store = write(path, numbered(0, 10_000))
    with h5py.File(path) as handle:
        assert handle["latents"].fletcher32
    _flip(path, _chunk_offset(path, "latents", 1) + 100)
    assert store.verify() == ["rows 4096..8191: damaged, a checksum does not match"]
    with pytest.raises(LsamplerError, match=r"rows 5000\.\.5009 are damaged") as refusal:
        store.read(5000, 5010)
    assert str(path) in str(refusal.value)
    with pytest.raises(LsamplerError, match="damaged"):
        store.latents()
    np.testing.assert_array_equal(store.read(0, 4096), numbered(0, 4096))
    done = lsampler("store", "verify", path)
    assert done.returncode == 2
    assert "rows 4096..8191" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["split", "ids"])
def test_flipped_byte_in_split_or_ids_is_found(path: Path, name: str) -> None:
    write(path, numbered(0, 50), [f"{k}.png" for k in range(50)])
    _flip(path, _chunk_offset(path, name, 0) + 5)
    store = open_store(path)
    assert store.verify() == ["rows 0..49: damaged, a checksum does not match"]
    read: Callable[[], object] = store.ids if name == "ids" else lambda: store.count("train")
    with pytest.raises(LsamplerError, match=r"rows 0\.\.49 are damaged"):
        read()


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


def test_verify_finds_nan_and_unknown_splits_written_by_others(path: Path) -> None:
    write(path, numbered(0, 10))
    with h5py.File(path, "r+") as handle:
        handle["latents"][7, 2] = np.nan
        handle["split"][3] = 9
    assert open_store(path).verify() == [
        "rows 0..9: 1 hold NaN or infinite values, first 7",
        "rows 0..9: unknown split",
    ]


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


# Kills. A helper process that has one thread forks the writers, so that a kill costs milliseconds.

KILLING = """
import json, os, random, shutil, signal, sys, time
from pathlib import Path
import numpy as np
from lsampler import LsamplerError, StoreWriter, open_store

D, ROWS, COMMIT = 6, 600, 32
folder, chance = Path(sys.argv[1]), random.Random(20)

def partial_folder(path):
    return path.with_name(path.name + ".partial")

def pieces(path):
    return sorted(partial_folder(path).glob("[0-9]*.h5"))

def numbered(start, stop):
    return (np.arange(start, stop)[:, None] + np.arange(D) / 8).astype(np.float32)

def writer(path):
    return StoreWriter(path, D, {"encoder": "abc"}, commit_rows=COMMIT)

def fill(path, rows=ROWS):
    out = writer(path)
    at = out.committed
    while at < rows:
        stop = min(at + 11, rows)
        out.append(numbered(at, stop), [f"{k}.png" for k in range(at, stop)])
        at = stop
    out.commit()
    return out

def write(path, rows=ROWS):
    if not path.exists():
        fill(path, rows).finish()

def check(path, rows=ROWS):
    '''The rows committed so far; all of them, if there is a store.'''
    if path.exists():
        store = open_store(path)
        assert store.verify() == []
        assert np.array_equal(store.read(), numbered(0, rows))
        assert store.ids() == [f"{k}.png" for k in range(rows)]
        return rows
    try:
        open_store(path)
    except LsamplerError as error:
        assert "unfinished" in str(error) or "no such" in str(error), error
    else:
        raise AssertionError("neither complete nor absent")
    at = 0
    for piece in map(open_store, pieces(path)):
        assert np.array_equal(piece.read(), numbered(at, at + len(piece)))
        at += len(piece)
    return at

def child(act):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(0)
    return pid

def killed(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
"""


def _kill(scenario: str, folder: Path) -> dict[str, Any]:
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    done = subprocess.run(
        [sys.executable, "-c", KILLING + scenario, str(folder)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_writer_killed_at_random_moments_loses_nothing_committed(tmp_path: Path) -> None:
    result = _kill(
        """
kills, stores = 0, 0
while kills < 40:
    path, before = folder / f"{stores}.h5", 0
    while True:
        pid = child(lambda: write(path))
        time.sleep(chance.uniform(0, 0.06))
        os.kill(pid, signal.SIGKILL)
        was_killed = killed(pid)
        kills += was_killed
        after = check(path)
        assert after >= before, (before, after)
        before = after
        # A slow machine may never finish within the time it is given: it must not be killed for ever.
        if kills % 10 == 0 or not was_killed:
            killed(child(lambda: write(path)))
        if path.exists():
            break
    assert check(path) == ROWS
    writer(path).finish()
    assert check(path) == ROWS and not partial_folder(path).exists()
    stores += 1
print(json.dumps({"kills": kills, "left": sorted(p.name for p in folder.iterdir()), "stores": stores}))
""",
        tmp_path,
    )
    assert result["kills"] >= 40
    assert result["left"] == sorted(f"{number}.h5" for number in range(result["stores"]))


def test_writer_killed_at_every_kind_of_step_loses_nothing_committed(tmp_path: Path) -> None:
    """The moments are counted in function calls, so that the narrow ones are certainly hit."""
    result = _kill(
        """
ROWS = 70

def counted(path, fatal, steps):
    count = 0
    def step(frame, event, argument):
        nonlocal count
        count += 1
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(step)
    write(path, ROWS)
    sys.setprofile(None)
    steps.write_text(str(count))

# Caches that the children inherit are filled first, so that they all take the same steps.
counted(folder / "whole.h5", 0, folder / "steps")
check(folder / "whole.h5", ROWS)
killed(child(lambda: counted(folder / "again.h5", 0, folder / "steps")))
total = int((folder / "steps").read_text())
# Renaming the store and removing the pieces are among the last calls.
fatal = sorted({*chance.sample(range(1, total - 150), 20), *range(total - 150, total, 5)})
kills = states = 0
for moment in fatal:
    path = folder / f"{moment}.h5"
    kills += killed(child(lambda: counted(path, moment, folder / "steps")))
    states |= 1 << (path.exists() + 2 * bool(pieces(path)))
    before = check(path, ROWS)
    write(path, ROWS)
    writer(path).finish()
    assert check(path, ROWS) == ROWS >= before
    assert not partial_folder(path).exists()
print(json.dumps({"planned": len(fatal), "kills": kills, "states": states}))
""",
        tmp_path,
    )
    # A cache may still shift the count by a few calls.
    assert result["kills"] >= result["planned"] - 10
    assert result["states"] == 0b1111, "absent, complete, pieces only, and complete with pieces not yet removed"


@pytest.mark.parametrize("base_rows", [0, 7])
def test_pieces_left_after_the_rename_are_not_merged_twice(path: Path, base_rows: int) -> None:
    if base_rows:
        write(path, numbered(0, base_rows))
    rows = base_rows + 2 * 10
    writer = writer_of(path)
    for start in range(base_rows, rows, 10):
        writer.append(numbered(start, start + 10))
    shutil.copytree(partial_folder(path), partial_folder(path).with_name("kept"))
    writer.finish()
    partial_folder(path).with_name("kept").rename(partial_folder(path))  # as if killed before it was removed
    assert len(pieces(path)) == 2
    np.testing.assert_array_equal(open_store(path).read(), numbered(0, rows))
    with writer_of(path) as writer:
        assert writer.committed == 0
        writer.append(numbered(rows, rows + 3))
    np.testing.assert_array_equal(open_store(path).read(), numbered(0, rows + 3))
    assert not partial_folder(path).exists()


def test_pieces_that_cannot_be_removed_do_not_spoil_the_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda folder, ignore_errors=False: None)
        write(path, numbered(0, 10))
    assert partial_folder(path).is_dir()
    np.testing.assert_array_equal(write(path, numbered(10, 12)).read(), numbered(0, 12))


def test_missing_piece_is_told_and_not_passed_over(path: Path) -> None:
    writer = writer_of(path)
    for start in range(0, 30, 10):
        writer.append(numbered(start, start + 10))
    pieces(path)[1].unlink()
    with pytest.raises(LsamplerError, match="a shard is missing"):
        writer_of(path)


# Ctrl-C, failures and full disks


@pytest.mark.parametrize("exception", [KeyboardInterrupt, LsamplerError, RuntimeError, MemoryError])
def test_exception_keeps_all_appended_rows_and_a_new_writer_goes_on(path: Path, exception: type[BaseException]) -> None:
    def interrupted() -> None:
        with writer_of(path) as writer:
            writer.append(numbered(0, 10))
            writer.append(numbered(10, 13))
            raise exception

    with pytest.raises(exception):
        interrupted()
    assert not path.exists()
    with writer_of(path) as writer:
        assert writer.committed == 13
        writer.append(numbered(13, 20))
    np.testing.assert_array_equal(open_store(path).read(), numbered(0, 20))


def test_interrupt_while_merging_keeps_the_old_store_and_all_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, numbered(0, 5))
    before = path.read_bytes()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LatentStore, "rows", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(path, numbered(5, 9))
    assert path.read_bytes() == before
    writer_of(path).finish()
    np.testing.assert_array_equal(open_store(path).read(), numbered(0, 9))


def test_full_disk_while_merging_leaves_the_old_store_and_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, numbered(0, 5))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(LsamplerError, match=r"latents\.h5.*No space left") as refusal:
            write(path, numbered(5, 9))
    assert "\n" not in str(refusal.value)
    assert path.read_bytes() == before


LIMITED = """
import json, resource, signal, sys
from pathlib import Path
import numpy as np
from lsampler import LsamplerError, StoreWriter, open_store

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, messages = Path(sys.argv[1]), []

def write(rows):
    with StoreWriter(path, 16, {"encoder": "abc"}) as writer:
        writer.append(np.ones((rows, 16)), [str(k) for k in range(rows)])

write(500)
for rows in (500, 9000):
    for limit in (0, 100, 2000, 9000, 70_000, 150_000, 290_000):
        before = path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            write(rows)
        except LsamplerError as error:
            messages.append(str(error))
            assert path.read_bytes() == before
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        StoreWriter(path, 16, {"encoder": "abc"}).finish()
        assert open_store(path).verify() == []
print(json.dumps(messages))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs a limit of the file size")
def test_file_that_may_not_grow_leaves_the_old_store_and_one_line(path: Path) -> None:
    """Regression: HDF5 reported a full disk as RuntimeError on closing, and crashed the process thereafter."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    messages = json.loads(done.stdout)
    assert len(messages) >= 10
    for message in messages:
        assert message.startswith(str(path))
        assert "File too large" in message
        assert "\n" not in message
    assert [p.name for p in path.parent.iterdir()] == [path.name]


# The command line


def test_info_tells_what_a_store_holds(tiny_store: LatentStore, lsampler: Lsampler) -> None:
    done = lsampler("store", "info", tiny_store.path)
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    for expected in ("latent vectors 1797", "train 1500", "held-out 297", "digits.npy", str(tiny_store.fingerprint)):
        assert expected in words


def test_verify_praises_a_sound_store(tiny_store: LatentStore, lsampler: Lsampler) -> None:
    done = lsampler("store", "verify", tiny_store.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1797 latent vectors, all sound" in done.stdout


@pytest.mark.parametrize("command", ["info", "verify"])
@pytest.mark.parametrize("spoil", [_no_hdf5, _truncated, Path.touch, lambda path: None])
def test_broken_store_is_one_line_and_exit_code_2(
    path: Path, lsampler: Lsampler, command: str, spoil: Callable[[Path], object]
) -> None:
    spoil(path)
    done = lsampler("store", command, path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr
