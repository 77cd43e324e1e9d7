"""Scores of decoded images, and what all scores have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scored import Rows, brute_frechet, draw, known, scored
from torch_models import export_onnx

from lsampler import LsamplerError, evaluate, load_bundle
from lsampler.models import ConvAutoencoder, decode_images
from lsampler.models.decoding import encode_pixels
from lsampler.plugins import load_evaluator, plugin_names
from lsampler.scoring import Evaluation, RealData, Samples, Score, Subject
from lsampler.store import LatentStore, MemoryStore

ELSEWHERE = {"condition-probe", "core-membership", "faces", "log-likelihood", "likelihood-ratio", "strong-classifier"}
"""With tests of their own."""
NEW = [name for name in plugin_names("evaluator") if name not in ELSEWHERE]


@pytest.fixture
def real(tiny_model: ConvAutoencoder, tiny_store: LatentStore) -> RealData:
    return RealData(Subject.of(tiny_store, tiny_model), rows=200)


def test_cycle_consistency_is_the_mean_of_relative_distances(
    tiny_model: ConvAutoencoder, tiny_store: LatentStore, real: RealData
) -> None:
    rows = tiny_store.held_out()[:60]
    again = encode_pixels(tiny_model, decode_images(tiny_model, rows))
    mean = tiny_store.latents().astype(np.float64).mean(axis=0)
    expected = [np.linalg.norm(b - a) / np.linalg.norm(a - mean) for a, b in zip(rows, again, strict=True)]
    found = scored("cycle-consistency", rows, tiny_store, real=real)["cycle-distance"]
    assert found.value == pytest.approx(np.mean(expected), rel=1e-4)
    some = scored("cycle-consistency", rows, tiny_store, real=real, images=20)["cycle-distance"]
    assert (some.n, some.value) == (20, pytest.approx(np.mean(expected[:20]), rel=1e-4))
    with pytest.raises(LsamplerError, match="a sample lies at the centre itself"):
        scored("cycle-consistency", tiny_store.statistics().mean[np.newaxis], tiny_store, real=real)


def picture(latents: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Noise of the strength that the first component tells: 16 x 16 grey images."""
    noise = np.random.default_rng(65).normal(size=(len(latents), 16, 16, 1))
    strength = np.abs(latents[:, 0]).reshape(-1, 1, 1, 1)
    return np.clip(128 + 10 * strength * noise, 0, 255).astype(np.uint8)


def test_sharpness_is_one_for_real_vectors_and_falls_with_blur() -> None:
    rows = np.abs(draw(900))
    reference = MemoryStore(rows[:500], rows[500:700])
    real = RealData(Subject(reference, picture))
    same = scored("sharpness", rows[700:], reference, real=real)["sharpness"]
    assert same.value == pytest.approx(1.0, abs=0.35)
    assert same.better == "real"
    blurred = scored("sharpness", 0.5 * rows[500:700], reference, real=real)["sharpness"]
    assert blurred.value == pytest.approx(0.25, abs=0.03)  # the variance of half the contrast
    blank = RealData(Subject(reference, lambda z: np.zeros((len(z), 4, 4, 1), np.uint8)))
    with pytest.raises(LsamplerError, match="decoded held-out vectors are flat images"):
        scored("sharpness", rows[:20], reference, real=blank)


def brute_image_distance(first: Rows, second: Rows) -> float:
    moments = [part for rows in (first, second) for part in (rows.mean(axis=0), np.atleast_2d(np.cov(rows.T)))]
    return brute_frechet(*moments)


@pytest.fixture
def drawn(tiny_store: LatentStore) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = tiny_store.held_out()[:200] * np.float32(1.3)
    return rows


@pytest.fixture
def distance(drawn: Rows, real: RealData) -> Callable[..., Score]:
    """The image distance of 200 samples from as many train vectors, with parameters."""

    def run(**parameters: Any) -> Score:
        return scored("image-distance", drawn, real.reference, real=real, **parameters)["image-frechet"]

    return run


@pytest.fixture
def expected(tiny_model: ConvAutoencoder, drawn: Rows, real: RealData) -> Any:
    """The distance by the mean grey of the four quarters of each decoded 8 x 8 image."""

    images = (decode_images(tiny_model, part.astype(np.float32))[..., 0] / 255.0 for part in (real.train, drawn))
    means = (part.reshape(-1, 2, 4, 2, 4).mean(axis=(2, 4)).reshape(len(part), 4) for part in images)
    return pytest.approx(brute_image_distance(*means), rel=1e-4)


def test_the_image_distance_is_that_of_the_encoder_s_features(
    tiny_model: ConvAutoencoder, real: RealData, drawn: Rows, distance: Callable[..., Score]
) -> None:
    found = distance()
    features = [
        encode_pixels(tiny_model, decode_images(tiny_model, part)).astype(np.float64) for part in (real.train, drawn)
    ]
    assert found.value == pytest.approx(brute_image_distance(*features), rel=1e-5)
    assert found.label == "Frechet distance\nown encoder"
    assert (found.n, found.better, found.interval) == (200, "lower", "bootstrap, 50 resamples")
    fewer = distance(images=50)
    assert fewer.value == pytest.approx(brute_image_distance(features[0][:50], features[1][:50]), rel=1e-5)


def test_the_kernel_distance_of_images_is_that_of_plain_loops(
    tiny_model: ConvAutoencoder, real: RealData, drawn: Rows
) -> None:
    score = scored("image-distance", drawn[:40], real.reference, real=real, resamples=2)["image-kernel"]
    x, y = (
        encode_pixels(tiny_model, decode_images(tiny_model, part[:40])).astype(np.float64)
        for part in (real.train, drawn)
    )

    def kernel(a: Rows, b: Rows) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    pairs = [(i, j) for i in range(40) for j in range(40) if i != j]
    terms = [kernel(x[i], x[j]) + kernel(y[i], y[j]) - kernel(x[i], y[j]) - kernel(x[j], y[i]) for i, j in pairs]
    assert score.value == pytest.approx(np.mean(terms), rel=1e-8)
    assert score.label == "kernel distance\nown encoder"
    assert (score.n, score.better, score.interval) == (40, "lower", "normal")


def image_distances(rows: Rows, shift: float = 0.0) -> tuple[Score, Score]:
    """Kernel and Frechet distance of the last third of the rows, shifted, where features are latent vectors."""
    n = len(rows) // 3
    subject = Subject(MemoryStore(rows[: 2 * n]), as_pixels, as_latents)
    real = RealData(subject, rows=n)
    found = scored("image-distance", rows[2 * n :] + shift, subject.reference, real=real, resamples=2)
    return found["image-kernel"], found["image-frechet"]


def test_the_kernel_distance_does_not_grow_for_few_images_and_the_frechet_distance_does() -> None:
    """Of 20 intervals for equal distributions 1 is expected to miss 0, and more than 4 in 1 of 400 runs."""
    rng, frechet = np.random.default_rng(12), {}
    for n in (50, 500):
        found = [image_distances(rng.normal(size=(3 * n, 16)).astype(np.float32)) for _ in range(20)]
        kernel = np.array([score.value for score, _ in found])
        assert abs(kernel.mean()) < 3 * kernel.std(ddof=1) / np.sqrt(20)
        assert sum(not score.low <= 0 <= score.high for score, _ in found) <= 4
        frechet[n] = np.mean([score.value for _, score in found])
    assert frechet[50] > 5 * frechet[500]
    kernel_score, _ = image_distances(rng.normal(size=(1500, 16)).astype(np.float32), shift=0.3)
    assert kernel_score.low > 0


def as_pixels(latents: Rows) -> NDArray[np.uint8]:
    """Vectors of 16 components as grey images of 4 x 4, in steps of 1/25."""
    return np.clip(np.rint(25 * latents + 128), 0, 255).astype(np.uint8).reshape(-1, 4, 4, 1)


def as_latents(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return ((images.reshape(len(images), 16).astype(np.float32) - 128) / 25).astype(np.float32)


def quarters() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten())


MODULE = """
import torch
SEEN = []
def quarters(images):
    SEEN.append((images.shape[1:], images.dtype, float(images.min()), float(images.max())))
    return torch.nn.functional.avg_pool2d(images, 4).flatten(1)
def flat(images): return images
def broken(images): raise ValueError("no weights\\nat all")
def nothing(images): return torch.full((len(images), 2), float("nan"))
"""


def test_features_come_from_a_module_of_the_user(
    distance: Callable[..., Score], expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_features.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    found = distance(features="my_features:quarters")
    assert found.value == expected
    assert found.label == "Frechet distance\nmy_features:quarters"
    for shape, dtype, low, high in sys.modules["my_features"].SEEN:
        assert (tuple(shape), dtype) == ((1, 8, 8), torch.float32)
        assert 0 <= low <= high <= 1
    for name, message in (
        ("flat", r"gave shape \(64, 1, 8, 8\) for 64 images; expected finite numbers \(B, F\)"),
        ("nothing", "expected finite numbers"),
        ("broken", r"fails \(no weights\); check it on images"),
        ("missing", "has no attribute 'missing'"),
    ):
        with pytest.raises(LsamplerError, match=f"features=my_features:{name}: .*{message}") as raised:
            distance(features=f"my_features:{name}")
        assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_features_come_from_a_torchscript_file_that_is_trusted(
    distance: Callable[..., Score], expected: Any, tmp_path: Path
) -> None:
    torch.jit.trace(quarters(), torch.zeros(1, 1, 8, 8)).save(str(tmp_path / "net.pt"))  # type: ignore[no-untyped-call]
    path = str(tmp_path / "net.pt")
    with pytest.raises(LsamplerError, match=r"net\.pt: opening a TorchScript program can run .* pass `trusted=True`$"):
        distance(features=path)
    found = distance(features=path, trusted=True)
    assert found.value == expected
    assert found.label == "Frechet distance\nnet.pt"


def test_features_come_from_an_onnx_file_or_a_line_names_the_package(
    distance: Callable[..., Score], expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.onnx"
    export_onnx(quarters(), path, torch.zeros(64, 1, 8, 8))
    assert distance(features=str(path)).value == expected
    path.write_bytes(b"rubbish")
    with pytest.raises(LsamplerError, match=r"net\.onnx: not a readable ONNX file"):
        distance(features=str(path))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(LsamplerError, match=r"needs onnxruntime; install it with: pip install 'lsampler\[onnx\]'"):
        distance(features=str(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("somewhere", "give module:callable, or a .pt, .ts or .onnx file"),
        ("no_such_module:f", "No module named 'no_such_module'; is it on PYTHONPATH"),
        ("missing.ts", "missing.ts: no such file"),
        ("rubbish.pt", "not a TorchScript file"),
    ],
)
def test_features_that_cannot_be_had_are_one_line(
    features: str, message: str, tiny_store: LatentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rubbish.pt").write_bytes(b"rubbish")
    with pytest.raises(LsamplerError, match=message) as raised:
        load_evaluator("image-distance", features=features, trusted=True).prepare(RealData(tiny_store))
    assert "\n" not in str(raised.value)


@pytest.fixture
def everything(tiny_model: ConvAutoencoder, tiny_store: LatentStore) -> Callable[[Rows], Evaluation]:
    subject = Subject.of(tiny_store, tiny_model)

    def run(rows: Rows) -> Evaluation:
        mine = RealData(subject).samples("mine", np.asarray(rows, dtype=np.float32))
        return evaluate([mine], subject, [load_evaluator(name) for name in NEW])

    return run


def test_every_score_says_what_it_is(everything: Callable[[Rows], Evaluation], tiny_store: LatentStore) -> None:
    table = everything(tiny_store.held_out()[:120] * 1.1)
    assert [(row.name, row.problems) for row in table.rows] == [
        ("held-out real vectors", []),
        ("other real vectors", []),
        ("mine", []),
    ]
    assert table.caveats == []
    scores = table.rows[2].scores
    assert len({score.metric for score in scores}) == len(scores) >= 18
    assert len({(score.group, score.label) for score in scores}) == len(scores)
    for score in scores:
        assert score.interval or score.metric == "kernel-mmd-p"
        assert len(score.about) > 60
        assert score.about.endswith(".")
        assert score.about.count(". ") <= 3


def test_a_bundle_gives_what_statistics_allow_and_says_what_is_missing() -> None:
    subject = load_bundle().subject
    rows = np.random.default_rng(66).normal(size=(300, 256)).astype(np.float32)
    mine = Samples("mine", rows, decode=subject.decode, encode=subject.encode)
    evaluators = [
        load_evaluator(name, images=8) if name == "cycle-consistency" else load_evaluator(name) for name in NEW
    ]
    table = evaluate([mine], load_bundle(), evaluators)
    (row,) = table.rows
    assert (row.name, row.problems) == ("mine", [])
    assert {score.metric for score in row.scores} == {"frechet", "correlation-error", "cycle-distance"}
    needs = "needs real vectors; celeba96 holds statistics only, give `store=...` of its latents"
    missing = set(NEW) - {"latent-distances", "cycle-consistency"}
    assert set(table.caveats[:-1]) == {f"no scores of {name}: {needs}" for name in missing}


def test_without_a_model_images_are_missing_with_the_reason() -> None:
    evaluators = [load_evaluator(name) for name in ("novelty", "cycle-consistency", "sharpness", "image-distance")]
    table = evaluate([Samples("mine", draw(60))], known(), evaluators)
    assert table.caveats == [
        "no scores of sharpness: needs decoded items; give `model=...`",
        "no scores of image-distance: needs an encoder; give `model=...`",
    ]
    assert table.rows[-1].problems == ["cycle-consistency: needs an encoder; give `model=...`"]
    assert {score.metric for score in table.rows[-1].scores} >= {"novelty-ratio", "near-copies"}
