"""Results as JSON, lists, and parameters of several plugins: the same in every command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Answer

from lsampler import load_sampler, open_store
from lsampler.bundles import bundled
from lsampler.plugins import plugin_names
from lsampler.store import LatentStore

Cli = Callable[..., Answer]
SCORED = ("-p", "gaussian", "-n", 50, "-e", "core-membership")
PRINT = {
    "evaluate": ("evaluate", *SCORED),
    "compare": ("compare", *SCORED, "--out", "report"),
    "choose": ("choose", "-p", "gaussian", "--quick"),
    "analyze": ("analyze", "STORE", "--section", "origin", "--out", "analysis"),
    "plugins": ("plugins", "--kind", "core"),
    "plugins show": ("plugins", "show", "pca-ellipse"),
    "bundles": ("bundles",),
    "store list": ("store", "list"),
    "store info": ("store", "info", "STORE"),
}


@pytest.mark.parametrize("command", PRINT)
def test_results_are_printed_or_written_as_json(
    command: str, ok: Cli, cli: Cli, tiny_store: LatentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_store.path.parent)
    words = [tiny_store.path if word == "STORE" else word for word in PRINT[command]]
    if command in ("evaluate", "compare", "choose"):
        words += ["--store", tiny_store.path]
    printed = json.loads(ok(*words, "--json", "-").out)
    assert printed
    answer = ok(*words, "--json", "results.json")
    written = json.loads(Path("results.json").read_text())
    assert set(written) == set(printed) if isinstance(printed, dict) else written == printed
    assert answer.out.strip()
    assert not answer.out.startswith(("{", "["))
    refused = cli(*words, "--json", "results.json")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "lsampler: results.json: exists already; choose another name or pass --force\n"
    ok(*words, "--json", "results.json", "--force")


def test_json_says_what_the_tables_say(ok: Cli, tiny_store: LatentStore) -> None:
    listed = json.loads(ok("plugins", "--json", "-").out)
    assert listed["broken"] == []
    assert {each["kind"] for each in listed["plugins"]} == {"sampler", "core", "evaluator", "autoencoder loader"}
    needed = {each["name"]: each["needs_store"] for each in listed["plugins"] if each["kind"] == "sampler"}
    assert needed == {name: type(load_sampler(name)).needs_latents for name in plugin_names("sampler")}
    [shown] = json.loads(ok("plugins", "show", "pca-ellipse", "--json", "-").out)
    assert {each["name"]: each["default"] for each in shown["parameters"]}["fact"] == "0.7"
    assert [each["name"] for each in json.loads(ok("bundles", "--json", "-").out)] == bundled()
    known = json.loads(ok("store", "info", tiny_store.path, "--json", "-").out)
    assert (known["latent_vectors"], known["train"], known["held-out"]) == (1797, 1500, 297)
    assert known["latent_dimension"] == 6


def test_the_stores_of_a_folder_are_listed(ok: Cli, tiny_store: LatentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_store.path.parent
    monkeypatch.setenv("COLUMNS", "80")
    (folder / "foreign.h5").write_bytes(b"no store")
    long = folder / f"{'very-' * 20}long.h5"
    long.write_bytes(tiny_store.path.read_bytes())
    ok("store", "shard", tiny_store.path, "--rows", 500, "--out", folder / "many.shards")
    answer = ok("store", "list", folder)
    assert max(map(len, answer.out.splitlines())) <= 80
    assert answer.out.count("y") == 20 + 2  # the long name whole, tiny.h5 and many.shards
    rows = {each["store"]: each for each in json.loads(ok("store", "list", folder, "--json", "-").out)}
    assert set(rows) == {"tiny.h5", "many.shards", long.name}
    for each in rows.values():
        assert (each["vectors"], each["held out"], each["D"]) == (1797, 297, 6)
    (folder / "empty").mkdir()
    assert (
        "no latent stores; 'lsampler encode' and 'lsampler store import' make one"
        in ok("store", "list", folder / "empty").out
    )


def test_parameters_belong_to_the_plugin_that_they_name(ok: Cli, tiny_store: LatentStore, tmp_path: Path) -> None:
    """With one strategy the name may be left out, and the same is drawn."""
    where = ("--store", tiny_store.path, "-n", 40)
    for name, setting in (
        ("a.h5", "temperature=0.5"),
        ("b.h5", "gaussian:temperature=0.5"),
        ("c.h5", "gaussian:half-width=moments"),
    ):
        ok("sample", "-p", "gaussian", "--param", setting, *where, "--out", tmp_path / name)
    halved, same, other = (open_store(tmp_path / name).read() for name in ("a.h5", "b.h5", "c.h5"))
    assert (halved == same).all()
    assert not (halved == other).all()
    several = ("-p", "gaussian", "-p", "pca-ellipse", "--param", "gaussian:temperature=0.01")
    one = ("-p", "gaussian", "--param", "temperature=0.01")
    half = ("--param", "core-membership:share=0.5")
    tables = []
    for options in ((*several, *half), (*one, *half), one):
        rows = json.loads(ok("evaluate", *options, *where, "--json", "-").out)["rows"]
        tables.append({row["name"]: row["scores"] for row in rows if row["name"] != "pca-ellipse"})
    assert tables[0] == tables[1]
    assert tables[1] != tables[2]


def test_fit_takes_the_recommended_strategy(ok: Cli, tmp_path: Path) -> None:
    answer = ok("fit", "--model", "digits", "--out", tmp_path / "fitted.safetensors")
    assert answer.out.startswith("no --plugin: gaussian-mixture, which digits carries and recommends\n")
    ok("sample", "--fitted", tmp_path / "fitted.safetensors", "-n", 4, "--out", tmp_path / "x.png")
