"""Arrays and tensors as what a strategy or a core is fitted to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lsampler import LsamplerError, load_sampler, open_store
from lsampler.plugins import load_core
from lsampler.store import LatentStore, MemoryStore, Reference, as_reference, shard_store
from lsampler.store.reference import Split
from lsampler.store.writer import write_store


class CountedPasses(MemoryStore):
    """Counts how often its train vectors are read."""

    passes = 0

    def chunks(self, split: Split | None = "train", *bounds: Any, **options: Any) -> Iterator[NDArray[np.float32]]:
        self.passes += split == "train"
        return super().chunks(split, *bounds, **options)


class Frame:
    """A table, such as one of pandas."""

    def __init__(self, rows: NDArray[Any]) -> None:
        self.rows = rows

    def to_numpy(self) -> NDArray[Any]:
        return self.rows


class Holder:
    """An object that describes latents, such as a bundle."""

    def __init__(self, rows: NDArray[Any]) -> None:
        self.reference = MemoryStore(rows)


def test_blocks_are_the_rows_in_order_and_never_larger_than_a_block() -> None:
    rows = np.arange(2.0 * (2 * 4096 + 5)).reshape(-1, 2)
    reference = MemoryStore(rows, rows[:3])
    blocks = list(reference.chunks())
    assert [len(block) for block in blocks] == [4096, 4096, 5]
    assert all(block.dtype == np.float32 for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), rows)
    np.testing.assert_array_equal(reference.latents(), rows)
    np.testing.assert_array_equal(reference.held_out(), rows[:3])
    assert MemoryStore(rows).held_out().shape == (0, 2)


@pytest.mark.parametrize("shape", [(5,), (), (2, 3, 4), (5, 0)])
def test_latents_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(LsamplerError, match=r"mine: shape \(.*\), expected \(number of vectors, D\)"):
        MemoryStore(np.ones(shape), name="mine")


@pytest.mark.parametrize("shape", [(5,), (2, 4), (2, 3, 1)])
def test_held_out_vectors_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(LsamplerError, match=r"mine: held-out vectors of shape \(.*\), D is 3"):
        MemoryStore(np.ones((5, 3)), np.ones(shape), name="mine")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e200])
def test_held_out_vectors_that_are_not_finite_are_refused(bad: float) -> None:
    # A NaN among them would make every calibrated level NaN, and every share 0, without a word. 1e200 is
    # infinite as float32.
    held_out = np.ones((4, 3))
    held_out[2, 1] = bad
    with pytest.raises(LsamplerError, match="mine: held-out vector 2 holds NaN or infinite values"):
        MemoryStore(np.ones((5, 3)), held_out, name="mine")


@pytest.mark.parametrize("bad", [np.nan, 1e200])
def test_train_vectors_that_are_not_finite_are_refused_when_asked_for(bad: float) -> None:
    latents = np.ones((4096 + 9, 3))
    latents[4096 + 1, 0] = bad
    with pytest.raises(LsamplerError, match=f"mine: row {4096 + 1} holds NaN or infinite values"):
        MemoryStore(latents, name="mine").statistics()


@pytest.mark.parametrize(
    "latents", [np.array([["a", "b"]]), [["1", "2"]], [[1.0, 2.0], [3.0]], [[1j, 2]], Frame(np.array([["a"]], object))]
)
def test_what_is_no_array_of_numbers_is_refused(latents: Any) -> None:
    with pytest.raises(LsamplerError, match=r"^X: (not an array of numbers|Complex data not supported)"):
        load_sampler("gaussian").fit(latents)


@pytest.mark.parametrize("latents", [None, 5, object(), {"a": 1}])
def test_what_cannot_be_a_reference_is_refused(latents: Any) -> None:
    with pytest.raises(LsamplerError, match=f"^latents: cannot use {type(latents).__name__}; give a store"):
        as_reference(latents)


def test_nested_lists_will_do_for_both_parts() -> None:
    latents: Any = [[1.0, 2.0], [3.0, 5.0], [4.0, 4.0]]
    reference = MemoryStore(latents, latents[:1], ids=["a", "b", "c", "d"])
    assert reference.dimension == 2
    assert reference.held_out().tolist() == reference.read(3).tolist() == [[1.0, 2.0]]
    assert reference.ids(1, 3) == ["b", "c"]
    assert reference.splits(2) == ["train", "held-out"]
    assert [len(rows) for rows in reference.chunks(None, 3)] == [3, 1]
    assert reference.verify() == []


@pytest.mark.parametrize("bounds", [(-1024, None), (0, -1), (3, 2), (99, None), (None, 3), ("0", 3), (0.5, 2)])
@pytest.mark.parametrize("form", ["memory", "file", "shards"])
def test_rows_that_do_not_exist_are_refused(tmp_path: Path, form: str, bounds: tuple[Any, Any]) -> None:
    """Regression: negative and other impossible numbers were raw Python errors."""
    rows = np.eye(5, dtype=np.float32)
    write_store(tmp_path / "a.h5", 5, [rows], {})
    shards = shard_store(tmp_path / "a.h5", tmp_path / "a.shards", shard_rows=2)
    store = {"memory": MemoryStore(rows), "file": open_store(tmp_path / "a.h5"), "shards": shards}[form]
    for read in (store.read, store.ids, store.splits, lambda a, b: list(store.rows(a, b))):
        with pytest.raises(LsamplerError, match="there are no rows from `start="):
            read(*bounds)


def test_a_reference_is_passed_on_as_it_is(reference: MemoryStore, tiny_store: LatentStore) -> None:
    assert as_reference(reference) is reference
    assert as_reference(tiny_store) is tiny_store
    assert isinstance(tiny_store, Reference)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_tensor_is_taken_off_its_graph(dtype: torch.dtype) -> None:
    tensor = torch.arange(12, dtype=dtype).reshape(4, 3).requires_grad_()
    np.testing.assert_array_equal(as_reference(tensor).latents(), np.arange(12.0).reshape(4, 3))


def test_array_tensor_and_reference_fit_the_same(correlated: NDArray[np.float32], tmp_path: Path) -> None:
    """Regression: lists and tables were raw Python errors."""
    write_store(tmp_path / "a.h5", correlated.shape[1], [correlated], {})
    forms = (
        correlated,
        torch.from_numpy(correlated),
        MemoryStore(correlated),
        correlated.tolist(),
        Frame(correlated.astype(object)),
        Holder(correlated),
        tmp_path / "a.h5",
        str(tmp_path / "a.h5"),
    )
    drawn = [load_sampler("multivariate-normal").fit(form).sample(20, seed=3) for form in forms]
    levels = [load_core("ellipsoid").fit(form).levels(correlated[:50]) for form in forms]
    for k in range(1, len(forms)):
        assert torch.equal(drawn[0], drawn[k])
        np.testing.assert_array_equal(levels[0], levels[k])
    assert not torch.equal(drawn[0], load_sampler("multivariate-normal").fit(correlated * 2).sample(20, seed=3))


def test_statistics_are_made_once_for_every_trim(correlated: NDArray[np.float32]) -> None:
    reference = CountedPasses(correlated)
    first = reference.statistics()
    assert reference.statistics() is first
    assert reference.passes == 1
    trimmed = reference.statistics(1.2)
    assert reference.statistics(1.2) is trimmed
    assert trimmed.count < first.count
    assert reference.passes == 2
    principal = reference.principal_statistics(1.2)
    assert reference.principal_statistics(1.2) is principal
    assert principal is not reference.principal_statistics()
    assert reference.passes == 4


def test_a_trimmed_reference_names_the_trim(reference: MemoryStore) -> None:
    assert reference.statistics().name == "correlated"
    assert reference.statistics(1.7).name == "correlated, trimmed at 1.7 half-widths"
    assert reference.principal_statistics(1.7).name == "correlated, trimmed at 1.7 half-widths, after PCA"


def test_a_store_and_an_array_of_its_vectors_have_the_same_statistics(tiny_store: LatentStore) -> None:
    array = MemoryStore(tiny_store.latents(), tiny_store.held_out())
    assert array.statistics().count == tiny_store.statistics().count == 1500
    assert len(tiny_store.held_out()) == 297
    np.testing.assert_allclose(array.statistics().covariance, tiny_store.statistics().covariance, rtol=1e-10)
