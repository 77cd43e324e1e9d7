"""Probes: linear models that read labels off latent vectors."""

from __future__ import annotations

import numpy as np
import pytest

from lsampler import LsamplerError
from lsampler.samplers import UnderCondition
from lsampler.scoring import Probe, fit_probes
from lsampler.store import MemoryStore

RANDOM = np.random.default_rng(0)
LATENTS = RANDOM.normal(2.0, [1.0, 3.0, 0.2, 1.0], size=(4000, 4)).astype(np.float32)
LABELS = {
    "right": (LATENTS[:, 0] > 2.5).astype(np.float32),
    "third": np.digitize(LATENTS[:, 1], [0.5, 3.5]).astype(str),
    "height": 10 * LATENTS[:, 2] + 5 + 0.5 * RANDOM.normal(size=4000),
    "chance": RANDOM.integers(0, 2, 4000).astype(np.float32),
}
STORE = MemoryStore(LATENTS[:3000], LATENTS[3000:], labels=LABELS)


@pytest.fixture(scope="module", name="probes")
def fixture_probes() -> dict[str, Probe]:
    """One probe per label."""
    return fit_probes(STORE)


def known(name: str) -> np.ndarray:
    """The codes of held-out rows."""
    return STORE.labels.codes[3000:, STORE.labels.place(name)]


def test_probes_read_what_vectors_hold(probes: dict[str, Probe]) -> None:
    """And nothing where labels are drawn by chance: areas within five standard errors (.018 at 1,000 rows) of 0.5."""
    held_out = LATENTS[3000:]
    assert list(probes) == list(LABELS)
    assert probes["right"].auc(held_out, known("right")) > 0.99
    assert (probes["right"].read(held_out) == known("right")).mean() > 0.97
    assert (probes["third"].read(held_out) == known("third")).mean() > 0.9
    assert probes["third"].auc(held_out, known("third")) > 0.8  # the middle third has no side of its own
    assert probes["height"].auc(held_out, known("height")) is None
    assert probes["height"].r2(held_out, known("height")) == pytest.approx(4 / 4.25, abs=0.02)
    assert abs(probes["chance"].auc(held_out, known("chance")) - 0.5) < 5 * 0.018


def test_scores_are_those_of_scikit_learn(probes: dict[str, Probe]) -> None:
    """Weights are in units of the latent vectors."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train = LATENTS[:3000].astype(np.float64)
    peer = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-8)).fit(train, LABELS["right"][:3000])
    found = probes["right"].scores(LATENTS[3000:])[:, 0]
    np.testing.assert_allclose(found, peer.decision_function(LATENTS[3000:].astype(np.float64)), atol=1e-3)
    standard = probes["right"].standardised(LATENTS[:3000])
    assert standard.mean() == pytest.approx(0, abs=1e-9)
    assert standard.std() == pytest.approx(1)


def test_conditions_are_found(probes: dict[str, Probe]) -> None:
    """A probe says on which vectors one of the wanted values is read."""
    for where, name in (({"right": 1}, "right"), ({"third": ["0", "2"]}, "third"), ({"height": ">=10"}, "height")):
        (wanted,) = UnderCondition(STORE, where).condition.wanted
        finds = probes[name].finds(wanted, LATENTS[3000:])
        assert (finds == wanted.fulfilled(known(name))).mean() > 0.88


def test_labels_of_one_value_have_no_probe() -> None:
    """They are left out, or refused where they are named; missing values and single rows are no values."""
    labels = {"same": np.ones(50), "once": np.r_[1, np.zeros(49)], "gaps": np.r_[np.nan, 1, np.zeros(24), np.ones(24)]}
    store = MemoryStore(LATENTS[:40], LATENTS[40:50], labels=labels)
    assert list(fit_probes(store)) == ["gaps"]
    with pytest.raises(LsamplerError, match="label 'same': has one value only in 40 rows"):
        fit_probes(store, ["same"])
    with pytest.raises(LsamplerError, match="label 'once': fewer than two rows have the rarer value"):
        fit_probes(store, ["once"])
    with pytest.raises(LsamplerError, match=r"no label 'gap'.*'gaps'"):
        fit_probes(store, ["gap"])
