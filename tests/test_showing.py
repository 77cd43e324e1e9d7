"""Objects are short at the prompt, and small, whole and escaped HTML in a notebook."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shown import HOSTILE, OBJECTS, D, comparison, evaluation, model, store, vectors

from lsampler import analyze, load_sampler
from lsampler.bundles import Bundle
from lsampler.models import TrainingResult
from lsampler.plugins import load_fitted
from lsampler.scoring import Samples, Score, StatisticsReference
from lsampler.store import LatentStore, MemoryStore, shard_store

VOID = {"br", "img"}
SMALL, LARGE = 60_000, 600_000
EVERY = pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)


class Page(HTMLParser):
    """Checks that tags are closed in order, and gathers their names, attributes and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@EVERY
def test_the_prompt_shows_one_short_line(make: Callable[[], Any]) -> None:
    found = make()
    for text in (repr(found), str(found)):
        assert re.fullmatch(r"<\w+.*>", text), text
        assert len(text) <= 200
        assert "array(" not in text
        assert "tensor(" not in text


@EVERY
def test_a_notebook_shows_whole_and_escaped_html(make: Callable[[], Any]) -> None:
    found = make()
    html = found._repr_html_()
    assert len(html) < (LARGE if type(found).__name__ in ("Analysis", "Comparison") else SMALL)
    page = Page(html)
    assert type(found).__name__ in page.text
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object"}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "xlink:href"):
            # Nothing is loaded from elsewhere.
            assert (attributes.get(name) or "#").startswith(("#", "data:image/")), attributes


def test_hostile_names_are_shown_as_they_are() -> None:
    for make in (store, lambda: OBJECTS["samples"](), evaluation):
        assert HOSTILE.split("<b")[0] in Page(make()._repr_html_()).text


def test_a_name_cannot_act_on_a_terminal() -> None:
    text = repr(MemoryStore(vectors(), name="a\x1b[2Jb\nc" + 500 * "long "))
    assert "\x1b" not in text
    assert "\n" not in text
    assert len(text) <= 200


def test_an_object_that_is_not_whole_can_be_shown_in_a_message() -> None:
    assert "MemoryStore" in repr(MemoryStore.__new__(MemoryStore))
    known: dict[str, Any] = {"group": "g", "label": "l", "value": None, "low": None, "high": None, "n": "many"}
    assert "Score" in repr(Score("broken", better="more", **known))  # type: ignore[arg-type]


# What they say


def test_stores_say_how_many_vectors_they_hold(tiny_store: LatentStore, tmp_path: Path) -> None:
    assert repr(tiny_store).startswith(
        "<FileStore tiny.h5: 1,500 train and 297 held-out vectors, encoded images, D = 6"
    )
    assert tiny_store.fingerprint is not None
    assert f"encoder {tiny_store.fingerprint[:8]}" in repr(tiny_store)
    sharded = shard_store(Path(tiny_store.name), tmp_path / "many.shards", shard_rows=1000)
    assert repr(sharded).startswith("<ShardedStore many.shards: 1,500 train and 297 held-out vectors")
    assert repr(MemoryStore(vectors()[:1])) == f"<MemoryStore latents: 1 vector, D = {D}>"
    assert "image_size" in Page(tiny_store._repr_html_()).text


def test_a_store_whose_file_is_gone_still_shows_itself(tiny_store: LatentStore) -> None:
    Path(tiny_store.name).unlink()
    assert "1,797 vectors" in repr(tiny_store)
    assert "1,797 vectors" in tiny_store._repr_html_()


def test_samplers_say_what_differs_from_the_defaults_and_what_they_are_fitted_to(tmp_path: Path) -> None:
    sampler = load_sampler("pca-ellipse", fact=0.6)
    assert repr(sampler) == "<PcaEllipse pca-ellipse: fact = 0.6, not fitted>"
    sampler.fit(MemoryStore(vectors(), name="runs/of mine.h5", fingerprint="0123456789"))
    assert repr(sampler) == f"<PcaEllipse pca-ellipse: fact = 0.6, fitted to of mine.h5, D = {D}, encoder 01234567>"
    sampler.save(tmp_path / "kept.safetensors")
    again = load_fitted(tmp_path / "kept.safetensors")
    assert repr(again) == f"<PcaEllipse pca-ellipse: fact = 0.6, read from kept.safetensors, D = {D}, encoder 01234567>"
    page = Page(sampler._repr_html_())
    assert all(each.meaning in page.text for each in type(sampler).parameters())
    bold = re.findall(r"<td[^>]*><b>([^<]*)</b>", sampler._repr_html_())
    assert bold == ["0.6"]


def test_objects_with_a_decoder_show_a_few_images() -> None:
    bundle = Bundle(model(), StatisticsReference.of(store()))
    for found in (bundle, OBJECTS["samples"]()):
        assert [tag for tag, _ in Page(found._repr_html_()).tags].count("img") == 1
    assert "<img" not in Samples("bare", vectors()[:3])._repr_html_()


def test_a_decoder_that_fails_hides_nothing_else() -> None:
    def broken(latents: Any) -> Any:
        raise RuntimeError("no")

    html = Samples("mine", vectors()[:3], decode=broken)._repr_html_()
    assert "3 vectors" in html
    assert "<img" not in html


def test_tables_of_scores_show_the_verdict_and_every_score() -> None:
    for found in (evaluation(), comparison()):
        page = Page(found._repr_html_())
        for sentence in found.verdict.sentences:
            assert sentence in page.text
        for row in found.rows:
            for score in row.by_metric.values():
                assert score.text in page.text
                assert score.range_text in page.text or not score.interval


def test_a_single_set_of_samples_is_not_ranked() -> None:
    rows = [row for row in comparison().rows if row.kind != "drawn" or row.name == "gaussian"]
    alone = type(evaluation())("mine", rows, [], 500)
    assert comparison().verdict.sentences[0].startswith("Use ")
    assert not any("Use " in sentence for sentence in alone.verdict.sentences)
    assert "closest to real data" not in Page(alone._repr_html_()).text
    assert any("AUC of the classifier" in sentence for sentence in alone.verdict.sentences)


def test_a_comparison_shows_its_pictures() -> None:
    pictured = [row.name for row in comparison().rows if row.picture]
    alts = [attributes["alt"] for tag, attributes in Page(comparison()._repr_html_()).tags if tag == "img"]
    assert sorted(map(str, alts)) == sorted(pictured)
    assert "gaussian" in alts


def test_an_analysis_shows_its_findings_and_a_figure_of_each_section(tmp_path: Path) -> None:
    named = MemoryStore(vectors(), name="mine")
    fresh = analyze(named, tmp_path / "report", sections=["components", "correlations"])
    again = analyze(named, tmp_path / "report", sections=["components", "correlations"])
    assert again.reused == ["components", "correlations"]
    for found in (fresh, again):
        page = Page(found._repr_html_())
        assert all(finding.text in page.text for finding in found.findings)
        assert [tag for tag, _ in page.tags].count("figure") == 2
    assert all(judgement.statement in page.text for judgement in fresh.judgements)


def test_a_training_shows_its_pictures_and_its_error(tmp_path: Path) -> None:
    result = TrainingResult(tmp_path / "model.safetensors", 0.0123, 4, False, {"a.png": "broken"})
    assert repr(result) == "<TrainingResult model.safetensors: held-out MSE 0.01230, 4 epochs, 1 image skipped>"
    assert "<img" not in result._repr_html_()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "reconstructions.png")
    assert result._repr_html_().count("<img") == 1
