"""Evaluations: intervals of scores, rows of real vectors, samples that are refused, and the two plain evaluators."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, PrivateAttr

from lsampler import LsamplerError, evaluate
from lsampler.plugins import load_core, load_evaluator, plugin_names
from lsampler.scoring import (
    Evaluator,
    Metric,
    RealData,
    Row,
    Samples,
    Score,
    StatisticsReference,
    Subject,
    share_score,
)
from lsampler.store import MemoryStore

CORES = ["interval", "pair-ellipses", "pca-ellipses", "ellipsoid", "knn"]
HELD_OUT_ROW = "held-out real vectors"
NORM = Metric("norm", group="distance", label="mean", better="real")


def samples(rows: NDArray[Any], name: str = "mine") -> Samples:
    return Samples(name, np.asarray(rows, dtype=np.float32))


def normal_rows(n: int = 40) -> NDArray[np.float32]:
    return np.random.default_rng(40).normal(size=(n, 12)).astype(np.float32)


class Norm(Evaluator):
    """Mean distance from the origin; refuses far samples."""

    name = "norm"

    _seen: dict[str, NDArray[np.float32]] = PrivateAttr(default_factory=dict)

    def prepare(self, real: RealData) -> None:
        self._seen[f"prepared for {real.reference.name}"] = np.empty(0)

    def score(self, samples: Samples) -> list[Score]:
        self._seen[samples.name] = samples.latents
        norm = float(np.linalg.norm(samples.latents, axis=1).mean())
        if norm > 1e3:
            raise LsamplerError("too far out")
        return [Score(**vars(NORM), value=norm, low=norm, high=norm, n=len(samples.latents))]


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 500), (500, 500), (499, 500), (7, 20), (18, 20)])
def test_shares_have_the_wilson_interval(hits: int, n: int) -> None:
    score = share_score(NORM, hits, n)
    # Wilson 1927, solved for p: |hits / n - p| = z sqrt(p (1 - p) / n).
    z, share = 1.959963984540054, hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    assert (score.value, score.n, score.unit) == (share, n, "share")
    assert (score.low, score.high) == pytest.approx((centre - reach, centre + reach), abs=1e-9)
    assert 0 <= score.low <= score.value <= score.high <= 1


def test_rows_come_in_order_after_the_held_out_one_which_is_the_half_that_did_not_calibrate(
    reference: MemoryStore,
) -> None:
    norm = Norm()
    table = evaluate([samples(normal_rows(), "one"), samples(2 * normal_rows(), "two")], reference, [norm])
    assert [(row.name, row.n) for row in table.rows] == [(HELD_OUT_ROW, 500), ("one", 40), ("two", 40)]
    assert table.reference == "correlated"
    assert table.rows[2].scores[0].value == pytest.approx(2 * table.rows[1].scores[0].value)
    assert list(norm._seen) == ["prepared for correlated", HELD_OUT_ROW, "one", "two"]
    np.testing.assert_array_equal(norm._seen[HELD_OUT_ROW], reference.held_out()[1::2])


@pytest.mark.parametrize("held_out", [0, 1])
def test_without_judging_vectors_there_is_no_held_out_row(correlated: NDArray[np.float32], held_out: int) -> None:
    reference = MemoryStore(correlated[:100], correlated[100 : 100 + held_out])
    assert [row.name for row in evaluate([samples(normal_rows())], reference, [Norm()]).rows] == ["mine"]


def test_a_reference_without_vectors_brings_the_held_out_scores_along(reference: MemoryStore) -> None:
    """And only those of evaluators and cores that are the same, defaults included."""

    class Changed(Norm):
        power: float = Field(default=2.0)

    membership, bundled = load_evaluator("core-membership"), StatisticsReference.of(reference)
    remembered = evaluate([], reference, [Norm(), membership]).rows[0]
    bundled.held_out_scores = [
        ((Norm() if score.metric == "norm" else membership).key_of(score.metric), asdict(score))
        for score in remembered.scores
    ]

    def real_row(*evaluators: Evaluator) -> Row | None:
        rows = evaluate([samples(normal_rows())], bundled, evaluators).rows
        return next((row for row in rows if row.name == HELD_OUT_ROW), None)

    both, one = real_row(Norm(), membership), real_row(Norm())
    assert both is not None
    assert one is not None
    assert (both.n, list(both.problems), both.scores) == (500, [], remembered.scores)
    assert [score.metric for score in one.scores] == ["norm"]
    assert real_row(Changed()) is None
    key, score = bundled.held_out_scores[1]
    assert score["metric"].startswith("interval/")
    bundled.held_out_scores = [(key.replace("1.7", "1.6"), score)]  # as if the default of the core had been another
    assert real_row(membership) is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.full((5, 12), np.nan), "holds NaN or infinite latents; draw them again"),
        (np.full((5, 12), np.inf), "holds NaN or infinite latents; draw them again"),
        *((np.ones(shape), r"latents of shape \(.*\), D of correlated is 12") for shape in ((5, 1), (12,), (2, 3, 12))),
        (np.empty((0, 12)), "holds no latents; draw at least one"),
    ],
)
def test_samples_that_are_no_latent_vectors_are_refused_in_one_line(
    rows: NDArray[Any], message: str, reference: MemoryStore
) -> None:
    with pytest.raises(LsamplerError, match=f"^mine: {message}$"):
        evaluate([samples(normal_rows(), "good"), samples(rows)], reference, [Norm()])


def test_an_evaluator_that_fails_is_a_problem_of_that_row_only(reference: MemoryStore) -> None:
    far, near = samples(1e6 * normal_rows(), "far"), samples(normal_rows(), "near")
    table = evaluate([far, near], reference, [Norm(), load_evaluator("core-membership")])
    real, failed, fine = table.rows
    assert failed.problems == ["norm: too far out"]
    assert set(failed.by_metric) == {f"{c}/{k}" for c in CORES for k in ("nominal", "calibrated")}
    for row in (real, fine):
        assert row.problems == []
        assert set(row.by_metric) == {"norm", *failed.by_metric}
    plain = evaluate([far], reference, [Norm()]).as_dict()
    assert plain["reference"] == "correlated"
    assert plain["rows"][1] == {"name": "far", "n": 40, "scores": [], "problems": ["norm: too far out"]}
    assert plain["rows"][0]["scores"][0]["better"] == "real"


def test_an_evaluator_that_crashes_or_gives_nan_is_told_in_one_line(reference: MemoryStore) -> None:
    class Crash(Norm):
        name = "crash"

        def score(self, samples: Samples) -> list[Score]:
            raise ValueError("no such\nluck")

    class Nan(Norm):
        name = "nan"

        def score(self, samples: Samples) -> list[Score]:
            (score,) = super().score(samples)
            return [score, Score(**(vars(score) | {"metric": "ratio", "value": float("nan")}))]

    row = evaluate([samples(normal_rows())], reference, [Crash(), Nan()]).rows[-1]
    crashed, missing = row.problems
    assert crashed.startswith("crash: scoring failed with ValueError: no such")
    assert "\n" not in crashed
    assert missing == "nan: NaN or infinite values of ratio"
    assert list(row.by_metric) == ["norm"]


class Decoder:
    """Remembers how many vectors it decodes to blank images."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        self.calls.append(len(latents))
        return np.zeros((len(latents), 8, 8, 3), dtype=np.uint8)


def test_images_are_decoded_once_when_they_are_needed() -> None:
    decode = Decoder()
    rows, encode = normal_rows(200), Decoder()
    whole = Samples("mine", rows, decode=decode, encode=lambda images: encode(images)[:, 0, 0, :])
    assert decode.calls == []
    head = whole.head(10)
    assert (head.name, head.kind, len(head.images), len(head.encoded_again)) == ("mine", "drawn", 10, 10)
    np.testing.assert_array_equal(head.latents, whole.latents[:10])
    assert whole.head(10).images is head.images
    assert len(whole.head(100).encoded_again) == 100
    assert whole.images is whole.images
    assert decode.calls == [64, 64, 72]
    assert encode.calls == [64, 64]
    assert whole.head(200) is whole.head(999) is whole
    with pytest.raises(LsamplerError, match=r"needs decoded items; give `model=\.\.\.`"):
        _ = samples(normal_rows()).images


WITH_IMAGES = [name for name in plugin_names("evaluator") if "images" in type(load_evaluator(name)).model_fields]


@pytest.mark.parametrize("name", WITH_IMAGES)
def test_no_more_images_are_decoded_than_are_scored(name: str, reference: MemoryStore) -> None:
    """A set may hold more samples than there is memory for their images."""
    if name == "faces":
        pytest.importorskip("dlib")
    decode = Decoder()
    subject = Subject(reference, decode, lambda images: np.zeros((len(images), 12), np.float32))
    mine = Samples("mine", normal_rows(3000), decode=decode, encode=subject.encode)
    evaluate([mine], subject, [load_evaluator(name, images=7)])
    assert set(decode.calls) <= {7, 64}  # whole blocks of samples, so that they do not depend on who asks first


def test_core_membership_counts_what_is_inside_each_core(
    reference: MemoryStore, correlated: NDArray[np.float32]
) -> None:
    rows = 1.4 * correlated[3500:3600]
    scores = evaluate([samples(rows)], reference, [load_evaluator("core-membership", share=0.9)]).rows[1].by_metric
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
    score = table.rows[1].by_metric["interval/calibrated"]
    assert (score.label, score.value) == (f"interval\n{levels.max():.2f}", 1.0)


@pytest.mark.parametrize("held_out", [0, 20])
def test_too_few_held_out_vectors_leave_the_nominal_levels(correlated: NDArray[np.float32], held_out: int) -> None:
    reference = MemoryStore(correlated[:3000], correlated[3000 : 3000 + held_out])
    table = evaluate([samples(normal_rows())], reference, [load_evaluator("core-membership")])
    assert set(table.rows[-1].by_metric) == {f"{core}/nominal" for core in CORES}
    assert table.rows[-1].problems == []
    assert sum("not calibrated" in caveat for caveat in table.caveats) == len(CORES)
    assert ("no row of real vectors: latents holds none" in table.caveats[-1]) == (held_out == 0)


def test_cores_that_cannot_be_fitted_are_named_once_and_the_others_stand() -> None:
    """Fewer vectors than latent dimensions: only the cores without an inverse remain."""
    latents = np.random.default_rng(4).normal(size=(60, 20)).astype(np.float32)
    reference = MemoryStore(latents[:15], latents[15:])
    table = evaluate([Samples("mine", latents[:50])], reference, [load_evaluator("core-membership", share=0.9)])
    assert [caveat.split(":")[0] for caveat in table.caveats] == ["no core 'pca-ellipses'", "no core 'ellipsoid'"]
    assert {metric.split("/")[0] for metric in table.rows[1].by_metric} == {"interval", "pair-ellipses", "knn"}
    with pytest.raises(LsamplerError, match="all 9 vectors are equal"):
        evaluate([], MemoryStore(np.ones((9, 4))), [load_evaluator("core-membership")])


def test_only_core_membership_runs_by_default() -> None:
    assert [name for name in plugin_names("evaluator") if load_evaluator(name).by_default] == ["core-membership"]


@pytest.fixture
def faces_of() -> Callable[[NDArray[np.uint8]], Score]:
    """The share of images with a face."""
    pytest.importorskip("dlib")

    def score(images: NDArray[np.uint8]) -> Score:
        mine = Samples("mine", np.zeros((len(images), 12), dtype=np.float32), decode=lambda _: images)
        (found,) = load_evaluator("faces", enlarge=1).score(mine)
        return found

    return score


def test_faces_are_seen_in_photographs_of_three_and_one_channels_and_not_in_noise(
    celeba_zip: Path, faces_of: Callable[[NDArray[np.uint8]], Score]
) -> None:
    with zipfile.ZipFile(celeba_zip) as file:
        names = sorted(name for name in file.namelist() if name.endswith(".jpg"))[:12]
        images = np.stack([np.asarray(Image.open(io.BytesIO(file.read(name))).convert("RGB")) for name in names])
    seen = faces_of(images)
    assert (seen.n, seen.metric, seen.better) == (12, "faces", "higher")
    # dlib sees a face in about 95 of 100 aligned CelebA photographs.
    assert seen.value >= 0.75
    assert faces_of(images[:8].mean(axis=-1, keepdims=True).astype(np.uint8)).value >= 0.6
    noise = np.random.default_rng(42).integers(0, 256, size=images.shape, dtype=np.uint8)
    assert faces_of(noise).value == 0.0


def test_without_dlib_or_a_decoder_one_line_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, reference: MemoryStore
) -> None:
    row = evaluate([samples(normal_rows())], reference, [load_evaluator("faces"), Norm()]).rows[1]
    assert row.problems in (["faces: needs decoded items; give `model=...`"], [f"faces: {NEEDS_DLIB}"])
    assert list(row.by_metric) == ["norm"]
    monkeypatch.setitem(sys.modules, "dlib", None)
    mine = Samples("mine", normal_rows(), decode=Decoder())
    assert evaluate([mine], reference, [load_evaluator("faces"), Norm()]).rows[1].problems == [f"faces: {NEEDS_DLIB}"]


NEEDS_DLIB = "the face detector needs dlib; install it with: pip install 'lsampler[faces]'"
