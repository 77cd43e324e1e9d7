"""The example without faces: ten clusters, where one normal is wrong, and the scores must say so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from lsampler import evaluate, load_bundle, load_sampler, open_store
from lsampler.cli import main
from lsampler.plugins import load_evaluator
from lsampler.scoring import Samples
from lsampler.store import LatentStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LatentStore:
    folder = tmp_path_factory.mktemp("digits") / "example"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lsampler", "example", "--out", str(folder)])
        with pytest.raises(SystemExit):
            main()
    return open_store(folder / "latents.h5")


def test_the_example_holds_all_digits_and_latents_of_the_bundle(store: LatentStore) -> None:
    images = np.load(store.path.parent / "images.npy")
    assert images.shape == (1797, 8, 8)
    of_sklearn = load_digits().images.astype(np.float32) / 16
    assert sorted(image.tobytes() for image in images) == sorted(image.tobytes() for image in of_sklearn)
    assert (store.count("train"), store.count("held-out"), store.dimension) == (1200, 597, 10)
    assert store.fingerprint == load_bundle("digits").fingerprint
    mean = load_bundle("digits").reference.statistics().mean
    np.testing.assert_allclose(store.statistics().mean, mean, atol=0.02)  # its weights are half-precision


@pytest.mark.parametrize("strategy", ["gaussian-mixture", "gaussian-copula", "flow"])
def test_the_bundle_carries_what_is_fitted_to_the_example(store: LatentStore, strategy: str) -> None:
    """Latents that another processor encodes may differ in their last digits, and the fits a little."""
    carried, fitted = (load_sampler(strategy).fit(source) for source in (load_bundle("digits"), store))
    held_out = store.held_out()
    gap = carried.log_prob(held_out) - fitted.log_prob(held_out)
    assert abs(gap.mean()) < 0.05
    assert np.abs(gap).mean() < 0.2


def test_the_decoder_is_found_by_the_latents_fingerprint(
    store: LatentStore, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    answer = cli("sample", "-p", "gaussian-mixture", "--store", store.path, "--out", tmp_path / "digits.png")
    assert answer.code == 0, answer.err
    assert (tmp_path / "digits.png").is_file()


def test_a_bundle_keeps_its_name_beside_a_folder_of_the_same_name(
    store: LatentStore, tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    answer = cli("encode", store.path.parent / "images.npy", "--model", "digits", "--out", "latents.h5")
    assert answer.code == 0, answer.err
    encoded = open_store("latents.h5")
    np.testing.assert_array_equal(encoded.read(), store.read())
    assert encoded.splits() == store.splits() == ["train"] * 1200 + ["held-out"] * 597
    assert encoded.attributes["split"] == store.attributes["split"] == "last"


def test_the_example_is_written_by_one_command_and_never_over_something(
    tmp_path: Path, cli: Callable[..., Any]
) -> None:
    first = cli("example", "--out", tmp_path / "here")
    assert first.code == 0
    assert "1797 digits" in first.out
    again = cli("example", "--out", tmp_path / "here")
    assert again.code == 2
    assert "exists already" in again.err


@pytest.mark.parametrize("strategy", ["gaussian-mixture", "flow"])
def test_scores_tell_that_one_normal_is_wrong_and_a_mixture_or_flow_is_right(store: LatentStore, strategy: str) -> None:
    """Beyond the intervals: the differences seen are .4 to .8, the intervals about +-.05."""
    drawn = [Samples.drawn_by(load_sampler(name).fit(store), 600) for name in ("multivariate-normal", strategy)]
    names = ("fidelity-diversity", "log-likelihood")
    table = evaluate(drawn, store, [load_evaluator(name) for name in names])
    normal, better = (row.by_metric for row in table.rows[-2:])
    for metric in ("coverage", "clipped-density", "held-out-log-likelihood"):
        assert better[metric].low > normal[metric].high
    assert better["log-likelihood-gain"].low > 0
