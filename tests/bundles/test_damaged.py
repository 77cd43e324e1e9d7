"""Bundles and fitted strategies whose content was changed: each is one line that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import Answer

from lsampler import LsamplerError, load_autoencoder, load_sampler
from lsampler.bundles import Bundle, build_bundle, load_safetensors_autoencoder
from lsampler.models import ConvAutoencoder
from lsampler.plugins import load_core, load_evaluator, load_fitted
from lsampler.store import LatentStore

Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]


@pytest.fixture
def bundle_file(tiny_model: ConvAutoencoder, tiny_store: LatentStore, tmp_path: Path) -> Path:
    cores, evaluators = [load_core("interval")], [load_evaluator("core-membership")]
    build_bundle("tiny", tiny_model, tiny_store, cores, evaluators).save(tmp_path / "tiny-bundle.safetensors")
    return tmp_path / "tiny-bundle.safetensors"


def put(key: str, place: Any, value: float) -> Change:
    def change(_: Any, tensors: dict[str, torch.Tensor]) -> None:
        tensors[key][place] = value

    return change


def replaced(key: str, value: torch.Tensor) -> Change:
    return lambda _, tensors: tensors.update({key: value})


def without(key: str) -> Change:
    def change(metadata: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        (tensors if key in tensors else metadata).pop(key)

    return change


MEAN, COVARIANCE = "latent/plain/mean", "latent/trimmed/covariance"
BROKEN: list[tuple[str, Change, str]] = [
    ("no name", without("name"), "'name' of its metadata: Field required"),
    ("a name that is a list", lambda m, _: m.update(name=["x"]), "'name' of its metadata"),
    ("a model that is a number", lambda m, _: m.update(autoencoder=3), "'autoencoder' of its metadata"),
    ("levels that are texts", lambda m, _: m.update(calibrations={"a": "b"}), "'calibrations.a' of its metadata"),
    ("scores without values", lambda m, _: m.update(held_out_scores=[["a", {}]]), "'held_out_scores.0.1"),
    ("a score of 10^400", lambda m, _: m["held_out_scores"][0][1].update(value=10**400), "'held_out_scores.0.1.value'"),
    ("NaN as a level", lambda m, _: m.update(calibrations={"a": float("nan")}), "its metadata|'calibrations.a'"),
    ("nested lists", lambda *_: "[" * 100_000, "its metadata cannot be read"),
    ("a number of 5,000 digits", lambda *_: '{"version": ' + "1" * 5000 + "}", "its metadata cannot be read"),
    ("a config that is a text", lambda m, _: m["autoencoder"].update(config="96"), "weights and description"),
    ("no mean", without(MEAN), "latent/plain: 'mean' is missing"),
    ("NaN", put(MEAN, 0, np.nan), f"'{MEAN}' holds something but finite numbers"),
    ("an infinite covariance", put(COVARIANCE, (1, 1), np.inf), f"'{COVARIANCE}' holds something but finite numbers"),
    ("a negative variance", put(COVARIANCE, (1, 1), -1.0), "latent/trimmed: a variance is negative"),
    ("half a covariance", put(COVARIANCE, (0, 1), 9.0), "latent/trimmed: its covariance is none"),
    ("another D", replaced(MEAN, torch.zeros(7, dtype=torch.float64)), "latent/plain: 'covariance' is of shape"),
    ("a count of 1", put("latent/plain/count", 0, 1), "latent/plain: its count is below 2"),
    ("counts of others", put("principal/plain/histogram_counts", (0, 0), 10**6), "its histograms count other vectors"),
    ("whole numbers", replaced(MEAN, torch.zeros(6, dtype=torch.int64)), r"'mean' is of shape \(6,\) and int64"),
    ("another precision", replaced(MEAN, torch.zeros(6, dtype=torch.bfloat16)), "is of torch.bfloat16"),
    ("radii that fall", put("radius_quantiles", (1, 0), 99.0), "holds no levels and ascending radii"),
    ("radii of one level", replaced("radius_quantiles", torch.zeros(2, 1)), "holds no levels and ascending radii"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_changed_bundle_is_one_line(
    bundle_file: Path, rewritten: Callable[[Path, Change], Path], change: Change, message: str
) -> None:
    path = rewritten(bundle_file, change)
    for load in (Bundle.load, load_safetensors_autoencoder, load_autoencoder):
        with pytest.raises(LsamplerError, match=f"changed.safetensors: .*({message})") as raised:
            load(str(path))
        if load is Bundle.load:
            assert str(raised.value).count("\n") == 0
            assert len(str(raised.value)) < 400


def test_the_unchanged_bundle_is_read(bundle_file: Path, rewritten: Callable[[Path, Change], Path]) -> None:
    assert Bundle.load(rewritten(bundle_file, lambda *_: None)).dimension == 6


OF_A_STRATEGY: list[tuple[str, Change, str]] = [
    ("no parameters", without("parameters"), "'parameters' of its metadata: Field required"),
    ("a name that is a dict", lambda m, _: m.update(name={}), "'name' of its metadata"),
    ("a dimension that is a text", lambda m, _: m.update(dimension="6"), "'dimension' of its metadata"),
    ("D = -6", lambda m, _: m.update(dimension=-6), "'dimension' of its metadata"),
    ("other parameters", lambda m, _: m["parameters"].update(temperature=2.0), "does not match its digest"),
    ("another vector", put("mean", 0, 5.0), "does not match its digest"),
    ("NaN", put("axes", (0, 0), np.nan), "'axes' holds something but finite numbers"),
    ("nested lists", lambda *_: "[" * 100_000, "its metadata cannot be read"),
]


@pytest.mark.parametrize(
    ("change", "message"), [row[1:] for row in OF_A_STRATEGY], ids=[row[0] for row in OF_A_STRATEGY]
)
def test_a_changed_fitted_strategy_is_one_line(
    tiny_store: LatentStore, rewritten: Callable[[Path, Change], Path], tmp_path: Path, change: Change, message: str
) -> None:
    load_sampler("multivariate-normal").fit(tiny_store).save(tmp_path / "fitted.safetensors")
    path = rewritten(tmp_path / "fitted.safetensors", change)
    with pytest.raises(LsamplerError, match=f"changed.safetensors: .*{message}") as raised:
        load_fitted(path)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("mean"), "does not fit the installed multivariate-normal"),
        (lambda m, _: m.update(dimension=9), r"drew shape \(2048, 6\), expected \(2048, 9\)"),
    ],
)
def test_a_fitted_strategy_of_an_earlier_version_that_does_not_fit_is_one_line(
    tiny_store: LatentStore, rewritten: Callable[[Path, Change], Path], tmp_path: Path, change: Change, message: str
) -> None:
    load_sampler("multivariate-normal").fit(tiny_store).save(tmp_path / "fitted.safetensors")
    path = tmp_path / "fitted.safetensors"
    fitted = load_fitted(rewritten(path, lambda m, t: without("digest")(m, t) or change(m, t)))
    with pytest.raises(LsamplerError, match=message):
        fitted.sample(3)


def test_the_name_of_a_bundle_works_wherever_a_model_is_expected(ok: Callable[..., Answer], tmp_path: Path) -> None:
    ok("example", "--out", tmp_path / "digits")
    store = tmp_path / "digits" / "latents.h5"
    answer = ok("bundle", "--out", tmp_path / "mine.safetensors", "--model", "digits", "--store", store)
    assert "1200 latent vectors summarised" in answer.out
    fingerprints = {
        load(name).fingerprint
        for load in (load_autoencoder, load_safetensors_autoencoder)
        for name in ("digits", str(tmp_path / "mine.safetensors"))
    }
    assert len(fingerprints) == 1
    with pytest.raises(LsamplerError, match="no bundle 'digitz'; did you mean 'digits'"):
        load_autoencoder("digitz")
    with pytest.raises(LsamplerError, match=r"digits: a bundle takes no parameters; leave out .*size=3"):
        load_autoencoder("digits", size=3)
