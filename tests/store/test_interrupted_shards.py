"""Runs that write shards, interrupted or disturbed: nothing is lost, and nothing is mixed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from sharded import D, Stopping, draw, interrupted, work
from support import committed_shards, damage_chunk

from lsampler import LsamplerError, load_sampler, open_store
from lsampler.samplers import LatentSampler
from lsampler.store import LatentStore, ShardedStore, shard_store
from lsampler.store.sharding import write_shards
from lsampler.store.writer import write_store


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
