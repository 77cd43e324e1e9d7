"""Sharded stores: the same rows as one file, whoever wrote them."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from sharded import ROWS, D, draw, work
from support import Answer, damage_chunk

from lsampler import LsamplerError, load_bundle, load_sampler, open_store
from lsampler.samplers import DrawOptions, LatentSampler, sample_store
from lsampler.store import LatentStore, ShardedStore, merge_store, shard_store
from lsampler.store.sharding import write_shards
from lsampler.store.writer import write_store


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


@pytest.mark.parametrize("name", ["a.shards", "a.shards.partial"])
def test_a_folder_or_file_of_somebody_else_is_not_replaced(
    cli: Callable[..., Answer], whole: LatentStore, tmp_path: Path, name: str
) -> None:
    photo = tmp_path / name / "photo.jpg"
    photo.parent.mkdir()
    photo.touch()
    for expected in ("was not written by lsampler", "is a file"):
        answer = cli("store", "shard", whole.path, "--out", tmp_path / "a.shards", "--force")
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
    assert cli("store", "merge", drawn, "--out", merged).code == 0
    assert cli("store", "shard", merged, "--out", back, "--rows", 1000).code == 0
    assert "3000 latent vectors, all sound" in cli("store", "verify", back).out
    np.testing.assert_array_equal(open_store(back).read(), open_store(drawn).read())
    assert cli("sample", "-p", "gaussian", "--model", "digits", "--n", 9, "--out", drawn).code == 2
