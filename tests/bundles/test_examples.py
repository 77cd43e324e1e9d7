"""The examples that are no images: a table and signals, with their bundles."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer
from support import Answer

import lsampler
from lsampler import load_bundle, load_sampler, open_store
from lsampler.cli import main
from lsampler.data import open_items


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("examples")
    for what in ("table", "signal"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["lsampler", "example", "--out", str(made / what), "--what", what])
            with pytest.raises(SystemExit):
                main()
    return {what: made / what for what in ("table", "signal")}


def test_the_table_is_scikit_learns_with_names_and_ids(folders: dict[str, Path]) -> None:
    source = open_items(folders["table"] / "samples.csv")
    data = load_breast_cancer()
    np.testing.assert_allclose(source.rows(0, 569), data.data, rtol=1e-5)
    assert source.item.names == tuple(data.feature_names)
    assert source.ids[:2] == ["s000", "s001"]
    assert load_bundle("cancer").autoencoder.item == source.item


def test_the_signals_are_heartbeats_in_millivolts(folders: dict[str, Path]) -> None:
    """The R wave is at 0.35 s, and its height in lead II about 1 mV: what the model of McSharry et al. prescribes."""
    beats = np.load(folders["signal"] / "beats.npy")
    assert (beats.shape, beats.dtype) == ((2500, 2, 180), np.float32)
    normal = beats[beats[:, 1, 100:].min(axis=1) > -0.15]  # without those whose T wave points down
    assert 0.8 < len(normal) / len(beats) < 0.9
    assert abs(np.median(normal[:, 1].argmax(axis=1)) - 70) <= 1
    assert 0.8 < np.median(normal[:, 1].max(axis=1)) < 1.2
    item = load_bundle("heartbeats").autoencoder.item
    assert (item.kind, item.shape, item.names, item.unit) == ("signal", (2, 180), ("I", "II"), "mV")


@pytest.mark.parametrize(
    ("what", "bundle", "counts", "most"),
    [("table", "cancer", (400, 169), 0.02), ("signal", "heartbeats", (2000, 500), 0.005)],
)
def test_the_bundle_belongs_to_the_example(
    what: str, bundle: str, counts: tuple[int, int], most: float, folders: dict[str, Path]
) -> None:
    known, store = load_bundle(bundle), open_store(folders[what] / "latents.h5")
    assert (store.count("train"), store.count("held-out")) == counts
    assert store.fingerprint == known.fingerprint
    np.testing.assert_allclose(store.statistics().mean, known.reference.statistics().mean, atol=0.01)
    model = known.autoencoder
    source = open_items(folders[what] / model.training_record["source"], model.item)
    held = np.array([part == "held-out" for part in store.splits()])
    real = torch.from_numpy(source.rows(0, len(source.ids))[held])
    error = float(model.reconstruction_error(model.decode(model.encode(real)), real))
    assert error == pytest.approx(model.training_record["held_out_mse"], rel=0.05)
    assert error < most
    # Held-out latents have unit spread, as training promises; half-precision weights change the third digit.
    assert float(np.sqrt(store.held_out().astype(float).var(axis=0).mean())) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("bundle", "what"), [("cancer", "table"), ("heartbeats", "signal")])
def test_samples_have_the_means_and_spreads_of_the_data(bundle: str, what: str, folders: dict[str, Path]) -> None:
    """2,000 draws: a standard error of 0.02 standard deviations, and bounds of five times that and the fit's own."""
    known = load_bundle(bundle)
    drawn = lsampler.decode(known.autoencoder, load_sampler("gaussian-mixture").fit(known).sample(2000, seed=0))
    model = known.autoencoder
    source = open_items(folders[what] / model.training_record["source"], model.item)
    real = source.rows(0, len(source.ids))
    unit = real.std(axis=(0, 2), keepdims=True)[0] if what == "signal" else real.std(axis=0)
    assert np.abs((drawn.mean(axis=0) - real.mean(axis=0)) / unit).max() < 0.25
    assert np.abs((drawn.std(axis=0) - real.std(axis=0)) / unit).max() < 0.25


def test_the_command_writes_an_example_and_says_what_to_try(tmp_path: Path, ok: Callable[..., Answer]) -> None:
    said = ok("example", "--out", tmp_path / "c", "--what", "table").out
    assert "569 samples of 30 measurements in samples.csv, their latents (D = 20) in latents.h5" in said
    ok(
        "sample",
        "--plugin",
        "gaussian-mixture",
        "--store",
        tmp_path / "c" / "latents.h5",
        "--out",
        tmp_path / "new.csv",
    )
    with (tmp_path / "new.csv").open() as handle:
        assert next(csv.reader(handle)) == list(load_breast_cancer().feature_names)


def test_an_unknown_example_is_one_line(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    answer = cli("example", "--out", tmp_path / "x", "--what", "tables")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "--what tables: there is no such example; did you mean 'table'?" in answer.err
    assert not (tmp_path / "x").exists()
