"""condition-probe: whether samples have what was asked for, on data where the truth is known."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

import lsampler
from lsampler import LsamplerError, evaluate, load_sampler
from lsampler.plugins import load_evaluator
from lsampler.samplers import UnderCondition
from lsampler.scoring import Calibration, RealData, Samples, Score, Subject, fit_probes
from lsampler.store import Label, LatentStore, MemoryStore

RANDOM = np.random.default_rng(0)
TRAIN, HELD_OUT, D = 1600, 600, 6
ON = RANDOM.random(TRAIN + HELD_OUT) < 0.5
GOES = RANDOM.random(TRAIN + HELD_OUT) < np.where(ON, 0.8, 0.2)
RARE = RANDOM.random(TRAIN + HELD_OUT) < 0.02
SIZE = 3 * RANDOM.normal(size=TRAIN + HELD_OUT)
KIND = RANDOM.integers(3, size=TRAIN + HELD_OUT)
ROWS = np.column_stack([8 * ON, 8 * GOES, 8 * RARE, SIZE, 8 * KIND, 0 * ON]) + RANDOM.normal(size=(TRAIN + HELD_OUT, D))
LABELS = {"on": ON, "goes along": GOES, "rare": RARE, "size": SIZE, "kind": np.array(["a", "b", "c"])[KIND]}
JUDGE = """
import numpy as np, torch, lsampler
class Turned(torch.nn.Module):
    def __init__(self, back):
        super().__init__()
        torch.manual_seed(1)
        self.turn = torch.nn.Parameter(torch.linalg.qr(torch.randn(6, 6))[0])
        self.back = back
    def forward(self, rows):
        return rows @ (self.turn.T if self.back else self.turn)
def make():
    return lsampler.adapt(Turned(False), Turned(True), example=np.zeros((2, 6), np.float32))
"""


def encode(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows


def decode(latents: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is rare does not show."""
    return latents * np.array([1, 1, 0, 1, 1, 1], np.float32)


@pytest.fixture(scope="module", name="store")
def fixture_store() -> LatentStore:
    """Vectors that hold what labels say, of items that are the vectors."""
    model = lsampler.adapt(encode, decode, example=ROWS[:2].astype(np.float32))
    held_out = lsampler.store.HeldOut(HELD_OUT, "last")
    return lsampler.encode(model, ROWS.astype(np.float32), labels=LABELS, held_out=held_out, progress=False)


@pytest.fixture(scope="module", name="judge")
def fixture_judge(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another encoder, which turns the items."""
    path = tmp_path_factory.mktemp("judge") / "judge.py"
    path.write_text(JUDGE)
    return f"{path}:make"


def scored(
    store: LatentStore, where: object, latents: NDArray[np.float32], others: str = "observed", **parameters: object
) -> tuple[dict[str, Score], list[str]]:
    """The scores of vectors under a condition, and what a reader has to know."""
    subject = Subject.of(UnderCondition(store, where, others=others))
    samples = Samples("drawn", latents, decode=subject.decode, encode=subject.encode)
    found = evaluate([samples], subject, [load_evaluator("condition-probe", **parameters)], progress=False)
    return found.rows[-1].by_metric, found.caveats


def test_what_was_asked_for_is_found_in_the_vectors_that_have_it(store: LatentStore) -> None:
    """On 90 of 100 vectors here; once decoded, what does not show is found on none."""
    has = store.labels["on"][:TRAIN] == 1
    latents = np.concatenate([store.latents()[has][:90], store.latents()[~has][:10]])
    found, caveats = scored(store, {"on": 1}, latents)
    assert found["condition-found"].value == pytest.approx(0.9)
    assert found["condition-found"].interval == "Wilson"
    assert found["condition-found-decoded"].value == pytest.approx(0.9)
    line = next(line for line in caveats if line.startswith("in held-out real vectors"))
    with_it, without = map(int, re.findall(r"of (\d+) with", line))
    assert (with_it, without) == (int(ON[TRAIN:].sum()), int((~ON[TRAIN:]).sum()))
    assert "found on 100 %" in line
    rare = store.latents()[store.labels["rare"][:TRAIN] == 1]
    found, caveats = scored(store, {"rare": 1}, rare)
    assert found["condition-found"].value > 0.95
    assert found["condition-found-decoded"].value == 0
    assert caveats[0].startswith(f"only {len(rare)} train and {int(RARE[TRAIN:].sum())} held-out vectors have what was")


def test_several_labels_have_to_hold_all_and_a_number_is_read(store: LatentStore) -> None:
    both = (ON & GOES)[:TRAIN]
    found, _ = scored(store, {"on": 1, "goes along": 1, "kind": ["a", "b"]}, store.latents()[both])
    assert found["condition-found"].value == pytest.approx((KIND[:TRAIN][both] < 2).mean(), abs=0.06)
    found, _ = scored(store, {"size": ">=2"}, store.latents())
    assert found["condition-found"].value == pytest.approx((SIZE[:TRAIN] >= 2).mean(), abs=0.05)


def test_labels_that_were_not_asked_for_move_by_what_they_do(store: LatentStore) -> None:
    """With on, goes along is had by 80 %; alone by 50 %. Tolerances are four standard errors of the 1,000 samples."""
    sampler = load_sampler("multivariate-normal").fit(store, where={"on": 1}, by="shift", progress=False)
    observed = sampler.sample(1000, seed=1).numpy()
    found, _ = scored(store, {"on": 1}, observed)
    assert found["moved/goes_along"].value == pytest.approx(0, abs=0.07)
    assert found["condition-entanglement"].value < 0.05
    alone = load_sampler("multivariate-normal").fit(
        store, where={"on": 1}, by="shift", others="independent", progress=False
    )
    drawn = alone.sample(1000, seed=1).numpy()
    found, _ = scored(store, {"on": 1}, drawn)
    assert found["moved/goes_along"].value == pytest.approx(-0.3, abs=0.07)
    assert found["condition-moved-most"].note == "goes along down"
    assert found["condition-moved-most"].value == -found["moved/goes_along"].value
    low, high = found["moved/goes_along"].low, found["moved/goes_along"].high
    assert low < -0.3 < high
    found, _ = scored(store, {"on": 1}, drawn, others="independent")
    assert found["moved/goes_along"].value == pytest.approx(0, abs=0.07)


def test_movements_are_those_of_shares_and_means(store: LatentStore) -> None:
    """Against a computation term by term; their mean is the entanglement."""
    latents, probes = store.latents()[:200] + np.float32(0.5), fit_probes(store)
    rows = store.latents()[store.labels["on"][:TRAIN] == 1]
    found, _ = scored(store, {"on": 1}, latents)
    goes, size, kind = probes["goes along"], probes["size"], probes["kind"]
    expected = goes.read(latents).mean() - goes.read(rows).mean()
    assert found["moved/goes_along"].value == pytest.approx(expected)
    expected = (size.scores(latents).mean() - size.scores(rows).mean()) / size.scores(store.latents()).std()
    assert found["moved/size"].value == pytest.approx(expected)
    shares = [np.bincount(kind.read(each).astype(int), minlength=3) / len(each) for each in (latents, rows)]
    assert found["moved/kind"].value == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2)
    moved = [abs(score.value) for metric, score in found.items() if metric.startswith("moved/")]
    assert len(moved) == 4
    assert found["condition-entanglement"].value == pytest.approx(np.mean(moved))
    assert all(score.detail == metric.startswith("moved/") for metric, score in found.items())
    only, _ = scored(store, {"on": 1}, latents, labels=0)
    assert list(only) == ["condition-found", "condition-found-decoded"]


def test_another_encoder_judges_decoded_samples(store: LatentStore, judge: str, tmp_path: Path) -> None:
    """Its latents are of the items that the store knows, or those of a store, which has to be its own."""
    has = store.labels["on"][:TRAIN] == 1
    latents = np.concatenate([store.latents()[has][:30], store.latents()[~has][:10]])
    found, caveats = scored(store, {"on": 1}, latents, judge=judge)
    assert found["condition-found-judge"].value == pytest.approx(0.75)
    assert any(line.startswith("in held-out real items, the judge finds on=1 on 100 %") for line in caveats)
    stored = judged_store(judge, tmp_path / "judge.h5")
    from_file, _ = scored(store, {"on": 1}, latents, judge=judge, judge_store=str(stored))
    assert from_file["condition-found-judge"] == found["condition-found-judge"]
    for given, message in (
        ({"judge": judge, "judge_store": str(tmp_path / "none.h5")}, r"none\.h5"),
        ({"judge_store": str(stored)}, r"`judge_store=...`: holds latents of a judge; give `judge=...` too"),
        (
            {"judge": "digits", "judge_store": str(stored)},
            r"`judge=digits`: takes images of .*, and the model makes rows",
        ),
        ({"judge": str(tmp_path / "none.py:make")}, r"none\.py"),
    ):
        with pytest.raises(LsamplerError, match=message):
            scored(store, {"on": 1}, latents, **given)


def judged_store(judge: str, path: Path) -> Path:
    """The judge's latents of the items, with their labels."""
    held_out = lsampler.store.HeldOut(HELD_OUT, "last")
    model = lsampler.load_autoencoder(judge)
    found = lsampler.encode(model, ROWS.astype(np.float32), labels=LABELS, held_out=held_out, progress=False)
    with lsampler.store.StoreWriter(path, D, {"encoder": model.fingerprint}) as writer:
        writer.append(found.read(), split=found.splits(), labels=found.labels)
    return path


def test_without_items_or_with_another_encoders_store_the_judge_is_refused(judge: str, tmp_path: Path) -> None:
    latents, stored = ROWS.astype(np.float32), judged_store(judge, tmp_path / "judge.h5")
    plain = MemoryStore(latents[:TRAIN], latents[TRAIN:], labels=LABELS, name="plain")
    model = lsampler.adapt(encode, decode, example=latents[:2])
    subject = Subject.of(UnderCondition(plain, {"on": 1}), model)
    real = RealData(subject)
    with pytest.raises(LsamplerError, match=r"the items of plain are not at hand, .*; give `judge_store=\.\.\.`"):
        load_evaluator("condition-probe", judge=judge).prepare(real)
    other = tmp_path / "other.h5"
    with lsampler.store.StoreWriter(other, D, {"encoder": "another"}) as writer:
        writer.append(latents)
    with pytest.raises(LsamplerError, match=r"other\.h5`: its latents come from another encoder than the judge"):
        load_evaluator("condition-probe", judge=judge, judge_store=str(other)).prepare(real)
    itself = Subject.of(UnderCondition(plain, {"on": 1}), lsampler.load_autoencoder(judge))
    with pytest.raises(LsamplerError, match="is the model itself; give another encoder of the same items"):
        load_evaluator("condition-probe", judge=judge, judge_store=str(stored)).prepare(RealData(itself))
    evaluators = [load_evaluator("condition-probe", judge_store=str(each)).digest() for each in (stored, other)]
    assert len(set(evaluators)) == 2


def test_without_a_condition_it_says_so(store: LatentStore) -> None:
    with pytest.raises(LsamplerError, match=r"there is no condition, so nothing was asked for; give `where=\.\.\.`"):
        evaluate([Samples("drawn", store.latents()[:9])], store, ["condition-probe"], progress=False)


def test_items_under_a_condition_are_those_that_fulfil_it(store: LatentStore) -> None:
    under = UnderCondition(store, {"kind": "b"})
    for split in ("train", "held-out"):
        rows = under.latents() if split == "train" else under.held_out()
        np.testing.assert_array_equal(under.items.read(split), rows)
    with pytest.raises(LsamplerError, match="only one train row of few fulfils x=1, so there is nothing to judge"):
        UnderCondition(MemoryStore(np.eye(4), labels={"x": [1, 0, 0, 0]}, name="few"), {"x": 1})


def test_a_calibration_holds_shares_of_many_rows_only() -> None:
    """Shares are those of scikit-learn's confusion matrix; a value of fewer than ten rows has none."""
    label, rng = Label("kind", "categorical", ("a", "b", "c")), np.random.default_rng(1)
    codes = np.r_[rng.integers(2, size=300), np.full(9, 2), np.nan].astype(np.float32)
    read = np.where(rng.random(310) < 0.7, np.nan_to_num(codes), 1.0)
    found = Calibration.of(label, codes, read, auc=0.81239)
    expected = confusion_matrix(codes[:309], read[:309], normalize="true", labels=[0, 1, 2])
    assert found.auc == 0.812
    assert found.counts == tuple(10 * round((codes == value).sum() / 10) for value in range(3))
    np.testing.assert_allclose(found.read[:2], expected[:2], atol=0.005)
    assert found.read[2] is None
    wanted = UnderCondition(
        MemoryStore(np.eye(30), labels={"kind": ["a", "b", "c"] * 10}), {"kind": ["a", "c"]}
    ).condition.wanted[0]
    with_it, without = found.finds(wanted)
    assert with_it is not None
    assert without is not None
    assert with_it.share == pytest.approx(found.read[0][0] + found.read[0][2])
    assert without.share == pytest.approx(found.read[1][0] + found.read[1][2])
    assert (with_it.rows, without.rows) == found.counts[:2]
    assert found.finds(wanted, again=True) == (None, None)
