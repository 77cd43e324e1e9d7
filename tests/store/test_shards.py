"""Sharded stores: the same rows as one file, whoever wrote them; damage is named by file and rows."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from support import Answer, committed_shards, damage_chunk

from lsampler import (
    DrawOptions,
    LatentSampler,
    LatentStore,
    LsamplerError,
    ShardedStore,
    export_latents,
    load_bundle,
    load_sampler,
    merge_store,
    open_store,
    sample_store,
    shard_store,
)
from lsampler.store.latent_store import Rows
from lsampler.store.sharding import ShardWork, write_shards
from lsampler.store.writer import write_store

ROWS, D = 5000, 10


@pytest.fixture(scope="module")
def sampler() -> LatentSampler:
    return load_sampler("multivariate-normal").fit(load_bundle("digits"))


def draw(sampler: LatentSampler, n: int, path: Path, shard_rows: int = 2048, **options: Any) -> Any:
    threads = options.pop("threads", None)
    return sample_store(sampler, n, path, options=DrawOptions(threads=threads, shard_rows=shard_rows), **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> LatentStore:
    """A store with ids and both splits, in no order."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(ROWS, D)).astype(np.float32)
    splits = [("train", "held-out")[k] for k in rng.integers(2, size=ROWS)]
    path = tmp_path_factory.mktemp("whole") / "latents.h5"
    write_store(path, D, [Rows(rows, [f"{k}.png" for k in range(ROWS)], splits)], {"encoder": "abc", "kind": "test"})
    return open_store(path)


@pytest.fixture
def shards(whole: LatentStore, tmp_path: Path) -> ShardedStore:
    return shard_store(whole.path, tmp_path / "latents.shards", shard_rows=1300)


def test_sharding_and_merging_keep_rows_ids_splits_and_provenance(
    whole: LatentStore, shards: ShardedStore, tmp_path: Path
) -> None:
    merged = merge_store(shards.path, tmp_path / "merged.h5")
    assert [len(shard) for shard in shards.shards] == [1300, 1300, 1300, 1100]
    for store in (shards, merged):
        np.testing.assert_array_equal(store.read(), whole.read())
        assert store.ids() == whole.ids()
        assert store.splits() == whole.splits()
        assert store.fingerprint == "abc"
        assert store.attributes["kind"] == "test"
        assert store.verify() == []
        for split in ("train", "held-out"):
            assert store.count(split) == whole.count(split)
            np.testing.assert_array_equal(
                np.concatenate(list(store.chunks(split))), np.concatenate(list(whole.chunks(split)))
            )


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1299, 1301), (1300, 2600), (100, 4999), (4999, 5000), (7, 7)])
def test_any_range_is_read_across_shards(whole: LatentStore, shards: ShardedStore, start: int, stop: int) -> None:
    np.testing.assert_array_equal(shards.read(start, stop), whole.read(start, stop))
    assert shards.ids(start, stop) == whole.ids(start, stop)
    assert shards.splits(start, stop) == whole.splits(start, stop)


def test_statistics_are_those_of_the_one_file(whole: LatentStore, shards: ShardedStore) -> None:
    for trim in (None, 1.2):
        expected, found = whole.statistics(trim), shards.statistics(trim)
        assert found.count == expected.count
        np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(found.histograms.counts.sum(axis=1), expected.histograms.counts.sum(axis=1))


@pytest.mark.parametrize("shard_rows", [1, 2048, 5000, 1 << 20])
def test_drawn_shards_hold_the_rows_of_the_seed(sampler: LatentSampler, tmp_path: Path, shard_rows: int) -> None:
    drawn = draw(sampler, 9000, tmp_path / "drawn.shards", shard_rows, seed=3)
    np.testing.assert_array_equal(drawn.read(), sampler.sample(9000, seed=3).numpy())


@pytest.mark.parametrize("name", ["drawn.h5", "drawn.shards"])
def test_a_store_of_samples_says_where_they_are_from(sampler: LatentSampler, tmp_path: Path, name: str) -> None:
    drawn = sample_store(
        sampler, 3000, tmp_path / name, seed=3, options=DrawOptions(reference="the digits", shard_rows=1)
    )
    assert isinstance(drawn, ShardedStore) == (name == "drawn.shards")
    np.testing.assert_array_equal(drawn.read(), sampler.sample(3000, seed=3).numpy())
    told = {key: drawn.attributes[key] for key in ("kind", "sampler", "seed", "device", "reference", "encoder")}
    assert told == {
        "kind": "samples",
        "sampler": "multivariate-normal",
        "seed": 3,
        "device": "cpu",
        "reference": "the digits",
        "encoder": load_bundle("digits").fingerprint,
    }
    with pytest.raises(LsamplerError, match=f"{name}: exists"):
        sample_store(sampler, 10, tmp_path / name)
    with pytest.raises(LsamplerError, match="not fitted"):
        sample_store(load_sampler("gaussian"), 10, tmp_path / name, force=True)
    np.testing.assert_array_equal(open_store(tmp_path / name).read(0, 5), sampler.sample(5, seed=3).numpy())


def test_an_interrupted_run_does_only_what_is_missing(sampler: LatentSampler, tmp_path: Path) -> None:
    path = tmp_path / "drawn.shards"
    interrupted(lambda bar: draw(sampler, 9000, path, progress=bar), path)
    kept = [shard.stat().st_mtime_ns for shard in committed_shards(path)]
    assert not path.exists()
    with pytest.raises(LsamplerError, match="unfinished; rerun the command"):
        open_store(path)
    other = load_sampler(sampler.name).fit(np.random.default_rng(3).normal(size=(500, sampler.dimension)))
    for strategy, n in ((sampler, 9001), (other, 9000)):
        with pytest.raises(LsamplerError, match="interrupted run with other settings"):
            draw(strategy, n, path)
    done = draw(sampler, 9000, path, threads=1)  # threads change no row
    assert [shard.path.stat().st_mtime_ns for shard in done.shards[:2]] == kept
    np.testing.assert_array_equal(done.read(), sampler.sample(9000, seed=0).numpy())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["drawn.shards"]


def test_a_run_that_fails_at_once_leaves_nothing(whole: LatentStore, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.h5"
    shutil.copy(whole.path, damaged)
    damage_chunk(damaged)
    with pytest.raises(LsamplerError, match=r"damaged\.h5: rows 0\.\.\d+ are damaged"):
        shard_store(damaged, tmp_path / "out.shards")
    assert [entry.name for entry in tmp_path.iterdir()] == ["damaged.h5"]


def _cut(folder: Path) -> None:
    data = (folder / "00000001.h5").read_bytes()
    (folder / "00000001.h5").write_bytes(data[:-100])


def _swap(folder: Path) -> None:
    first, second = (folder / f"0000000{k}.h5" for k in (0, 1))
    first.rename(folder / "first")
    second.rename(first)
    (folder / "first").rename(second)


def _manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """A manifest that says something else."""

    def harm(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return harm


def _other_run(folder: Path) -> None:
    """The same shard of a store that differs in nothing but its rows."""
    other = folder.with_name("other.shards")
    rows = np.random.default_rng(7).normal(size=(5000, D)).astype(np.float32)
    write_store(folder.with_name("other.h5"), D, [rows], {"encoder": "abc", "kind": "test"})
    shard_store(folder.with_name("other.h5"), other, shard_rows=1300)
    data = (other / "00000000.h5").read_bytes()
    (folder / "00000000.h5").write_bytes(data)
    _manifest(lambda manifest: manifest["shards"][0].update(bytes=len(data)))(folder)


def _a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "00000002.h5").unlink(), r"00000002\.h5: this shard is missing"),
        (_cut, r"00000001\.h5: has \d+ bytes, the manifest says \d+"),
        (_swap, r"0000000[01]\.h5: "),
        (
            _manifest(lambda manifest: manifest["shards"][3].update(rows=1101)),
            r"00000003\.h5: its rows is 1100, the manifest says 1101",
        ),
        (
            _manifest(lambda manifest: manifest["shards"][0].update(file="../../secret.h5")),
            r"manifest\.json: not the manifest of a sharded store \(shards\.0\.file",
        ),
        (
            lambda folder: (folder / "manifest.json").unlink(),
            r"is a folder, expected a latent store \(a sharded one holds manifest\.json\)",
        ),
        (
            _manifest(lambda manifest: manifest.update(format_version=2)),
            r"manifest\.json: format_version 2, this lsampler reads 1; install the lsampler that wrote it",
        ),
        (_other_run, r"00000000\.h5: its run is \w+, the manifest says \w+"),
        (_manifest(lambda manifest: manifest["shards"].pop()), r"00000003\.h5: is not in the manifest"),
        (
            _manifest(lambda manifest: manifest["attributes"].update(kind="samples")),
            r"00000000\.h5: its kind is test, the manifest says samples",
        ),
        (
            _manifest(lambda manifest: manifest["shards"][0].update(train=9999)),
            r"shards\.0: value error, 9999 of 1300 rows",
        ),
        (_a_file, r"is a file, expected the folder of a sharded store"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"\xff{"), r"manifest\.json: damaged"),
    ],
)
def test_disagreement_is_one_line(
    cli: Callable[..., Answer], shards: ShardedStore, harm: Callable[[Path], None], message: str
) -> None:
    harm(shards.path)
    with pytest.raises(LsamplerError, match=message) as caught:
        open_store(shards.path)
    assert "\n" not in str(caught.value)
    answer = cli("store", "info", shards.path)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)


def test_info_counts_the_shards_and_verifying_advances_over_all_rows(
    cli: Callable[..., Answer], shards: ShardedStore
) -> None:
    assert re.search(r"shards +4 *\n", cli("store", "info", shards.path).out)
    seen: list[int] = []

    class Bar:
        def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
            assert (what, total, done) == ("verifying", ROWS, 0)
            return seen.append

    damage_chunk(shards.shards[1].path)
    assert len(open_store(shards.path).verify(Bar())) == 1
    assert sum(seen) == ROWS


def test_many_problems_are_counted(
    cli: Callable[..., Answer], shards: ShardedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShardedStore, "verify", lambda self, progress: [f"rows {k}: bad" for k in range(25)])
    answer = cli("store", "verify", shards.path)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert answer.err.endswith("rows 19: bad; and 5 more\n")


def test_a_manifest_that_miscounts_a_split_is_found(shards: ShardedStore, tmp_path: Path) -> None:
    manifest = json.loads((shards.path / "manifest.json").read_text())
    true = manifest["shards"][0]["train"]
    manifest["shards"][0]["train"] -= 1
    (shards.path / "manifest.json").write_text(json.dumps(manifest))
    store = open_store(shards.path)
    assert store.verify() == [f"00000000.h5: {true} rows are in the split train, the manifest says {true - 1}"]
    with pytest.raises(LsamplerError, match=r"vectors of the split, .* counted; run 'lsampler store verify'"):
        export_latents(shards.path, tmp_path / "out.npy", split="train")
    assert not (tmp_path / "out.npy").exists()


class Stopping:
    """A progress bar at which Ctrl-C comes, or something else happens, when so many shards are there."""

    def __init__(self, finished: int, act: Callable[[], object] | None = None) -> None:
        self.finished, self.act = finished, act

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        return self.advance

    def advance(self, rows: int) -> None:
        self.finished -= 1
        if not self.finished:
            if self.act is None:
                raise KeyboardInterrupt
            self.act()


def interrupted(run: Callable[[Stopping], object], path: Path) -> None:
    """A run that Ctrl-C ends when two shards are there."""
    with pytest.raises(KeyboardInterrupt):
        run(Stopping(2))
    assert len(committed_shards(path)) == 2


def test_a_source_that_changed_meanwhile_is_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, path = tmp_path / "a.h5", tmp_path / "a.shards"
    write_store(source, D, [np.zeros((5000, D), np.float32)], {"kind": "test"})
    interrupted(lambda bar: shard_store(source, path, shard_rows=1000, progress=bar), path)
    write_store(source, D, [np.ones((5000, D), np.float32)], {"kind": "test"}, force=True)
    with pytest.raises(LsamplerError, match="interrupted run with other settings"):
        shard_store(source, path, shard_rows=1000)
    np.testing.assert_array_equal(shard_store(source, path, shard_rows=1000, force=True).read(), 1)


@pytest.mark.parametrize("there", [False, True], ids=["a new store", "in place of another"])
def test_a_run_killed_at_any_of_its_last_steps_can_be_repeated(
    sampler: LatentSampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    path = tmp_path / "a.shards"
    real, expected = Path.rename, sampler.sample(5000, seed=0).numpy()

    def run() -> ShardedStore:
        return draw(sampler, 5000, path, 2048, force=there)

    for step in range(1, 2 + there):
        if there:
            run()
        calls: list[Path] = []

        def rename(self: Path, target: Path, calls: list[Path] = calls, step: int = step) -> Path:
            calls.append(self)
            if len(calls) == step:
                raise KeyboardInterrupt
            return real(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", rename)
            with pytest.raises(KeyboardInterrupt):
                run()
        np.testing.assert_array_equal(run().read(), expected)
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.shards"]
        assert {entry.name for entry in path.iterdir() if entry.suffix != ".h5"} == {"manifest.json", ".lsampler"}


def test_what_an_earlier_run_could_not_remove_is_no_hindrance(sampler: LatentSampler, tmp_path: Path) -> None:
    path = tmp_path / "a.shards"
    old = tmp_path / ".a.shards.old"
    old.mkdir()
    (old / "00000000.h5").touch()
    for _ in range(2):
        draw(sampler, 5000, path, force=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.shards"]


@pytest.mark.parametrize("harm", ["of another run", "cut short", "empty"])
def test_a_shard_that_cannot_be_used_is_made_again(
    sampler: LatentSampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    path, stray = tmp_path / "a.shards", tmp_path / "b.shards"
    draw(sampler, 5000, stray, 2048, seed=1)
    interrupted(lambda bar: draw(sampler, 5000, path, 2048, progress=bar), path)
    shard = tmp_path / "a.shards.partial" / "00000001.h5"
    sound = shard.read_bytes()
    another = (stray / shard.name).read_bytes()
    shard.write_bytes({"of another run": another, "cut short": sound[:5000], "empty": b""}[harm])
    done = draw(sampler, 5000, path, 2048)
    np.testing.assert_array_equal(done.read(), sampler.sample(5000, seed=0).numpy())


def test_a_shard_written_by_another_run_meanwhile_is_refused(sampler: LatentSampler, tmp_path: Path) -> None:
    path, stray = tmp_path / "a.shards", tmp_path / "b.shards"
    draw(sampler, 5000, stray, 2048, seed=1)

    def meddle() -> None:
        shutil.copy(stray / "00000000.h5", tmp_path / "a.shards.partial")

    with pytest.raises(LsamplerError, match=r"00000000\.h5: was written by another run meanwhile"):
        write_shards(path, D, work([3, 3], {1: meddle}), {})
    assert not path.exists()


@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "removed"])
def test_a_source_that_changes_while_it_is_read_is_noticed(tmp_path: Path, replaced: bool) -> None:
    """Regression: the shards after were made from the new file, under the name of the old one."""
    source, other, path = (tmp_path / name for name in ("a.h5", "b.h5", "a.shards"))
    for file, value in ((source, 0), (other, 1)):
        write_store(file, D, [np.full((3000, D), value, np.float32)], {"kind": "test"})
    change = Stopping(1, lambda: other.replace(source) if replaced else source.unlink())
    with pytest.raises(
        LsamplerError, match=r"a\.h5: has changed, or is another file for a worker|no such latent store"
    ):
        shard_store(source, path, shard_rows=1000, progress=change)
    assert [file.name for file in committed_shards(path)] == ["00000000.h5"]


def test_the_store_that_force_had_put_aside_is_not_lost(whole: LatentStore, tmp_path: Path) -> None:
    """A run that was killed between the last two renames, and one after it that cannot be finished."""
    path = tmp_path / "a.shards"
    shard_store(whole.path, path)
    path.rename(tmp_path / ".a.shards.old")

    def fail() -> None:
        raise LsamplerError("no space")

    with pytest.raises(LsamplerError, match="no space"):
        write_shards(path, D, work([3], {0: fail}), {}, force=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.shards"]
    np.testing.assert_array_equal(ShardedStore(path).read(), whole.read())


@pytest.mark.parametrize("name", ["a.shards", "a.shards.partial"])
def test_a_folder_or_file_of_somebody_else_is_not_replaced(
    cli: Callable[..., Answer], whole: LatentStore, tmp_path: Path, name: str
) -> None:
    photo = tmp_path / name / "photo.jpg"
    photo.parent.mkdir()
    photo.touch()
    for expected in ("was not written by lsampler", "is a file"):
        answer = cli("store", "shard", whole.path, tmp_path / "a.shards", "--force")
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert f"{name}: {expected}" in answer.err
        if photo.exists():
            shutil.rmtree(photo.parent)
            photo.parent.touch()
    assert photo.parent.is_file()


def test_force_replaces_a_link_and_leaves_what_it_led_to(whole: LatentStore, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.shards"
    shard_store(whole.path, elsewhere)
    link = tmp_path / "a.shards"
    link.symlink_to(elsewhere)
    for _ in range(2):
        shard_store(whole.path, link, force=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.shards", "elsewhere.shards"]
    assert not link.is_symlink()
    assert len(ShardedStore(elsewhere)) == len(ShardedStore(link)) == ROWS


def test_permissions_that_are_lacking_are_one_line(
    whole: LatentStore, shards: ShardedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the system answers those who are not root.
    monkeypatch.setattr(os, "access", lambda place, mode: place not in (shards.path, shards.path / "manifest.json"))
    with pytest.raises(LsamplerError, match="cannot be replaced; change its permissions"):
        shard_store(whole.path, shards.path, force=True)
    with pytest.raises(LsamplerError, match=r"manifest\.json: cannot be read; check its permissions"):
        open_store(shards.path)


def test_any_attribute_of_a_source_is_kept(tmp_path: Path) -> None:
    """Regression: names as the manifest uses them, arrays, and bytes that are not UTF-8 made stores that could not be
    written or not be opened."""
    source = tmp_path / "a.h5"
    own = {"rows": 7, "dimension": 1, "number": 3, "source": "caf\udce9.npy", "ratio": math.nan}
    write_store(source, D, [np.zeros((30, D), np.float32)], own)
    with h5py.File(source, "r+") as handle:
        handle.attrs["mean"] = np.arange(3.0)
        handle.attrs["names"] = np.array([b"a", b"b"])
        handle.attrs["nothing"] = h5py.Empty("f4")
    sharded = shard_store(source, tmp_path / "a.shards", shard_rows=10)
    merged = merge_store(sharded.path, tmp_path / "merged.h5")
    for found in (sharded.attributes, merged.attributes):
        for key in ("rows", "dimension", "number", "source"):
            assert found[key] == own[key]
        assert (found["mean"], found["names"]) == ([0.0, 1.0, 2.0], ["a", "b"])
        assert math.isnan(found["ratio"])
        assert "nothing" in found


def test_a_shard_without_rows_takes_no_ids_away(tmp_path: Path) -> None:
    store, _ = write_shards(tmp_path / "a.shards", D, work([3, 0, 2]), {})
    assert [len(shard) for shard in store.shards] == [3, 0, 2]
    assert store.has_ids
    assert store.ids() == ["0-0", "0-1", "0-2", "2-0", "2-1"]


def work(counts: list[int], before: dict[int, Callable[[], object]] = {}) -> ShardWork:  # noqa: B006
    """Tasks that write so many rows, each after it has called what is given for it."""

    def chunks(start: int, stop: int) -> Iterator[Rows]:
        number = start // 5
        before.get(number, lambda: None)()
        yield Rows(np.ones((counts[number], D), np.float32), [f"{number}-{k}" for k in range(counts[number])])

    return ShardWork("writing", 5 * len(counts), 5, {"counts": counts}, chunks)


def test_damage_is_named_by_shard_and_rows(shards: ShardedStore) -> None:
    path = shards.path / "00000001.h5"
    damage_chunk(path)
    store = open_store(shards.path)
    assert [problem.split(",")[0] for problem in store.verify()] == ["00000001.h5: rows 0..1299: damaged"]
    with pytest.raises(LsamplerError, match=r"00000001\.h5: rows 0\.\.1299 are damaged"):
        store.statistics()


def test_bounds_of_the_output(whole: LatentStore, shards: ShardedStore, tmp_path: Path) -> None:
    for shard_rows in (0, -5):
        with pytest.raises(LsamplerError, match="give at least one"):
            shard_store(whole.path, tmp_path / "out.shards", shard_rows=shard_rows)
    with pytest.raises(LsamplerError, match=r"must end in \.shards"):
        shard_store(whole.path, tmp_path / "out.h5")
    with pytest.raises(LsamplerError, match="exists already"):
        shard_store(whole.path, shards.path)
    assert list(tmp_path.iterdir()) == [shards.path]
    again: NDArray[np.float32] = shard_store(whole.path, shards.path, shard_rows=100, force=True).read()
    np.testing.assert_array_equal(again, whole.read())


def test_the_command_line_draws_shards_shards_and_merges(cli: Callable[..., Answer], tmp_path: Path) -> None:
    drawn, merged, back = (tmp_path / name for name in ("drawn.shards", "merged.h5", "back.shards"))
    assert cli("sample", "-p", "gaussian", "--model", "digits", "--n", 3000, "--out", drawn).code == 0
    assert cli("store", "merge", drawn, merged).code == 0
    assert cli("store", "shard", merged, back, "--rows", 1000).code == 0
    assert "3000 latent vectors, all sound" in cli("store", "verify", back).out
    np.testing.assert_array_equal(open_store(back).read(), open_store(drawn).read())
    assert cli("sample", "-p", "gaussian", "--model", "digits", "--n", 9, "--out", drawn).code == 2
