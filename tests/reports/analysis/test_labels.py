"""The section on labels, on stores whose labels are clusters, directions or nothing by construction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from analysis_support import Page, analyzed, rows_of, spaced, strict_json
from browser import probed
from live_models import of_functions
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lsampler import open_store
from lsampler.bundles import Bundle, build_bundle
from lsampler.models import ConvAutoencoder
from lsampler.reports import Analysis
from lsampler.scoring import Subject
from lsampler.store import Labels, LatentStore, MemoryStore, StoreWriter

D, TRAIN, HELD_OUT = 6, 1500, 500
VERDICTS = {
    "apart": "cluster",
    "rare": "cluster",
    "lean": "direction",
    "clear": "strong direction",
    "chance": "no direction",
    "shape=oval": "cluster",
    "size": "strong direction",
    "noise": "no direction",
}
Rows = NDArray[np.float64]


def things() -> tuple[Rows, dict[str, Any]]:
    """Vectors with two real groups, one of them rare, a group per shape, and thresholds of a normal direction."""
    rng = np.random.default_rng(31)
    n = TRAIN + HELD_OUT
    apart, rare, shape = rng.random(n) < 0.4, rng.random(n) < 0.08, rng.integers(3, size=n)
    rows = rng.normal(size=(n, D))
    rows[:, 0] += 7 * apart
    rows[:, 1] += 9 * rare
    rows[:, 2:4] += 9 * np.array([[0, 0], [1, 0], [0, 1]])[shape]
    labels = {
        "apart": apart,
        "rare": rare,
        "lean": rows[:, 4] + 1.5 * rng.normal(size=n) > 0,
        "clear": rows[:, 4] + rows[:, 5] + 0.4 * rng.normal(size=n) > 0,
        "chance": rng.random(n) < 0.5,
        "shape": np.array(["flat", "oval", "round"])[shape],
        "size": 3 * rows[:, 5] + rng.normal(size=n),
        "noise": rng.normal(size=n),
    }
    return rows @ (np.eye(D) + 0.1 * rng.normal(size=(D, D))), labels


def store_with(labels: dict[str, Any], held_out: int = HELD_OUT, **more: Any) -> MemoryStore:
    rows, _ = things()
    split = len(rows) - held_out
    return MemoryStore(rows[:split], rows[split:] if held_out else None, labels=labels, name="things", **more)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> tuple[Analysis, Path]:
    out = tmp_path_factory.mktemp("labels") / "report"
    return analyzed(store_with(things()[1]), out, sections=["labels"]), out


@pytest.fixture(scope="module")
def found(analysis: tuple[Analysis, Path]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in analysis[0].measured["labels"]["labels"]}


def test_the_verdicts_are_the_truth(found: dict[str, dict[str, Any]]) -> None:
    assert {name: found[name]["verdict"] for name in VERDICTS} == VERDICTS
    assert len(found) == 10  # a row for each of the three shapes
    assert [found[name]["humps"]["two"] for name in ("apart", "rare", "lean", "clear")] == [True, True, False, False]
    assert found["apart"]["humps"]["dip_p"] < 0.001 < 0.5 < found["clear"]["humps"]["dip_p"]


def test_the_question_of_the_post_is_answered(analysis: tuple[Analysis, Path]) -> None:
    [answer] = [row for row in analysis[0].judgements if row.key == "property-clusters"]
    assert (answer.post, answer.status) == ("X", "answered")
    tally = analysis[0].measured["labels"]["tally"]
    assert tally["judged"] == tally["labels"] == 10
    assert (tally["clusters"], tally["directions"]) == (5, 8)
    assert answer.here == (
        f"5 of 10 labels form a cluster; 8 are directions, {tally['strong_directions']} of them strong ones"
    )
    frame = analysis[0].as_dict()["judgements"]
    assert [row["status"] for row in frame].count("answered") == 1


def test_scores_are_those_of_scikit_learn(found: dict[str, dict[str, Any]]) -> None:
    rows, labels = things()
    rows = rows.astype(np.float32).astype(np.float64)
    train, held_out = rows[:TRAIN], rows[TRAIN:]
    for name in ("apart", "lean", "chance"):
        values = labels[name]
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(train, values[:TRAIN])
        scores = model.decision_function(held_out)
        assert found[name]["auc"] == pytest.approx(roc_auc_score(values[TRAIN:], scores), abs=1e-3)
        assert found[name]["auc_low"] <= found[name]["auc"] <= found[name]["auc_high"]
        own, other = scores[values[TRAIN:]], scores[~values[TRAIN:]]
        pooled = np.sqrt(((len(own) - 1) * own.var(ddof=1) + (len(other) - 1) * other.var(ddof=1)) / (HELD_OUT - 2))
        assert found[name]["sigma_along_probe"] == pytest.approx((own.mean() - other.mean()) / pooled, rel=1e-2)
        assert found[name]["share"] == pytest.approx(values[:TRAIN].mean())
    model = make_pipeline(StandardScaler(), Ridge(alpha=10)).fit(train, labels["size"][:TRAIN])
    assert found["size"]["r2"] == pytest.approx(r2_score(labels["size"][TRAIN:], model.predict(held_out)), abs=2e-3)
    assert "auc" not in found["size"]
    assert "humps" not in found["size"]


@pytest.mark.parametrize("name", ["apart", "chance", "shape=oval"])
def test_neighbours_are_those_of_brute_force(name: str, found: dict[str, dict[str, Any]]) -> None:
    rows, labels = things()
    values = labels["shape"] == "oval" if name == "shape=oval" else labels[name]
    near = np.argsort(cdist(rows[TRAIN:], rows[:TRAIN]), axis=1)[:, :10]
    shares, own = values[:TRAIN][near].mean(axis=1), values[TRAIN:]
    measured = found[name]["neighbours"]["latent"]
    assert measured["purity"] == pytest.approx(shares[own].mean(), abs=1e-3)
    assert measured["base_rate"] == pytest.approx(values[:TRAIN].mean())
    error = shares[own].std(ddof=1) / np.sqrt(own.sum())
    assert measured["high"] - measured["purity"] <= 1.97 * error + 1e-3
    # With permuted values of the judging vectors, on average.
    rng = np.random.default_rng(1)
    permuted = [shares[rng.permutation(own)].mean() for _ in range(300)]
    assert measured["by_chance"] == pytest.approx(np.mean(permuted), abs=4 * np.std(permuted) / np.sqrt(300) + 1e-4)
    gain = (measured["purity"] - measured["by_chance"]) / (1 - measured["by_chance"])
    assert measured["gain"] == pytest.approx(gain)
    white = found[name]["neighbours"]["whitened"]
    assert (white["gain"] > 0.5) == (measured["gain"] > 0.5) == (name != "chance")


def test_the_report_shows_labels_angles_and_what_is_missing(analysis: tuple[Analysis, Path]) -> None:
    result, out = analysis
    page, measured = Page(out), result.measured["labels"]
    assert strict_json(out / "analysis.json") == result.as_dict()
    table = rows_of(out / "labels" / "labels.csv")
    assert {row["label"]: row["verdict"] for row in table} == {
        one["name"]: one["verdict"] for one in measured["labels"]
    }
    pairs = rows_of(out / "labels" / "cosines.csv")
    assert len(pairs) == 10 * 9 // 2 - 3  # levels of one label are no pair
    sizes = [abs(float(row["mean differences"])) for row in pairs]
    assert sizes == sorted(sizes, reverse=True)
    names, plain = measured["cosines"]["names"], np.array(measured["cosines"]["plain"])
    first = pairs[0]
    cell = plain[names.index(first["label"]), names.index(first["other label"])]
    assert cell == pytest.approx(float(first["mean differences"]))
    assert {first["label"], first["other label"]} < {"clear", "lean", "size"}  # of one direction each, or of two
    assert "The question that post X leaves open is answered." in page.text
    assert "there is no decoder; give --model" in page.text
    assert spaced("Probes are fitted to 1,500 train vectors and judged by 500 held-out ones.") in page.text
    assert {path.name for path in (out / "labels").glob("*.svg")} == {"directions.svg", "humps.svg", "cosines.svg"}


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_the_screen(width: int, analysis: tuple[Analysis, Path], tmp_path: Path) -> None:
    shown = probed(analysis[1], tmp_path, width)
    assert shown["errors"] == []
    assert shown["overflow"] <= 0
    assert shown["clipped"] == 0


def test_without_held_out_vectors_some_train_vectors_judge() -> None:
    labels = {name: things()[1][name] for name in ("apart", "chance")}
    measured = analyzed(store_with(labels, held_out=0), sections=["labels"]).measured["labels"]
    assert (measured["fitted_to"], measured["judged_by"]) == (1600, 400)
    assert "There are no held-out vectors; probes are fitted to 1,600 of the train vectors" in measured["rows"]
    assert [one["verdict"] for one in measured["labels"]] == ["cluster", "no direction"]


def test_missing_constant_and_many_levelled_labels_are_reported(tmp_path: Path) -> None:
    labels, rng = things()[1], np.random.default_rng(2)
    n = TRAIN + HELD_OUT
    partly = np.where(rng.random(n) < 0.3, np.nan, labels["apart"].astype(float))
    some = {"partly": partly, "never": np.full(n, np.nan), "always": np.ones(n), "id": [f"thing {k}" for k in range(n)]}
    many = {"many": [f"level {k % 20}" if labels["apart"][k] else f"level {20 + k % 20}" for k in range(n)]}
    measured = analyzed(store_with(some | many), tmp_path / "report", sections=["labels"]).measured["labels"]
    found = {one["name"]: one for one in measured["labels"]}
    assert set(found) == {"partly", "never", "always", "many"}
    assert found["never"]["verdict"] is None
    assert found["partly"]["sigma_within"] == pytest.approx(7, rel=0.1)
    assert found["partly"]["verdict"] == "cluster"
    assert found["always"]["verdict"] is None
    assert 0.6 < found["many"]["auc"] < 0.9  # 20 levels on each side
    assert found["many"]["neighbours"]["latent"]["base_rate"] == pytest.approx(1 / 40, rel=0.1)
    assert found["many"]["neighbours"]["latent"]["gain"] < 0.1
    missing = " ".join(strict_json(tmp_path / "report" / "labels" / "section.json")["missing"])
    for words in ("more than 100 levels: id.", "label 'always': has one value only", "most rows: never.", "miss one."):
        assert words in missing


def test_a_store_without_labels_has_no_section_and_says_why_where_it_is_asked_for() -> None:
    rows = things()[0][:300]
    assert "labels" not in analyzed(rows, sections=["components"]).measured
    asked = analyzed(rows, sections=["labels"])
    assert "holds no labels. It needs labels; 'lsampler store label' adds them" in asked.problems["labels"]
    why = {row.key: (row.status, row.why) for row in asked.judgements}
    assert why["property-clusters"] == ("not measured", asked.problems["labels"])
    other = {row.key: row.why for row in analyzed(rows, sections=["components"]).judgements}
    assert other["property-clusters"].startswith("The section 'labels' was not run. It needs labels;")


def test_other_labels_or_another_decoder_redo_the_section_and_no_other(
    tiny_store: LatentStore, tiny_model: ConvAutoencoder, tmp_path: Path
) -> None:
    train, held_out = tiny_store.latents()[:300], tiny_store.held_out()[:100]
    bright = np.random.default_rng(4).random(400) < 0.5

    def reused(labels: Any, model: Any = None) -> list[str]:
        store = MemoryStore(train, held_out, labels={"bright": labels})
        subject = Subject.of(store, model)
        return list(analyzed(subject, tmp_path / "report", sections=["components", "labels"]).reused)

    assert reused(bright) == []
    assert reused(bright) == ["components", "labels"]
    assert reused(~bright) == ["components"]
    assert reused(~bright, tiny_model) == ["components"]
    assert (tmp_path / "report" / "labels" / "class-means.svg").is_file()


def test_a_bundle_gives_what_its_effects_allow(
    tiny_store: LatentStore, tiny_model: ConvAutoencoder, tmp_path: Path
) -> None:
    train, held_out = tiny_store.latents(), tiny_store.held_out()
    rng = np.random.default_rng(4)
    bright = rng.random(len(train) + len(held_out)) < 0.5
    kind = np.where(rng.random(len(bright)) < np.where(bright, 0.8, 0.2), "plain", "striped")
    rows = np.concatenate([train, held_out])
    rows[:, 0] += 3 * bright
    labels = {"bright": bright, "kind": kind}
    store = MemoryStore(rows[: len(train)], rows[len(train) :], labels=labels, fingerprint=tiny_store.fingerprint)
    built = build_bundle("tiny", tiny_model, store, [], [])
    built.add(store, [], labels=True)
    built.save(tmp_path / "tiny.safetensors")
    of_bundle = analyzed(Bundle.load(tmp_path / "tiny.safetensors"), tmp_path / "report", sections=["labels"])
    assert of_bundle.problems == {}
    mine, theirs = of_bundle.measured["labels"], analyzed(store, sections=["labels"]).measured["labels"]
    np.testing.assert_allclose(mine["cosines"]["plain"], theirs["cosines"]["plain"], atol=1e-4)
    assert mine["explained"] == pytest.approx(theirs["explained"], rel=1e-4)
    for one, other in zip(mine["labels"], theirs["labels"], strict=True):
        assert {"auc", "humps", "neighbours"} & set(one) == set()
        assert one["sigma_within"] == pytest.approx(other["sigma_within"], rel=1e-3)
        assert one["verdict"] is None
    why = {row.key: row.status for row in of_bundle.judgements}
    assert why["property-clusters"] == "not measured"
    missing = " ".join(strict_json(tmp_path / "report" / "labels" / "section.json")["missing"])
    assert "whether they form clusters, cannot be measured" in missing
    files = {path.name for path in (tmp_path / "report" / "labels").iterdir()}
    assert {"class-means.svg", "cosines.svg", "cosines.csv", "labels.csv"} <= files


@pytest.mark.parametrize("kind", ["signal", "table", "wide-image"])
def test_class_means_are_drawn_as_suits_the_items(kind: str, tmp_path: Path) -> None:
    live = of_functions(kind, tmp_path)
    latents = live.encode(live.items)
    high = latents[:, 0] > np.median(latents[:, 0])
    store = MemoryStore(latents[:100], latents[100:], labels={"high": high})
    analyzed(Subject.of(store, live.model), tmp_path / "report", sections=["labels"])
    folder = tmp_path / "report" / "labels"
    if kind != "table":
        assert (folder / "class-means.svg").is_file()
        return
    table = rows_of(folder / "class_means.csv")
    mean = latents[:100][high[:100]].mean(axis=0, keepdims=True)
    assert [float(row["high"]) for row in table] == pytest.approx(live.decode(mean)[0].tolist(), abs=1e-5)


def test_a_dead_component_and_an_unknown_model_change_nothing(cli: Callable[..., Any], tmp_path: Path) -> None:
    rows, labels = things()
    rows = np.column_stack([rows, np.full(len(rows), 2.0)])
    few = {name: labels[name] for name in ("apart", "chance")}
    whole = MemoryStore(rows[:TRAIN], rows[TRAIN:], labels=few)
    without = MemoryStore(rows[:TRAIN, :D], rows[TRAIN:, :D], labels=few)
    mine, theirs = (analyzed(each, sections=["labels"]).measured["labels"] for each in (whole, without))
    for one, other in zip(mine["labels"], theirs["labels"], strict=True):
        assert one["verdict"] == other["verdict"]
        assert one["auc"] == pytest.approx(other["auc"], abs=1e-6)
        assert one["sigma_within"] == pytest.approx(other["sigma_within"], rel=1e-3)
    answer = cli("analyze", "celeba96", "--model", "celeba96", "--out", tmp_path / "report")
    assert answer.code == 2
    assert "celeba96 is a bundle and has a decoder of its own; leave it out" in answer.err


def test_held_out_vectors_with_nan_are_refused(tmp_path: Path) -> None:
    rows, labels = things()
    path = tmp_path / "things.h5"
    with StoreWriter(path, D, {}) as writer:
        for start, split in ((0, "train"), (100, "held-out")):
            some = slice(start, start + 100)
            writer.append(rows[some], split=split, labels=Labels.of({"apart": labels["apart"][some]}, 100))
    with h5py.File(path, "r+") as file:
        file["latents"][103, 1] = np.nan
    problem = analyzed(open_store(path), sections=["labels"]).problems["labels"]
    assert problem == f"{path}: held-out vectors hold NaN or infinite values; encode it again"
