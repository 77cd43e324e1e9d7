"""The shape of spatial latents: recorded by encode, kept by copies, and the statistics of the channels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from exchanged import SUFFIXES, save
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import Answer

from lsampler import LsamplerError, open_store
from lsampler.data import Item, open_images
from lsampler.models import AdaptedAutoencoder, EncodeOptions, encode_to_store
from lsampler.store import (
    FileStore,
    MemoryStore,
    StoreWriter,
    as_reference,
    export_latents,
    import_latents,
    merge_store,
    shard_store,
)

SHAPE = (3, 2, 4)


def latents(rows: int, seed: int = 0) -> NDArray[np.float32]:
    """Channels of different means and spreads, and positions that differ too."""
    rng = np.random.default_rng(seed)
    scale = np.array([0.5, 3.0, 40.0])[:, None, None]
    return (rng.normal(size=(rows, *SHAPE)) * scale + scale * 7 + np.arange(4)).astype(np.float32)


def spatial_store(path: Path, rows: int = 50) -> FileStore:
    with StoreWriter(path, 24, {"encoder": "abc", "latent_shape": "3x2x4"}) as writer:
        writer.append(
            latents(rows).reshape(rows, -1), [f"i{k}" for k in range(rows)], ["train", "held-out"] * (rows // 2)
        )
    return FileStore(path)


def adapted() -> AdaptedAutoencoder:
    """A model whose latents are of shape (1, 4, 4): means of 2 x 2 pixels."""

    def decode(z: torch.Tensor) -> torch.Tensor:
        return z.repeat_interleave(2, -1).repeat_interleave(2, -2)

    pool = torch.nn.AvgPool2d(2)
    return AdaptedAutoencoder("pool", pool, decode, item=Item("image", (1, 8, 8)), fingerprint="f")


def test_encode_records_the_shape_and_appends_to_stores_without_it(digits_npy: Path, tmp_path: Path) -> None:
    source, out = open_images(digits_npy), tmp_path / "a.h5"
    store = encode_to_store(adapted(), source, out, held_out=3).store
    assert (store.attributes["latent_shape"], store.latent_shape) == ("1x4x4", (1, 4, 4))
    sharded = encode_to_store(adapted(), source, tmp_path / "a.shards", held_out=3).store
    assert sharded.latent_shape == (1, 4, 4)
    with h5py.File(out, "a") as handle:  # as earlier versions wrote it
        del handle.attrs["latent_shape"]
    other = tmp_path / "other.npy"
    np.save(other, np.load(digits_npy)[:5])
    options = EncodeOptions(append=True)
    again = encode_to_store(adapted(), open_images(other), out, held_out=1, options=options).store
    assert (len(again), again.latent_shape) == (len(store) + 5, None)


def test_a_model_of_plain_vectors_records_none(tiny_store: FileStore) -> None:
    assert tiny_store.latent_shape is None
    with pytest.raises(LsamplerError, match="the shape of a latent is not recorded; encode again, or import"):
        tiny_store.channel_statistics()


def test_copies_keep_the_shape(tmp_path: Path) -> None:
    store = spatial_store(tmp_path / "a.h5")
    sharded = shard_store(store.path, tmp_path / "a.shards", shard_rows=16)
    merged = merge_store(sharded.path, tmp_path / "b.h5")
    assert store.latent_shape == sharded.latent_shape == merged.latent_shape == SHAPE
    expected = dataclasses.astuple(store.channel_statistics())
    for copy in (sharded, merged):
        for found, wanted in zip(dataclasses.astuple(copy.channel_statistics()), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-13)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_exports_keep_the_shape(suffix: str, tmp_path: Path) -> None:
    export_latents(spatial_store(tmp_path / "a.h5"), tmp_path / f"e{suffix}")
    back = import_latents(tmp_path / f"e{suffix}", tmp_path / "back.h5").store
    assert back.latent_shape == (None if suffix == ".npy" else SHAPE)
    np.testing.assert_array_equal(back.read(), latents(50).reshape(50, -1))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_imports_of_four_axes_record_it(suffix: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"a{suffix}", latents(6))
    assert import_latents(path, tmp_path / "s.h5").store.latent_shape == SHAPE


def test_the_shape_of_the_model_is_recorded_with_imported_vectors(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(6, 16)))
    assert import_latents(path, tmp_path / "s.h5", autoencoder=adapted()).store.latent_shape == (1, 4, 4)


@pytest.mark.parametrize("shape", [[3, 2, 5], [24.0], [[3, 8]], ["3x9"]])
def test_a_shape_that_does_not_fit_is_refused(shape: Any, tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", latents(6).reshape(6, -1), latent_shape=np.array(shape))
    with pytest.raises(LsamplerError, match=r"a.npz: its latent_shape is .*, which is no shape of D = 24 numbers"):
        import_latents(path, tmp_path / "s.h5")
    assert not (tmp_path / "s.h5").exists()
    with StoreWriter(tmp_path / "b.h5", 24, {"latent_shape": "x".join(map(str, shape))}) as writer:
        writer.append(latents(6).reshape(6, -1))
    with pytest.raises(LsamplerError, match=r"b.h5: its latent_shape is .*, which is no shape"):
        open_store(tmp_path / "b.h5").channel_statistics()


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 60), held_out=st.integers(0, 9), shape=st.sampled_from([(3, 2, 4), (24, 1), (1, 24), (2, 3, 4)])
)
def test_channel_statistics_are_those_of_numpy(rows: int, held_out: int, shape: tuple[int, ...]) -> None:
    values = latents(rows + held_out).reshape(-1, 24)
    train, rest = values[:rows], values[rows:]
    found = MemoryStore(train, rest if held_out else None, latent_shape=shape).channel_statistics()
    by_channel = train.astype(np.float64).reshape(rows, shape[0], -1)
    np.testing.assert_allclose(found.mean, by_channel.mean(axis=(0, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.std, by_channel.std(axis=(0, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.overall_mean, by_channel.mean(), rtol=1e-12)
    np.testing.assert_allclose(found.overall_std, by_channel.std(), rtol=1e-12)
    assert found.scaling_factor is not None
    unit = (by_channel - found.overall_mean) * found.scaling_factor
    np.testing.assert_allclose([unit.mean(), unit.var()], [0, 1], atol=1e-12)
    assert found.count == rows


def test_sums_far_from_zero_do_not_lose_digits(tmp_path: Path) -> None:
    """One pass over several chunks and shards; sums of squares in single precision would be wrong in every digit."""
    rng = np.random.default_rng(3)
    values = (rng.normal(size=(9000, 8)) * 0.01 + 1000).astype(np.float32)
    with StoreWriter(tmp_path / "a.h5", 8, {"latent_shape": "2x4"}) as writer:
        writer.append(values)
    sharded = shard_store(tmp_path / "a.h5", tmp_path / "a.shards", shard_rows=1000)
    exact = values.astype(np.float64).reshape(-1, 2, 4)
    np.testing.assert_allclose(sharded.channel_statistics().std, exact.std(axis=(0, 2)), rtol=1e-9)


def test_a_constant_channel_has_no_scale_and_nan_is_named(ok: Callable[..., Answer], tmp_path: Path) -> None:
    values = latents(20)
    values[:, 1] = 5
    reference = as_reference(MemoryStore(values.reshape(20, -1), latent_shape=SHAPE))
    rows = reference.channel_statistics().rows()
    assert rows[1] == ("1", 5.0, 0.0, None)
    assert [name for name, *_ in rows] == ["0", "1", "2", "all"]
    values[7, 0, 0, 0] = np.nan
    with pytest.raises(LsamplerError, match="row 7 holds NaN"):
        MemoryStore(values.reshape(20, -1), latent_shape=SHAPE).channel_statistics()


def test_store_info_and_analyze_print_what_latent_diffusion_needs(ok: Callable[..., Answer], tmp_path: Path) -> None:
    store = spatial_store(tmp_path / "a.h5", 200)
    train = store.read()[::2].astype(np.float64).reshape(100, 3, -1)
    expected = [
        f"{train[:, 1].mean():.6g}",
        f"{train[:, 1].std():.6g}",
        f"unit variance: (z - {train.mean():.6g}) * {1 / train.std():.6g} (shift_factor, scaling_factor)",
    ]
    info = ok("store", "info", store.path).out
    report = ok("analyze", store.path, "--out", tmp_path / "report", "--section", "components").out
    for said in (info, report):
        assert "channels of latents 3x2x4, over 100 train vectors" in said
        for text in expected:
            assert text in said
    assert "latent shape" in info
    assert (tmp_path / "report" / "components" / "channels.csv").exists()
