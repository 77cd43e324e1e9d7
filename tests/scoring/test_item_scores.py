"""Scores of items that are no images, each beside an independent computation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from item_models import NAMES, cancer, normals, same, waves
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from scored import brute_frechet
from sklearn.mixture import GaussianMixture

from lsampler import LsamplerError, adapt, encode, evaluate, load_sampler
from lsampler.data import Item, open_items
from lsampler.models import EncodedStore, encode_to_store
from lsampler.plugins import load_evaluator
from lsampler.scoring import RealData, RealItems, Samples, Score, Subject
from lsampler.store import MemoryStore

Rows = NDArray[Any]
STATISTICS = {"item-ks", "item-ks-worst", "item-correlation-error", "item-frechet"}


def scores_of(name: str, samples: Samples, real: RealData, **parameters: Any) -> dict[str, Score]:
    evaluator = load_evaluator(name, **parameters)
    evaluator.prepare(real)
    return {score.metric: score for score in evaluator.score(samples)}


def drawn(store: EncodedStore, n: int = 150) -> Samples:
    return Samples.drawn_by(load_sampler("multivariate-normal").fit(store), n, seed=1)


def items_of(latents: Rows, items: Rows, store: EncodedStore) -> Rows:
    """The items that these vectors were encoded from, found by comparing with all of them."""
    every = store.autoencoder.encode(torch.as_tensor(np.asarray(items))).numpy()
    return np.stack([np.asarray(items)[np.abs(every - row).sum(axis=1).argmin()] for row in latents])


def test_statistics_of_a_table_are_those_of_scipy_and_numpy() -> None:
    frame, _, store = cancer()
    real, samples = RealData(store, rows=150), drawn(store)
    found = scores_of("item-statistics", samples, real)
    train = items_of(real.train, frame, store).astype(np.float64)
    rows = samples.items.astype(np.float64)
    statistics = [ks_2samp(a, b).statistic for a, b in zip(rows.T, train.T, strict=True)]
    assert found["item-ks"].value == pytest.approx(np.mean(statistics), abs=1e-9)
    assert found["item-ks-worst"].value == pytest.approx(np.max(statistics), abs=1e-9)
    assert found["item-ks-worst"].note == frame.columns[int(np.argmax(statistics))]
    errors = (np.corrcoef(rows.T) - np.corrcoef(train.T))[np.triu_indices(30, 1)]
    assert found["item-correlation-error"].value == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-9)
    scaled = [(part - train.mean(axis=0)) / train.std(axis=0) for part in (train, rows)]
    moments = [moment for part in scaled for moment in (part.mean(axis=0), np.cov(part.T))]
    assert found["item-frechet"].value == pytest.approx(brute_frechet(*moments), rel=1e-4)
    assert all(score.low <= score.value <= score.high and score.n == 150 for score in found.values())


def test_real_vectors_are_scored_by_the_items_that_were_encoded() -> None:
    frame, _, store = cancer()
    real = RealData(store, rows=150)
    items = RealItems(real)
    assert items.originals
    np.testing.assert_array_equal(items.train, items_of(real.train, frame, store))
    np.testing.assert_array_equal(items.other, items_of(real.other, frame, store))
    judging = Samples("held-out", store.held_out()[1::2], decode=real.decode, kind="held-out")
    np.testing.assert_array_equal(items.of(judging), items_of(store.held_out()[1::2], frame, store))
    decoded = scores_of("item-statistics", Samples("decoded", real.train, decode=real.decode), real)
    own = scores_of("item-statistics", Samples("train", real.other, decode=real.decode, kind="train"), real)
    assert own["item-frechet"].n == decoded["item-frechet"].n == 150
    evaluator = load_evaluator("item-statistics")
    evaluator.prepare(real)
    (line,) = evaluator.caveats()
    assert f"an item-ks of {decoded['item-ks'].value:.2g}" in line
    assert f"an item-frechet of {decoded['item-frechet'].value:.3g}" in line


# Simulated, 1,500 sets of 300 rows: without a shift the largest of five KS statistics exceeds 0.16 in 0.8 % of them; a
# shift by 0.8 standard deviations gives 0.33 (standard deviation 0.03), at least 0.23, and the right name each time. In
# 40 such sets the AUC is 0.49 (0.03) without a shift, and 0.71 (0.03) with one, its lower end 0.67 (0.03): the bounds
# below are more than 3 standard deviations away.
def test_a_planted_shift_of_one_feature_is_seen_and_named() -> None:
    model, store = same()
    real, rows = RealData(store, rows=300), normals(300, seed=7)
    for feature, name in enumerate(NAMES):
        shifted = rows.copy()
        shifted[:, feature] += 0.8 * rows[:, feature].std()
        samples = Samples.of_items("shifted", shifted, model)
        found = scores_of("item-statistics", samples, real)["item-ks-worst"]
        assert (found.note, found.value > 0.2) == (name, True)
    assert scores_of("item-classifier", samples, real)["item-auc"].low > 0.55
    plain = Samples.of_items("plain", rows, model)
    assert scores_of("item-statistics", plain, real)["item-ks-worst"].value < 0.16
    assert scores_of("item-classifier", plain, real)["item-auc"].value < 0.6


def test_the_classifier_sees_what_the_decoder_loses_only_against_real_items() -> None:
    _, model, store = cancer()
    sets = [drawn(store, 120), Samples.of_items("decoded", drawn(store, 120).items, model)]
    table = evaluate(sets, store, load_evaluator("item-classifier", learner="logistic"), progress=False)
    rows = {row.name: row.by_metric for row in table.rows}
    own = rows["multivariate-normal"]
    assert own["item-auc"].value > 0.95 > own["reconstruction-auc"].high  # 6 of 30 components are kept
    assert set(rows["decoded"]) == {"item-auc"}
    assert rows["held-out real vectors"]["item-auc"].value < 0.7
    (line,) = (caveat for caveat in table.caveats if "decoded held-out vectors" in caveat)
    assert float(line.split("AUC of ")[1][:4]) > 0.9


def test_items_of_another_model_stand_beside_decoded_samples() -> None:
    signals, model, store = waves()
    mixture = GaussianMixture(3, covariance_type="diag", random_state=0).fit(signals[:, 0].astype(np.float64))
    raw = mixture.sample(200)[0].reshape(-1, 1, 64).astype(np.float32)
    samples = Samples.of_items("mixture of raw signals", raw, model)
    assert sorted(map(bytes, samples.items)) == sorted(map(bytes, raw))
    first, last = (raw[np.abs(raw - part).sum(axis=(1, 2)).argmin()] for part in (samples.items[0], samples.items[1]))
    np.testing.assert_array_equal(np.stack([first, last]), samples.items[:2])
    assert not np.array_equal(samples.items, raw)  # scikit-learn's samples come in groups
    np.testing.assert_allclose(samples.latents, model.encode(torch.from_numpy(samples.items)), atol=1e-6)
    table = evaluate([samples], store, ["item-statistics", "cycle-consistency"], progress=False)
    row = table.rows[-1]
    assert set(row.by_metric) == STATISTICS
    assert row.by_metric["item-ks-worst"].note.startswith("step ")
    assert row.problems == ["cycle-consistency: these items were not decoded, so there is nothing to encode again"]


def test_of_long_items_evenly_spaced_numbers_are_compared() -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(120, 2, 400)).astype(np.float32)
    model = adapt(
        lambda x: x[:, :, ::100].reshape(len(x), -1),
        lambda z: np.repeat(z.reshape(len(z), 2, 4), 100, axis=2),
        example=rows[:4],
        names=("left", "right"),
        name="steps",
    )
    real = RealData(encode(model, rows, held_out=20, progress=False), rows=50)
    changed = rows[:50].copy()
    changed[:, 1, -1] += 50
    found = scores_of("item-statistics", Samples.of_items("changed", changed, model), real, resamples=2)
    assert found["item-ks-worst"].note == "right, step 399"
    assert found["item-ks-worst"].value == pytest.approx(1.0)
    places = np.round(np.linspace(0, 799, 256)).astype(int)
    train = RealItems(real).train.reshape(50, -1)[:, places]
    statistics = [ks_2samp(a, b).statistic for a, b in zip(changed.reshape(50, -1)[:, places].T, train.T, strict=True)]
    assert found["item-ks"].value == pytest.approx(np.mean(statistics), abs=1e-9)


def test_the_frechet_distance_is_that_of_features_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, store = waves()
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "energies.py").write_text(
        "def bands(items):\n    return (items[:, 0].reshape(len(items), 4, 16) ** 2).mean(axis=2)\n"
        "def flat(items):\n    return items[:, 0, 0]\n"
    )
    real, samples = RealData(store, rows=150), drawn(store)
    found = scores_of("item-statistics", samples, real, features="energies:bands")["item-frechet"]
    parts = [
        (part[:, 0].reshape(-1, 4, 16).astype(np.float64) ** 2).mean(axis=2)
        for part in (RealItems(real).train, samples.items)
    ]
    moments = [moment for part in parts for moment in (part.mean(axis=0), np.cov(part.T))]
    assert found.value == pytest.approx(brute_frechet(*moments), rel=1e-4)
    assert found.label == "Frechet distance\nenergies:bands"
    with pytest.raises(LsamplerError, match=r"energies:flat: gave shape \(64,\) for 64 items"):
        scores_of("item-statistics", samples, real, features="energies:flat")
    with pytest.raises(LsamplerError, match=r"features=bands: give module:callable, or a \.pt, \.ts or \.onnx file"):
        scores_of("item-statistics", samples, real, features="bands")


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Subject, Path]:
    """A store in a file with its model, and the file of the items that were encoded."""
    frame, model, _ = cancer()
    path = tmp_path / "rows.csv"
    frame.to_csv(path, index=False)
    store = encode_to_store(model, open_items(path, model.item), tmp_path / "rows.h5", held_out=120).store
    return Subject.of(store, model), path


def test_a_store_in_a_file_is_told_where_its_items_are(kept: tuple[Subject, Path]) -> None:
    subject, path = kept
    real = RealData(subject, rows=150)
    assert not RealItems(real).originals
    items = RealItems(real, str(path))
    frame, _, store = cancer()
    np.testing.assert_allclose(items.train, items_of(real.train, frame, store), rtol=1e-6)
    samples = drawn(store)
    known = scores_of("item-classifier", samples, real, items=str(path), learner="logistic")
    assert set(known) == {"item-auc", "reconstruction-auc"}
    quick = [load_evaluator("item-statistics", resamples=2), load_evaluator("item-classifier", learner="logistic")]
    without = evaluate([samples], subject, quick, progress=False)
    assert [line for line in without.caveats if "items=FILE" in line] == [
        "samples are compared with decoded real vectors, since the real items are not at hand; give item-statistics "
        "and item-classifier `items=FILE`, the file that was encoded"
    ]
    assert "item-auc" not in without.rows[-1].by_metric


def test_a_file_of_other_items_is_refused(kept: tuple[Subject, Path], tmp_path: Path) -> None:
    subject, _ = kept
    real, frame = RealData(subject, rows=150), cancer()[0]
    other = tmp_path / "other.csv"
    frame[::-1].to_csv(other, index=False)
    with pytest.raises(
        LsamplerError, match=r"other.csv: its items are not those of .*; give the file that was encoded"
    ):
        RealItems(real, str(other))
    frame[:100].to_csv(other, index=False)
    with pytest.raises(LsamplerError, match=r"other.csv: holds no item '\d+', which .* does; give the file"):
        RealItems(real, str(other))
    table = evaluate(
        [drawn(cancer()[2])],
        subject,
        [load_evaluator("item-statistics", items=str(other)), "latent-distances"],
        progress=False,
    )
    assert any(f"no scores of item-statistics: {other}: holds no item" in line for line in table.caveats)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (normals(3, 0)[:, :4], r"items: items of shape \(4,\), the model takes \(5,\), a row of 5 features"),
        (
            np.where(np.arange(5) == 2, np.nan, normals(3, 0)),
            r"mine: item 0 holds NaN or infinite values \(1, the first 'x2'",
        ),
        (np.array([["a"] * 5]), "items: "),
    ],
    ids=["shape", "nan", "texts"],
)
def test_items_that_the_model_does_not_take_are_refused(items: Any, message: str) -> None:
    with pytest.raises(LsamplerError, match=message):
        Samples.of_items("mine", items, same()[0])


def test_items_that_do_not_fit_into_memory_are_refused() -> None:
    class Large:
        item = Item("table", (1 << 21,))

    subject = Subject(MemoryStore(normals(400, 1)), decode=lambda z: z, autoencoder=Large())  # type: ignore[arg-type]
    message = r"comparing 200 rows of 2097152 features needs about 6.7 GB of memory; leave scores of items out"
    with pytest.raises(LsamplerError, match=message):
        RealItems(RealData(subject))


def test_constant_features_and_few_samples_are_scored_or_refused_in_one_line() -> None:
    rows = normals(200, seed=2)
    rows[:, 3] = 1.5
    model = adapt(lambda x: x, lambda z: z, example=rows[:4], name="same")
    real = RealData(encode(model, rows, held_out=60, progress=False), rows=70)
    found = scores_of("item-statistics", Samples.of_items("real", rows[:70], model), real)
    assert found["item-ks"].value < 0.3
    pairs = np.triu_indices(4, 1)
    others = [
        np.corrcoef(part[:, [0, 1, 2, 4]].astype(np.float64).T)[pairs] for part in (rows[:70], RealItems(real).train)
    ]
    expected = np.sqrt(np.mean((others[0] - others[1]) ** 2))
    assert found["item-correlation-error"].value == pytest.approx(expected, rel=1e-6)
    with pytest.raises(LsamplerError, match="a single sample has no covariance; draw more"):
        scores_of("item-statistics", Samples.of_items("one", rows[:1], model), real)
    with pytest.raises(LsamplerError, match="9 items of a kind; cross-validation in 5 folds needs 50"):
        scores_of("item-classifier", Samples.of_items("few", rows[:9], model), real)
