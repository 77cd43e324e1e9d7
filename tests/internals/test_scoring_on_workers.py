"""Scores and comparisons on a Dask cluster: the numbers of this process, whatever fails and wherever files are."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import Answer

from lsampler import LsamplerError, compare, evaluate, load_bundle, load_sampler
from lsampler.bundles.examples import write_example
from lsampler.compute import on_cluster
from lsampler.models import ConvAutoencoder
from lsampler.plugins import load_evaluator
from lsampler.reports import Entry
from lsampler.scoring import Evaluator, Samples, Score, Subject
from lsampler.scoring.sample_sets import Drawn, Stored
from lsampler.store import LatentStore
from lsampler.store.writer import write_store
from lsampler.workspace import open_subject

distributed = pytest.importorskip("distributed")


@pytest.fixture
def address(cluster: Any) -> str:
    """Of the two workers' scheduler."""
    return str(cluster.scheduler_address)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with latents of digits, and 50 samples in a store."""
    made: Path = tmp_path_factory.mktemp("scored")
    store = write_example(made / "digits")
    rows = load_sampler("gaussian").fit(store).sample(50, seed=0).numpy()
    write_store(made / "few.h5", 10, [rows], {"kind": "samples", "encoder": store.fingerprint})
    return made


def test_workers_score_as_this_process_does(
    cli: Callable[..., Answer], address: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)  # where the workers are not
    scores = [word for name in ("core-membership", "fidelity-diversity", "log-likelihood") for word in ("-e", name)]
    drawn = ("-p", "pca-ellipse", "-p", "multivariate-normal", "-n", 100, "--seed", 3)
    common = ("evaluate", "few.h5", *drawn, *scores, "-e", "cycle-consistency", "--store", "digits/latents.h5")
    here = cli(*common, "--json", tmp_path / "here.json")
    there = cli(*common, "--json", tmp_path / "there.json", "--cluster", address)
    assert (here.code, there.code) == (0, 0)
    assert there.out == here.out
    assert "pca-ellipse: log-likelihood: gives" in there.out
    assert (tmp_path / "there.json").read_text() == (tmp_path / "here.json").read_text()
    rows = json.loads((tmp_path / "there.json").read_text())["rows"]
    names = ["held-out real vectors", "other real vectors", "few.h5", "pca-ellipse", "multivariate-normal"]
    assert [row["name"] for row in rows] == names
    assert {score["metric"] for score in rows[-1]["scores"]} > {"recall", "log-likelihood-gain", "interval/nominal"}


def test_workers_compare_as_this_process_does(
    cli: Callable[..., Answer], address: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    scores = [word for name in ("core-membership", "fidelity-diversity", "cycle-consistency") for word in ("-e", name)]
    strategies = ("-p", "gaussian", "-p", "elliptical", "--sweep", "pca-ellipse:fact=0.6:0.8:2")
    common = ("compare", *strategies, "-n", 60, *scores, "--store", "digits/latents.h5", "--out")
    answers, reports = [], []
    for name, options in (("here", ()), ("there", ("--cluster", address)), ("here", ("--cluster", address))):
        out = tmp_path / name
        answers.append(cli(*common, out, *options))
        found = json.loads((out / "scores.json").read_text())
        del found["provenance"]["command"]
        assert len([row.pop("seconds") for row in found["rows"]]) == 6  # which differ
        pictures = {path.parent.name: path.read_bytes() for path in out.glob("rows/*/images.jpg")}
        assert len(pictures) == 6
        reports.append((found, pictures))
    assert [answer.code for answer in answers] == [0, 0, 0]
    assert reports[0] == reports[1] == reports[2]


def test_a_live_model_goes_to_the_workers(address: str, tiny_model: ConvAutoencoder, tiny_store: LatentStore) -> None:
    subject, evaluators = Subject.of(tiny_store, tiny_model), [load_evaluator("cycle-consistency")]
    here = compare(subject, [load_sampler("gaussian")], evaluators=evaluators, n=40)
    with on_cluster(address):
        there = compare(subject, [load_sampler("gaussian")], evaluators=evaluators, n=40)
    assert "cycle-distance" in here.rows[-1].by_metric
    assert list(there.rows) == list(here.rows)


@pytest.mark.parametrize("strategy", ["gaussian", None])
def test_sets_left_out_on_workers_are_those_left_out_here(address: str, folder: Path, strategy: str | None) -> None:
    subject = open_subject(None, folder / "digits" / "latents.h5")
    fails = Drawn.of(Entry.of(load_sampler("neighbour-interpolation", k=1500)), 400, required=False)
    sets = [Stored.of(folder / "few.h5"), fails]
    if strategy:
        sets.append(Drawn.of(Entry.of(load_sampler(strategy)), 100))
    evaluators = [load_evaluator("fidelity-diversity")]
    here = evaluate(sets, subject, evaluators, seed=1)
    with on_cluster(address):
        assert evaluate(sets, subject, evaluators, seed=1) == here
        with pytest.raises(LsamplerError) as raised:
            evaluate([fails], subject, evaluators)
    assert here.caveats[-1] == f"left out: {raised.value}"
    # The other real vectors are as many as the largest set that could be had.
    assert [row.n for row in here.rows[1:]] == ([100, 50, 100] if strategy else [50, 50])


def test_evaluators_that_fail_on_workers_are_those_that_fail_here(address: str) -> None:
    subject, sets = open_subject("digits", None), [Drawn.of(Entry.of(load_sampler("gaussian")), 20)]
    novelty, cores = load_evaluator("novelty"), load_evaluator("core-membership")
    here = evaluate(sets, subject, [novelty, cores])
    assert "no scores of novelty: needs real vectors" in here.caveats[0]
    with on_cluster(address):
        assert evaluate(sets, subject, [novelty, cores]) == here
        with pytest.raises(LsamplerError, match=r"^no scores of novelty: needs real vectors; digits holds"):
            evaluate(sets, subject, [novelty])


def test_workers_score_a_store_that_was_written_anew(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, rng = "latents.h5", np.random.default_rng(0)
    sets = [Drawn.of(Entry.of(load_sampler("gaussian")), 30)]
    evaluators = [load_evaluator("fidelity-diversity"), load_evaluator("core-membership")]
    for scale in (1, 2):
        write_store(path, 3, [scale * rng.normal(size=(200, 3)).astype(np.float32)], {}, force=True)
        subject = open_subject(None, path)
        here = evaluate(sets, subject, evaluators)
        assert "core 'interval' not calibrated: latents.h5 lacks the held-out vectors for it" in here.caveats
        with on_cluster(address):
            assert evaluate(sets, subject, evaluators) == here


class Overlapping(Evaluator):
    """Counts how many sets are scored at once."""

    name = "overlapping"

    def score(self, samples: Samples) -> list[Score]:
        RUNNING.append(threading.get_ident())
        time.sleep(0.05)
        value = float(len(RUNNING))
        RUNNING.pop()
        return [Score("running", group="g", label="l", better="lower", value=value, low=value, high=value, n=1)]


RUNNING: list[int] = []


def test_a_worker_with_several_threads_scores_one_set_at_a_time() -> None:
    """Plugins are promised that they run alone."""
    sets = [Drawn.of(Entry.of(load_sampler("gaussian", temperature=0.5 + 0.1 * i)), 20) for i in range(6)]
    with (
        distributed.LocalCluster(processes=False, n_workers=1, threads_per_worker=4, dashboard_address=":0") as threads,
        on_cluster(threads.scheduler_address),
    ):
        table = evaluate(sets, open_subject("digits", None), [Overlapping()])
    assert [row.by_metric["running"].value for row in table.rows] == [1.0] * 6


def test_what_a_worker_lacks_is_named(address: str) -> None:
    reference, sets = load_bundle("digits").reference, [Drawn.of(Entry.of(load_sampler("gaussian")), 5)]
    subject = Subject(reference, reopen=partial(open_subject, None, "/nowhere/z.h5"))
    with (
        on_cluster(address),
        pytest.raises(
            LsamplerError, match=r"^a worker lacks what is here, a file or a plugin: /nowhere/z\.h5: no such"
        ),
    ):
        evaluate(sets, subject, [load_evaluator("core-membership")])


def test_a_model_that_cannot_be_copied_is_one_line(address: str, tiny_model: Any, tiny_store: LatentStore) -> None:
    tiny_model.lock = threading.Lock()
    with (
        on_cluster(address),
        pytest.raises(LsamplerError, match=r"a worker failed with TypeError: .*Could not serialize"),
    ):
        compare(
            Subject.of(tiny_store, tiny_model),
            [load_sampler("gaussian")],
            evaluators=[load_evaluator("cycle-consistency")],
            n=5,
        )
