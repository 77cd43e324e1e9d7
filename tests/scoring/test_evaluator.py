"""Scores, their intervals, the row of the held-out vectors, and the two evaluators that come along."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydantic import PrivateAttr
from scipy.stats import binomtest

from lsampler import (
    Evaluator,
    LsamplerError,
    MemoryStore,
    RealData,
    Samples,
    Score,
    evaluate,
    load_core,
    load_evaluator,
    plugin_names,
    share_score,
)
from lsampler.scoring.core import calibration_split
from lsampler.scoring.evaluator import HELD_OUT_ROW

CORES = ["interval", "pair-ellipses", "pca-ellipses", "ellipsoid", "knn"]


def samples(rows: NDArray[Any], name: str = "mine") -> Samples:
    return Samples(name, np.asarray(rows, dtype=np.float32))


def normal_rows(n: int = 40) -> NDArray[np.float32]:
    return np.random.default_rng(40).normal(size=(n, 12)).astype(np.float32)


class Norm(Evaluator):
    """Mean distance from the origin; refuses far samples."""

    name = "norm"

    _prepared: list[str] = PrivateAttr(default_factory=list)

    def prepare(self, real: RealData) -> None:
        self._prepared.append(real.reference.name)

    def score(self, samples: Samples) -> list[Score]:
        norm = float(np.linalg.norm(samples.latents, axis=1).mean())
        if norm > 1e3:
            raise LsamplerError("too far out")
        return [Score("norm", "distance", "mean", norm, norm, norm, len(samples.latents), "real")]


class Recorder(Evaluator):
    """Keeps what it is given."""

    name = "recorder"

    _seen: dict[str, NDArray[np.float32]] = PrivateAttr(default_factory=dict)

    def score(self, samples: Samples) -> list[Score]:
        self._seen[samples.name] = samples.latents
        return []


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 500), (500, 500), (499, 500), (7, 20), (18, 20)])
def test_shares_have_the_wilson_interval(hits: int, n: int) -> None:
    score = share_score("m", hits, n, group="g", label="l", better="higher")
    # Wilson 1927, solved for p: |hits / n - p| = z sqrt(p (1 - p) / n).
    z, share = 1.959963984540054, hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    assert score.value == share
    assert (score.low, score.high) == pytest.approx((centre - reach, centre + reach), abs=1e-9)
    expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert (score.low, score.high) == (expected.low, expected.high)
    assert 0 <= score.low <= score.value <= score.high <= 1
    assert (score.metric, score.group, score.label, score.n, score.better) == ("m", "g", "l", n, "higher")


def test_a_wilson_interval_from_a_textbook() -> None:
    # 81 of 263, z = 1.96: 0.2553 to 0.3662 (Newcombe 1998, table I).
    score = share_score("m", 81, 263, group="", label="", better="real")
    assert (score.low, score.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_an_interval_covers_the_true_share_as_often_as_it_says() -> None:
    rng = np.random.default_rng(41)
    hits = rng.binomial(60, 0.9, size=1000)
    scores = {int(k): share_score("m", int(k), 60, group="", label="", better="real") for k in set(hits)}
    covered = np.mean([scores[int(k)].low <= 0.9 <= scores[int(k)].high for k in hits])
    # Wilson's own coverage at n = 60, p = 0.9 is 94.4 %; the tolerance is three standard deviations of 1,000 trials.
    assert covered == pytest.approx(0.95, abs=0.025)


def test_rows_come_in_order_after_the_held_out_one(reference: MemoryStore) -> None:
    norm = Norm()
    table = evaluate([samples(normal_rows(), "one"), samples(2 * normal_rows(), "two")], reference, [norm])
    assert [row.name for row in table.rows] == [HELD_OUT_ROW, "one", "two"]
    assert [row.n for row in table.rows] == [500, 40, 40]
    assert table.reference == "correlated"
    assert table.rows[2].scores[0].value == pytest.approx(2 * table.rows[1].scores[0].value)
    assert norm._prepared == ["correlated"]


def test_the_held_out_row_is_the_half_that_did_not_calibrate(reference: MemoryStore) -> None:
    recorder = Recorder()
    evaluate([], reference, [recorder])
    calibrating, judging = calibration_split(reference.held_out())
    np.testing.assert_array_equal(recorder._seen[HELD_OUT_ROW], judging)
    np.testing.assert_array_equal(judging, reference.held_out()[1::2])
    assert not {row.tobytes() for row in judging} & {row.tobytes() for row in calibrating}


@pytest.mark.parametrize("held_out", [0, 1])
def test_without_judging_vectors_there_is_no_held_out_row(correlated: NDArray[np.float32], held_out: int) -> None:
    reference = MemoryStore(correlated[:100], correlated[100 : 100 + held_out])
    assert [row.name for row in evaluate([samples(normal_rows())], reference, [Norm()]).rows] == ["mine"]


def test_a_reference_without_vectors_brings_the_held_out_scores_along(reference: MemoryStore) -> None:
    real = evaluate([], reference, [Norm(), load_evaluator("core-membership")])
    remembered = {score.metric: score for score in real.rows[0].scores}
    reference.has_latents = False
    assert [row.name for row in evaluate([samples(normal_rows())], reference, [Norm()]).rows] == ["mine"]
    membership = real.as_dict()["rows"][0]["scores"]
    reference.held_out_scores = [
        ((Norm() if score["metric"] == "norm" else load_evaluator("core-membership")).key(), score)
        for score in membership
    ]
    row = evaluate([samples(normal_rows())], reference, [Norm()]).rows[0]
    assert (row.name, row.n, row.problems) == (HELD_OUT_ROW, 500, [])
    assert row.scores == [remembered["norm"]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused_in_one_line(reference: MemoryStore, bad: float) -> None:
    rows = normal_rows()
    rows[3, 5] = bad
    with pytest.raises(LsamplerError, match=r"^mine: holds NaN or infinite latents; draw them again$"):
        evaluate([samples(normal_rows(), "good"), samples(rows)], reference, [Norm()])


@pytest.mark.parametrize("shape", [(5, 11), (5, 1), (12,), (2, 3, 12)])
def test_samples_of_another_dimension_are_refused_in_one_line(reference: MemoryStore, shape: tuple[int, ...]) -> None:
    with pytest.raises(LsamplerError, match=r"^mine: latents of shape \(.*\), D of correlated is 12$"):
        evaluate([samples(np.ones(shape))], reference, [Norm()])


def test_no_samples_are_refused_in_one_line(reference: MemoryStore) -> None:
    with pytest.raises(LsamplerError, match=r"^mine: holds no latents; draw at least one$"):
        evaluate([samples(np.empty((0, 12)))], reference, [load_evaluator("core-membership")])


def test_an_evaluator_that_fails_is_a_problem_of_that_row_only(reference: MemoryStore) -> None:
    far, near = samples(1e6 * normal_rows(), "far"), samples(normal_rows(), "near")
    real, failed, fine = evaluate([far, near], reference, [Norm(), load_evaluator("core-membership")]).rows
    assert failed.problems == ["norm: too far out"]
    assert {score.metric for score in failed.scores} == {f"{c}/{k}" for c in CORES for k in ("nominal", "calibrated")}
    for row in (real, fine):
        assert row.problems == []
        assert {score.metric for score in row.scores} == {"norm"} | {score.metric for score in failed.scores}


def test_an_evaluation_is_plain_values(reference: MemoryStore) -> None:
    values = evaluate([samples(1e6 * normal_rows())], reference, [Norm()]).as_dict()
    assert values["reference"] == "correlated"
    assert values["rows"][1] == {"name": "mine", "n": 40, "scores": [], "problems": ["norm: too far out"]}
    assert values["rows"][0]["scores"][0]["better"] == "real"


def test_images_are_decoded_once_and_only_when_asked_for() -> None:
    calls: list[int] = []

    def decode(latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        calls.append(len(latents))
        return np.zeros((len(latents), 2, 2, 1), dtype=np.uint8)

    mine = Samples("mine", normal_rows(), decode)
    assert calls == []
    assert mine.images is mine.images
    assert calls == [40]
    with pytest.raises(LsamplerError, match="needs decoded images; give a --model"):
        _ = samples(normal_rows()).images


def test_core_membership_counts_what_is_inside_each_core(
    reference: MemoryStore, correlated: NDArray[np.float32]
) -> None:
    rows = 1.4 * correlated[3500:3600]
    table = evaluate([samples(rows)], reference, [load_evaluator("core-membership", share=0.9)])
    scores = {score.metric: score for score in table.rows[1].scores}
    assert set(scores) == {f"{core}/{kind}" for core in CORES for kind in ("nominal", "calibrated")}
    for name in CORES:
        core = load_core(name).fit(reference)
        calibrated = core.calibrated_level(reference, 0.9)
        assert calibrated is not None
        for kind, level in (("nominal", core.nominal_level), ("calibrated", calibrated)):
            score = scores[f"{name}/{kind}"]
            assert score.value == sum(float(x) <= level for x in core.levels(rows)) / 100
            assert (score.n, score.better, score.label) == (100, "real", f"{name}\n{level:.2f}")
    assert "90%" in scores["interval/calibrated"].group
    assert 0 < scores["ellipsoid/calibrated"].value < 0.9


def test_a_core_s_boundary_belongs_to_it(correlated: NDArray[np.float32]) -> None:
    rows = correlated[:2000]
    levels = load_core("interval").fit(rows).levels(rows[:9])
    # Nine calibrating vectors, share 0.9: the level is the largest of them, which is thereby on the boundary.
    reference = MemoryStore(rows, np.repeat(rows[:9], 2, axis=0))
    table = evaluate([samples(rows[:9])], reference, [load_evaluator("core-membership", share=0.9)])
    score = next(s for s in table.rows[1].scores if s.metric == "interval/calibrated")
    assert score.label == f"interval\n{levels.max():.2f}"
    assert score.value == 1.0


def test_the_held_out_row_is_inside_calibrated_cores_with_their_share(reference: MemoryStore) -> None:
    row = evaluate([], reference, [load_evaluator("core-membership")]).rows[0]
    calibrated = [score.value for score in row.scores if score.metric.endswith("/calibrated")]
    # 500 calibrate and 500 judge: a standard deviation of the difference is 1.4 %.
    assert calibrated == pytest.approx([0.95] * len(CORES), abs=0.042)


def test_too_few_held_out_vectors_leave_the_nominal_levels(correlated: NDArray[np.float32]) -> None:
    reference = MemoryStore(correlated[:3000], correlated[3000:3020])
    row = evaluate([samples(normal_rows())], reference, [load_evaluator("core-membership")]).rows[1]
    assert {score.metric for score in row.scores} == {f"{core}/nominal" for core in CORES}
    assert row.problems == []


def test_an_evaluator_can_be_prepared_again_for_another_reference(reference: MemoryStore) -> None:
    membership = load_evaluator("core-membership")
    evaluate([], reference, [membership])
    # A second reference about the same centre, ten times as wide: what the first holds is deep inside its cores.
    centre = reference.statistics().mean
    wide = MemoryStore(centre + 10 * (reference.latents() - centre), centre + 10 * (reference.held_out() - centre))
    row = evaluate([samples(reference.latents())], wide, [membership]).rows[1]
    assert len(row.scores) == 2 * len(CORES)
    assert [score.value for score in row.scores] == [1.0] * len(row.scores)


@pytest.mark.parametrize("share", [0, 1, 1.2])
def test_core_membership_refuses_a_share_out_of_range(share: float) -> None:
    with pytest.raises(LsamplerError, match=r"core-membership: share=.* is not valid"):
        load_evaluator("core-membership", share=share)


def test_both_evaluators_are_installed_and_faces_runs_only_when_named() -> None:
    assert {"core-membership", "faces"} <= set(plugin_names("evaluator"))
    assert load_evaluator("core-membership").by_default
    assert not load_evaluator("faces").by_default


def faces_of(images: NDArray[np.uint8]) -> Samples:
    return Samples("mine", np.zeros((len(images), 12), dtype=np.float32), lambda _: images)


def celeba_images(archive: Path, n: int) -> NDArray[np.uint8]:
    with zipfile.ZipFile(archive) as file:
        names = sorted(name for name in file.namelist() if name.endswith(".jpg"))[:n]
        return np.stack([np.asarray(Image.open(io.BytesIO(file.read(name))).convert("RGB")) for name in names])


def test_faces_are_seen_in_photographs_and_not_in_noise(celeba_zip: Path) -> None:
    pytest.importorskip("dlib")
    images = celeba_images(celeba_zip, 12)
    faces = load_evaluator("faces", enlarge=1)
    (seen,) = faces.score(faces_of(images))
    assert seen.n == 12
    assert (seen.metric, seen.better) == ("faces", "higher")
    # dlib sees a face in about 95 of 100 aligned CelebA photographs.
    assert seen.value >= 0.75
    noise = np.random.default_rng(42).integers(0, 256, size=images.shape, dtype=np.uint8)
    assert faces.score(faces_of(noise))[0].value == 0.0


def test_a_grey_photograph_is_one_channel_without_its_axis(celeba_zip: Path) -> None:
    pytest.importorskip("dlib")
    grey = celeba_images(celeba_zip, 8).mean(axis=-1, keepdims=True).astype(np.uint8)
    assert load_evaluator("faces", enlarge=1).score(faces_of(grey))[0].value >= 0.6


def test_without_dlib_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch, reference: MemoryStore) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    blank = np.zeros((40, 16, 16, 3), dtype=np.uint8)
    mine = Samples("mine", normal_rows(), lambda _: blank)
    row = evaluate([mine], reference, [load_evaluator("faces"), Norm()]).rows[1]
    assert row.problems == ["faces: needs dlib; install it with pip install 'lsampler[faces]'"]
    assert [score.metric for score in row.scores] == ["norm"]


def test_faces_without_a_decoder_say_what_is_missing(reference: MemoryStore) -> None:
    pytest.importorskip("dlib")
    table = evaluate([samples(normal_rows())], reference, [load_evaluator("faces")])
    assert [row.problems for row in table.rows] == [["faces: needs decoded images; give a --model"]] * 2


def test_a_core_that_cannot_be_fitted_is_named_once_and_the_others_stand() -> None:
    """Four latent dimensions, one direction missing: only the cores without an inverse remain."""
    latents = np.random.default_rng(4).normal(size=(600, 4)).astype(np.float32)
    latents[:, 3] = latents[:, 0] + latents[:, 1]
    reference = MemoryStore(latents[:400], latents[400:])
    table = evaluate([Samples("mine", latents[:50])], reference, [load_evaluator("core-membership", share=0.9)])
    assert [caveat.split(":")[0] for caveat in table.caveats] == ["no core 'pca-ellipses'", "no core 'ellipsoid'"]
    metrics = {score.metric for score in table.rows[1].scores}
    assert metrics == {f"{c}/{k}" for c in ("interval", "pair-ellipses", "knn") for k in ("nominal", "calibrated")}


def test_when_no_core_can_be_fitted_the_reason_is_told() -> None:
    latents = np.random.default_rng(4).normal(size=(5, 4)).astype(np.float32)  # one too few for balls
    latents[:, 2] = 1.0
    with pytest.raises(LsamplerError, match="component 2 is constant"):
        evaluate([], MemoryStore(latents), [load_evaluator("core-membership")])


def test_cores_that_lack_held_out_vectors_say_so(correlated: NDArray[np.float32]) -> None:
    table = evaluate([samples(normal_rows())], MemoryStore(correlated), [load_evaluator("core-membership")])
    *cores, real = table.caveats
    assert len(cores) == len(CORES)
    assert all("not calibrated" in caveat for caveat in cores)
    assert real.startswith("no row of real vectors: latents holds none")
    assert {score.metric.split("/")[1] for score in table.rows[0].scores} == {"nominal"}
