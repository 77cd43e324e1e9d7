"""Comparisons of models whose items are no square images: default scores, pictures, and samples of other models."""

from __future__ import annotations

import base64
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from item_models import cancer, normals, same, waves
from PIL import Image
from torch import nn

from lsampler import LsamplerError, adapt, choose, compare, decode, encode, evaluate, load_bundle, load_sampler
from lsampler.models import EncodedStore
from lsampler.plugins import load_evaluator, plugin_names
from lsampler.plugins.by_name import evaluators_for
from lsampler.reports import Comparison
from lsampler.scoring import RealData, Samples

LEFT_OUT = "left out: faces, image-distance and sharpness need images; the model makes rows of 30 features"
QUICK = ["latent-distances", "item-statistics"]


def text_of(page: str) -> str:
    """The words of a page, without its drawings and scripts."""
    return re.sub(r"<[^>]+>", " ", re.sub(r"<(svg|script|style).*?</\1>", "", page, flags=re.DOTALL))


@pytest.fixture(scope="module")
def tall() -> EncodedStore:
    """Latents of 60 grey images of 24 x 40, D = 3."""
    rng = np.random.default_rng(8)
    images = rng.random((60, 3)).astype(np.float32) @ rng.random((3, 960)).astype(np.float32) / 3
    back = np.linalg.pinv(np.random.default_rng(8).random((63, 960))[:3]).astype(np.float32)

    class Halves(nn.Module):
        def encode(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1) @ torch.from_numpy(back)

        def decode(self, z: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(z.sum(dim=1, keepdim=True).repeat(1, 960)).reshape(-1, 1, 24, 40)

    items = images.reshape(-1, 1, 24, 40)
    return encode(adapt(Halves(), example=torch.from_numpy(items[:4])), items, held_out=20, progress=False)


def test_the_scores_by_default_are_those_that_suit_the_items(tall: EncodedStore) -> None:
    every = set(plugin_names("evaluator")) - {"condition-probe"}  # there is no condition
    chosen, lines = evaluators_for(RealData(cancer()[2]).subject)
    assert (set(chosen), lines) == (every - {"faces", "image-distance", "sharpness"}, [LEFT_OUT])
    chosen, lines = evaluators_for(RealData(tall).subject)
    assert (set(chosen), lines) == (every - {"faces", "item-statistics", "item-classifier"}, [])
    quick, _ = evaluators_for(load_bundle().subject, quick=True)
    minutes = {name for name in every if load_evaluator(name).takes_minutes}
    assert set(quick) == every - {"item-statistics", "item-classifier"} - minutes


def test_scores_of_images_that_are_named_are_refused_for_other_items() -> None:
    _, _, store = waves()
    message = r"sharpness: needs images; the model makes signals of 1 x 64; leave it out, and see item-statistics"
    with pytest.raises(LsamplerError, match=message):
        compare(store, "gaussian", evaluators=["latent-distances", "sharpness"], progress=False)
    with pytest.raises(LsamplerError, match=message):
        evaluate([], store, "sharpness", progress=False)


def test_the_model_of_a_store_or_a_bundle_is_used_without_being_named() -> None:
    _, model, store = cancer()
    fitted = load_sampler("gaussian").fit(store)
    samples = Samples.drawn_by(fitted, 5)
    np.testing.assert_allclose(samples.items, decode(model, samples.latents), rtol=1e-6)
    assert choose(store, candidates=["gaussian"], quick=True, progress=False).sampler.autoencoder is model
    assert pickle.loads(pickle.dumps(fitted)).autoencoder is None
    assert Samples.drawn_by(load_sampler("gaussian").fit(load_bundle("digits")), 2).images.shape == (2, 8, 8, 1)
    bare = Samples("bare", store.held_out()[:20])
    (*_, row) = evaluate([bare], store, "cycle-consistency", progress=False).rows
    assert (row.name, list(row.by_metric)) == ("bare", ["cycle-distance"])


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Comparison, str]]:
    """A comparison of a table or of signals, with a row of items that something else has made, and its page."""
    found: dict[str, tuple[Comparison, str]] = {}

    def run(which: str) -> tuple[Comparison, str]:
        if which not in found:
            items, model, store = cancer() if which == "table" else waves()
            made = Samples.of_items("made <elsewhere>", np.asarray(items)[:80], model)
            out = tmp_path_factory.mktemp(which)
            result = compare(store, ["gaussian", made], out, evaluators=QUICK, n=80, progress=False)
            found[which] = result, (out / "index.html").read_text()
        return found[which]

    return run


@pytest.mark.parametrize(
    ("which", "drawn", "told"),
    [("table", "mean concave points", "The density of every feature"), ("signal", "nearest real", "beneath each")],
)
def test_items_are_shown_as_plots(which: str, drawn: str, told: str, compared: Callable[..., Any]) -> None:
    comparison, page = compared(which)
    assert [row.name for row in comparison.rows][2:] == ["gaussian", "made <elsewhere>"]
    assert all(row.picture and b"<svg" in row.picture for row in comparison.rows)
    assert drawn.encode() in comparison.rows[2].picture
    words = text_of(page)
    assert told in words
    assert not re.search(r"\b(image|face)s?\b", words)
    assert "made &lt;elsewhere&gt;" in page
    assert "made <elsewhere>" not in page
    shown = comparison._repr_html_()
    assert shown.count("data:image/svg+xml;base64,") == len(comparison.rows)


def test_the_worst_feature_is_named_below_its_score(compared: Callable[..., Any]) -> None:
    comparison, page = compared("table")
    worst = comparison.rows[2].by_metric["item-ks-worst"]
    assert worst.note in cancer()[0].columns
    assert f'<span class="interval">{worst.note}</span>' in page
    assert worst.note in text_of(comparison._repr_html_())


def test_rows_of_samples_are_kept_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (model, store), rows = same(), normals(67, seed=4)
    asked: list[str] = []
    kind: Any = type(load_evaluator("latent-distances"))
    score = kind.score

    def counted(self: Any, samples: Samples) -> Any:
        asked.append(samples.name)
        return score(self, samples)

    monkeypatch.setattr(kind, "score", counted)

    def run(first: int) -> None:
        asked.clear()
        made = Samples.of_items("made", rows[first : first + 60], model)
        compare(store, made, tmp_path / "out", evaluators="latent-distances", n=60, progress=False)

    run(0)
    assert "made" in asked
    run(0)
    assert not asked
    run(7)
    assert asked == ["made"]


def test_images_that_are_not_square_stand_in_grids(tall: EncodedStore) -> None:
    comparison = compare(tall, "gaussian", evaluators="cycle-consistency", n=20, progress=False)
    for row in comparison.rows[2:]:
        with Image.open(io.BytesIO(row.picture or b"")) as sheet:
            # Two rows of 8 images of 24 x 40, each with the nearest real ones beneath, and gaps of 2.
            assert sheet.size == (8 * 42 + 2, 4 * 28 + 10)


def test_samples_show_a_plot_of_their_items_in_a_notebook() -> None:
    for _, _, store in (cancer(), waves()):
        html = Samples.drawn_by(load_sampler("gaussian").fit(store), 20)._repr_html_()
        (data,) = re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", html)
        assert b"<svg" in base64.b64decode(data)
        assert "20 samples, decoded." in html
