"""What may be given as latent vectors: arrays of any library, stores, bundles, paths and names; and what may not."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from lsampler import LsamplerError, analyze, choose, compare, evaluate, load_bundle, load_sampler, open_store
from lsampler.bundles import load_safetensors_autoencoder
from lsampler.plugins import load_core, recommended_sampler
from lsampler.scoring import RealData, Samples
from lsampler.store import as_reference, import_latents

pandas = pytest.importorskip("pandas")
NAN, NUMBERS = float("nan"), [[1.0, 2.0], [3.0, 5.0], [4.0, 4.0]]


def table(**columns: Any) -> Any:
    return pandas.DataFrame(columns)


@pytest.mark.parametrize(
    "form",
    [
        NUMBERS,
        tuple(map(tuple, NUMBERS)),
        np.array(NUMBERS),
        np.array(NUMBERS, order="F"),
        np.array(NUMBERS, dtype=np.int8),
        np.array(NUMBERS, dtype=np.float16),
        np.array([[Decimal(1), 2], [3, 5.0], [np.int64(4), 4]], dtype=object),
        torch.tensor(NUMBERS, dtype=torch.float64, requires_grad=True),
        torch.tensor(NUMBERS, dtype=torch.bfloat16),
        torch.tensor(NUMBERS).int(),
        table(a=[1.0, 3.0, 4.0], b=[2, 5, 4]),
        table(a=pandas.array([1, 3, 4], dtype="Int64"), b=[2.0, 5.0, 4.0]),
        np.ma.array(NUMBERS, mask=False),
    ],
    ids=lambda form: type(form).__name__,
)
def test_numbers_in_rows_are_latent_vectors(form: Any) -> None:
    reference = as_reference(form)
    np.testing.assert_array_equal(reference.latents(), NUMBERS)
    assert reference.latents().dtype == np.float32


REFUSED: list[tuple[Any, str]] = [
    ([[1.0, 2.0], [3.0]], "not an array of numbers .*; give rows of the same length"),
    ([["1", "2"]], "of texts; turn them into numbers"),
    (np.array([["2020-01-01"]], dtype="datetime64[D]"), r"of values of type datetime64\[D\]; turn them"),
    (np.ones((3, 2)) * 1j, "Complex data not supported; give real numbers"),
    (np.ones(3), r"shape \(3,\), expected .*; give X.reshape\(-1, 1\) for .* X.reshape\(1, -1\) for a single vector"),
    (np.float64(3), r"shape \(\), expected"),
    (np.ones((2, 2, 2)), r"shape \(2, 2, 2\), expected .*; give one row for each vector"),
    (np.ones((0, 3)), r"holds no vectors, its shape is \(0, 3\)"),
    ([], r"shape \(0,\), expected"),
    (np.ones((3, 0)), r"0 feature\(s\) \(shape=\(3, 0\)\) while a minimum of 1 is required"),
    (np.array([[1, 2], [3, NAN]]), "row 1, column 1 holds NaN, .*; leave out such rows, or fill them"),
    (np.array([[1, 2], [-np.inf, 3]]), r"row 1, column 0 holds an infinite value \(inf\)"),
    (np.array([[1, 2], [3, 1e200]]), r"row 1, column 1 holds 1e\+200, .*; scale them down"),
    (np.array([[1, "a"]], dtype=object), r"row 0, column 1 holds 'a' \(a text\); leave it out"),
    (np.array([[1, {"b": 2}]], dtype=object), r"row 0, column 1 holds \{'b': 2\} \(float\(\) argument must be a"),
    (np.array([[1, 2j]], dtype=object), r"row 0, column 1 holds 2j \(a complex number\)"),
    (table(size=[1.0, 2.0], sex=["f", "m"]), "row 0, column 'sex' holds 'f'"),
    (table(size=[1.0, None], age=[1.0, 2.0]), "row 1, column 'size' holds NaN"),
    (table(size=[1.0, 2.0], born=pandas.to_datetime(["2020", "2021"])), "row 0, column 'born' holds Timestamp"),
    (table(size=pandas.array([1, None], dtype="Int64")), "row 1, column '?(size|0)'? holds (<NA>|NaN)"),
    (sparse.csr_array(np.eye(3)), r"is sparse; give a dense array, such as X.toarray\(\)"),
    (sparse.coo_matrix(np.eye(3)), r"is sparse; give a dense array, such as X.toarray\(\)"),
    (torch.eye(3).to_sparse(), r"is a sparse tensor; give a dense one, such as X.to_dense\(\)"),
    (np.ma.array(NUMBERS, mask=[[0, 1], [0, 0], [0, 0]]), "holds masked values; fill them"),
    ({"a": 1}, "cannot use dict; give a store, a bundle, the path or name of one, or an array"),
    (None, "cannot use NoneType; give a store"),
]


@pytest.mark.parametrize(("latents", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_anything_else_is_refused_in_one_line_that_names_the_argument(latents: Any, message: str) -> None:
    for fit in (load_sampler("gaussian").fit, load_core("interval").fit):
        with pytest.raises(LsamplerError, match=f"^X: .*{message}") as refused:
            fit(latents)
        assert isinstance(refused.value, ValueError)
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 300
    uses: list[tuple[str, Callable[[], object]]] = [
        ("latents", lambda: compare(latents, "gaussian")),
        ("latents", lambda: analyze(latents)),
        ("latents", lambda: choose(latents)),
        ("latents", lambda: recommended_sampler(latents)),
        ("reference", lambda: evaluate([], latents, "novelty")),
    ]
    for argument, use in uses:
        with pytest.raises(LsamplerError, match=f"^{argument}: .*{message.replace('X', argument)}"):
            use()


def test_a_column_that_is_left_out_leaves_the_others() -> None:
    found = as_reference(table(size=[1.0, 2.0], sex=["f", "m"]).drop(columns="sex"))
    assert found.feature_names == ["size"]


def test_a_bundle_is_a_reference_by_its_name_its_file_and_itself(tmp_path: Path) -> None:
    bundle, path = load_bundle("digits"), tmp_path / "mine.safetensors"
    bundle.save(path)
    expected = load_sampler("gaussian-mixture").fit(bundle).sample(5, seed=1)
    for form in ("digits", path, str(path)):
        assert torch.equal(load_sampler("gaussian-mixture").fit(form).sample(5, seed=1), expected)
        assert as_reference(form).fingerprint == bundle.fingerprint
    assert recommended_sampler("digits")[0].name == bundle.recommended


def test_a_named_bundle_brings_its_autoencoder_along() -> None:
    drawn = load_sampler("elliptical").fit("digits").sample(40, seed=0).numpy()
    by_name = evaluate([Samples("mine", drawn)], "digits", "core-membership")
    by_bundle = evaluate([Samples("mine", drawn)], load_bundle("digits"), "core-membership")
    assert by_name.as_dict() == by_bundle.as_dict()
    decode = RealData("digits").decode
    assert decode is not None
    assert decode(drawn).shape == (40, 8, 8, 1)


def test_a_store_is_a_reference_by_its_path(tmp_path: Path) -> None:
    np.save(tmp_path / "latents.npy", np.random.default_rng(3).normal(size=(60, 5)).astype(np.float32))
    import_latents(tmp_path / "latents.npy", tmp_path / "latents.h5", held_out=20)
    store = open_store(tmp_path / "latents.h5")
    expected = load_sampler("gaussian").fit(store).sample(5, seed=1)
    for form in (tmp_path / "latents.h5", str(tmp_path / "latents.h5")):
        assert torch.equal(load_sampler("gaussian").fit(form).sample(5, seed=1), expected)
        assert compare(form, "gaussian", evaluators="latent-distances", n=20).reference == store.name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", "no bundle 'digit'; did you mean 'digits'?; or give a .safetensors file, or the path of a store"),
        ("nowhere.h5", "nowhere.h5: no such latent store; check the path"),
        ("folder/of/none", "folder/of/none: no such latent store; check the path"),
        ("nowhere.safetensors", "nowhere.safetensors: no such model file; check the path"),
    ],
)
def test_a_name_of_nothing_is_refused_with_the_nearest_one(name: str, message: str) -> None:
    for use in (as_reference, load_sampler("gaussian").fit, analyze, lambda name: compare(name, "gaussian")):
        with pytest.raises(LsamplerError) as refused:
            use(name)
        assert str(refused.value) == message


def test_a_file_without_latents_is_refused(tmp_path: Path) -> None:
    load_safetensors_autoencoder("digits").save(tmp_path / "model.safetensors")
    with pytest.raises(
        LsamplerError, match=r"model.safetensors: no bundle, and holds no latent vectors; give a bundle"
    ):
        as_reference(tmp_path / "model.safetensors")
