"""Conditions on the command line: a line says what was done, and bad ones are refused in one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from labelled import TRAIN, labelled_store
from support import Answer

from lsampler import load_sampler, open_store
from lsampler.bundles import build_bundle
from lsampler.models import ConvAutoencoder
from lsampler.store import LatentStore, MemoryStore

Cli = Callable[..., Answer]


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """A store that the command line opens by any name."""
    store = labelled_store()
    monkeypatch.setattr("lsampler.workspace.open_store", lambda path: store)
    return store


@pytest.fixture
def bundle(tiny_model: ConvAutoencoder, tiny_store: LatentStore, tmp_path: Path) -> Path:
    rows = tiny_store.latents()
    store = MemoryStore(
        rows, tiny_store.held_out()[:0], fingerprint=tiny_store.fingerprint, labels={"bright": rows[:, 0] > 0}
    )
    built = build_bundle("tiny", tiny_model, store, [], [], ["gaussian-mixture"])
    built.add(store, ["gaussian-mixture"], labels=True)
    built.save(tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_a_bundle_draws_and_decodes_under_a_condition(ok: Cli, cli: Cli, bundle: Path, tmp_path: Path) -> None:
    answer = ok("sample", "--model", bundle, "--where", "bright=1", "--n", 4, "--out", tmp_path / "bright.png")
    assert "and shifted to bright=1 (shift); the other labels come from" in answer.out
    assert (tmp_path / "bright.png").stat().st_size > 100
    assert "labels        bright" in ok("bundles", bundle).out
    assert json.loads(ok("bundles", bundle, "--json", "-").out)[0]["labels"] == ["bright"]
    known = json.loads(ok("bundles", bundle, "--json", "-").out)[0]["probes"]
    assert list(known["bright"]) == ["auc", "r2", "counts", "read", "again"]
    scored = ok("evaluate", "--model", bundle, "--where", "bright=1", "-p", "gaussian-mixture", "--n", 50)
    assert "found" in scored.out
    assert "how far the other labels moved is not known: tiny holds no real vectors; give --store" in scored.out
    refused = cli("compare", "--model", bundle, "--where", "bright=1", "-p", "gaussian", "--out", tmp_path / "report")
    assert refused.code == 2
    assert refused.err.endswith("tiny with bright=1 holds statistics only, give --store of its latents\n")


def test_conditions_are_scored_by_default_and_judges_need_them(
    ok: Cli, cli: Cli, people: MemoryStore, tmp_path: Path
) -> None:
    """On the console the movements of single labels are left out, which files have."""
    words = ("evaluate", "--store", "any", "-p", "gaussian", "--n", 200)
    scored = json.loads(ok(*words, "--where", "male=1", "--where", "glasses=1", "--json", "-").out)
    metrics = [score["metric"] for score in scored["rows"][-1]["scores"]]
    assert "interval/nominal" in metrics
    assert {"condition-found", "condition-entanglement", "moved/age", "moved/shape"} < set(metrics)
    printed = ok(*words, "--where", "male=1").out
    assert "found" in printed
    assert "moved" in printed
    assert len(re.findall(r"\b(glasses|age|shape)\b", printed)) == 2  # in the notes of two rows
    plain = json.loads(ok(*words, "--json", "-").out)
    assert not any("condition" in score["metric"] for row in plain["rows"] for score in row["scores"])
    for given, message in (
        (("--judge-model", "digits"), "--judge-model: judges a condition; give --where"),
        (("--judge-store", "x.h5"), "--judge-store: judges a condition; give --where"),
        (
            ("--where", "male=1", "--judge-store", "x.h5"),
            "--judge-store: holds the latents of a judge; give --judge-mod",
        ),
        (
            ("-e", "condition-probe"),
            "no scores of condition-probe: there is no condition, so nothing was asked for; giv",
        ),
    ):
        for command in (words, ("compare", *words[1:], "--out", tmp_path / "report")):
            refused = cli(*command, *given)
            assert refused.code == 2
            assert message in refused.err
            assert refused.err.count("\n") == 1


def test_fits_with_labels_take_any_condition_later(ok: Cli, cli: Cli, people: MemoryStore, tmp_path: Path) -> None:
    fitted, out = tmp_path / "fitted.safetensors", tmp_path / "out.h5"
    answer = ok("fit", "-p", "gaussian", "--store", "any", "--labels", "--out", fitted)
    assert "labels come as in all data (shift)." in answer.out
    condition = ["--where", "male=1", "--where", "age>=40", "--others", "independent"]
    answer = ok("sample", "--fitted", fitted, *condition, "--n", 50, "--out", out)
    assert "shifted to male=1 and age>=40 (shift)" in answer.out
    assert "the other labels come as in all data." in answer.out
    expected = load_sampler("gaussian").fit(people, labels=True)
    wanted = expected.sample(50, seed=0, where=["male=1", "age>=40"], others="independent")
    np.testing.assert_array_equal(open_store(out).read(), wanted.numpy())
    refused = cli("sample", "--fitted", fitted, "--where", "mael=1", "--out", tmp_path / "x.h5")
    assert refused.err == "lsampler: --where: no label 'mael'; did you mean 'male'?\n"
    refused = cli("sample", "--fitted", fitted, "--where", "male=1", "--by", "shift", "--out", tmp_path / "x.h5")
    assert refused.err == "lsampler: --by: a strategy from --fitted needs none; leave it out\n"
    ok("fit", "-p", "gaussian", "--store", "any", "--where", "male=1", "--by", "subset", "--out", fitted, "--force")
    refused = cli("sample", "--fitted", fitted, "--where", "male=0", "--out", tmp_path / "x.h5")
    assert (
        "was fitted to the rows of one condition; fit it with labels=True, or by 'lsampler fit --labels'" in refused.err
    )
    assert not (tmp_path / "x.h5").exists()


def test_scores_under_a_condition_have_real_rows_that_fulfil_it(ok: Cli, people: MemoryStore, tmp_path: Path) -> None:
    """Men are judged by men: the held-out row and the notes of the report say so."""
    words = ("--store", "any", "--where", "male=1", "-p", "gaussian", "--n", 300, "--json", "-")
    scored = json.loads(ok("evaluate", *words, "-e", "latent-distances").out)
    assert scored["reference"] == "people with male=1"
    held_out = {row["name"]: row["n"] for row in scored["rows"]}["held-out real vectors"]
    men = int(people.labels["male"][TRAIN:].sum())
    assert held_out in (men // 2, men - men // 2)
    assert "gaussian: Fitted to the " in ok("evaluate", *words[:-2], "-e", "latent-distances").out
    folder = ("--out", tmp_path / "report", "-e", "latent-distances")
    first = json.loads(ok("compare", *words, *folder).out)
    [row] = [row for row in first["rows"] if row["kind"] == "drawn"]
    assert row["note"].endswith("train vectors with male=1 (subset).")
    other = json.loads(ok("compare", *words, *folder, "--by", "shift", "--force").out)
    [row] = [row for row in other["rows"] if row["kind"] == "drawn"]
    assert "(shift)" in row["note"]  # what was kept of the first is not taken for the second


REFUSED = [
    (("--where", "mael=1"), "--where: no label 'mael'; did you mean 'male'?"),
    (("--where", "male=2"), "--where: 'male' is never '2'; it takes 0 and 1"),
    (("--where", "male"), "--where male: is no condition; write it as Smiling=1, 'Age>=40' or digit=7"),
    (("--by", "shift"), "--by shift: belongs to a condition; give --where"),
    (("--where", "male=1", "--by", "rows"), "--by rows is unknown; known: shift, subset"),
    (("--where", "male=1", "--others", "non"), "--others non is unknown; known: independent, observed"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=[" ".join(given) for given, _ in REFUSED])
def test_bad_conditions_are_refused_in_one_line(
    cli: Cli, people: MemoryStore, tmp_path: Path, given: tuple[str, ...], message: str
) -> None:
    answer = cli("sample", "-p", "gaussian", "--store", "any", *given, "--out", tmp_path / "x.h5")
    assert (answer.code, answer.err) == (2, f"lsampler: {message}\n")
    assert not (tmp_path / "x.h5").exists()
