"""Bundles on the command line: what they carry, what is drawn without --plugin, and what needs a store."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support import Answer

from lsampler import load_bundle, load_sampler, open_store
from lsampler.plugins import plugin_names
from lsampler.store import LatentStore

Cli = Callable[..., Answer]
KINDS = ("sampler", "core", "evaluator", "autoencoder loader")


def words(answer: Answer) -> str:
    """What was printed, without the line breaks of a narrow terminal."""
    return " ".join(answer.out.split())


def drawn(path: Path) -> torch.Tensor:
    return torch.from_numpy(open_store(path).read())


@pytest.fixture
def made(ok: Cli, tiny_model_file: Path, tiny_store: LatentStore, tmp_path: Path) -> tuple[Path, Answer]:
    """A bundle that carries two strategies, and what making it printed."""
    out = tmp_path / "made.safetensors"
    answer = ok(
        *("bundle", "--out", out, "--model", tiny_model_file, "--store", tiny_store.path, "--licence", "CC0"),
        *("-p", "gaussian-mixture", "-p", "gaussian-copula", "--param", "gaussian-mixture:components=3"),
    )
    return out, answer


def test_a_bundle_is_made_with_strategies_and_described(made: tuple[Path, Answer], ok: Cli) -> None:
    out, answer = made
    found = load_bundle(str(out))
    first, second, last = answer.out.splitlines()
    size = found.strategies[0].nbytes
    assert first == f"gaussian-mixture components=3: {size / 1000:.0f} kB, recommended"
    assert second.startswith("gaussian-copula: ")
    assert last.endswith("1500 latent vectors summarised")
    text = words(ok("bundles", out))
    assert f"made, a file, {out.stat().st_size / 1000:.0f} kB" in text
    for part in ("D 6", "items 8 x 8 grey images", "of 1500 latent vectors", "licence CC0"):
        assert part in text
    assert f"strategies gaussian-mixture components=3 ({size / 1000:.0f} kB), gaussian-copula (" in text
    assert "recommended gaussian-mixture" in text


def test_strategies_are_added_to_a_bundle_that_keeps_the_rest(
    made: tuple[Path, Answer], ok: Cli, tiny_store: LatentStore, tmp_path: Path
) -> None:
    before, out = load_bundle(str(made[0])), tmp_path / "more.safetensors"
    of = ("--model", made[0], "--store", tiny_store.path, "--add")
    ok("bundle", "--out", out, *of, "-p", "elliptical", "--param", "temperature=0.9", "--recommended", "elliptical")
    after = load_bundle(str(out))
    assert [each.label for each in after.strategies] == [
        *(each.label for each in before.strategies),
        "elliptical temperature=0.9",
    ]
    assert (after.fingerprint, after.name, after.licence) == (before.fingerprint, "made", "CC0")
    assert after.reference.calibrations == before.reference.calibrations
    assert after.reference.held_out_scores == before.reference.held_out_scores
    assert after.recommended == "elliptical"
    ok("bundle", "--out", out, *of, "--licence", "MIT", "--force")
    assert load_bundle(str(out)).licence == "MIT"


def test_sample_draws_what_the_bundle_recommends_and_says_so(
    made: tuple[Path, Answer], ok: Cli, cli: Cli, tiny_store: LatentStore, tmp_path: Path
) -> None:
    of_bundle, of_store = tmp_path / "bundle.h5", tmp_path / "store.h5"
    answer = ok("sample", "--model", made[0], "-n", 50, "--seed", 4, "--out", of_bundle)
    assert answer.out.startswith("no --plugin: gaussian-mixture, which made carries and recommends\n")
    expected = load_sampler("gaussian-mixture", components=3).fit(tiny_store).sample(50, seed=4)
    assert torch.equal(drawn(of_bundle), expected)
    answer = ok("sample", "--store", tiny_store.path, "-n", 50, "--seed", 4, "--out", of_store)
    assert answer.out.startswith("no --plugin: gaussian-mixture, recommended where there are latent vectors\n")
    assert torch.equal(drawn(of_store), load_sampler("gaussian-mixture").fit(tiny_store).sample(50, seed=4))
    refused = cli("sample", "-p", "gaussian-mixture", "--model", made[0], "--out", tmp_path / "x.h5")
    assert refused == Answer(
        2,
        "",
        "lsampler: gaussian-mixture: made carries it with --param components=3; give that, or --store for other "
        "parameters\n",
    )


def test_the_bundled_model_draws_without_a_store_and_names_what_works_where_it_cannot(
    ok: Cli, cli: Cli, tmp_path: Path
) -> None:
    for number, strategy in enumerate(("gaussian-mixture", "gaussian-copula", "flow")):
        ok("sample", "-p", strategy, "-n", 5, "--out", tmp_path / f"{number}.h5")
        assert drawn(tmp_path / f"{number}.h5").shape == (5, 256)
    for strategy in ("kde", "neighbour-interpolation", "auto"):
        answer = cli("sample", "-p", strategy, "--out", tmp_path / "x.h5")
        assert answer == Answer(
            2,
            "",
            f"lsampler: {strategy} needs latent vectors, celeba96 holds statistics only; give --store, or take "
            "--plugin gaussian-mixture\n",
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-p", "kde"), "kde: its fitted state may hold single latent vectors, which no bundle does; leave it out"),
        (("-p", "no-such"), "no sampler 'no-such'"),
        (("--param", "fact=1"), "--param fact=1: belongs to a --plugin; give one"),
        (
            ("-p", "flow", "-p", "gaussian", "--param", "hidden=8"),
            "--param hidden=8: there are several strategies; write it as NAME:KEY=VALUE",
        ),
        (("-p", "flow", "--param", "flw:hidden=8"), "'flw' takes no part; did you mean 'flow'?"),
        (("-p", "flow", "--param", "flow:hiden=8"), "no parameter 'hiden'; did you mean 'hidden'?"),
        (("--recommended", "kde"), "--recommended kde needs latent vectors, and made does not carry it"),
        (("--add", "-e", "faces"), "--evaluator faces: --add keeps the scores that are there; leave it out"),
    ],
)
def test_what_a_bundle_cannot_carry_is_refused_in_one_line(
    made: tuple[Path, Answer], cli: Cli, tiny_store: LatentStore, arguments: tuple[str, ...], message: str
) -> None:
    out = made[0].with_name("new.safetensors")
    start = ("--add",) if "--recommended" in arguments else ()
    answer = cli("bundle", "--out", out, "--model", made[0], "--store", tiny_store.path, *start, *arguments)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert message in answer.err
    assert not out.exists()


def test_nothing_is_added_to_what_is_no_bundle(
    cli: Cli, tiny_model_file: Path, tiny_store: LatentStore, tmp_path: Path
) -> None:
    answer = cli(
        "bundle", "--out", tmp_path / "x.safetensors", "--model", tiny_model_file, "--store", tiny_store.path, "--add"
    )
    assert answer.code == 2
    assert "tiny.safetensors: is no bundle that --add could add to; leave out --add" in answer.err


def test_bundles_lists_those_that_come_with_lsampler(ok: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    answer = ok("bundles")
    text = words(answer)
    for part in (
        "celeba96, comes with lsampler, ",
        "celeba96-sharp, comes with lsampler, ",
        "D 256 items 96 x 96 colour images",
        "digits, comes with",
        "D 20 items a row of 30 features",
        "D 20 items a signal of 2 x 180",
    ):
        assert part in text
    assert text.count("recommended gaussian-mixture licence ") == 5
    assert max(map(len, answer.out.splitlines())) <= 80


def test_plugins_marks_what_needs_a_store(ok: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    answer = ok("plugins")
    strategies = answer.out.split("cores")[0]
    assert max(map(len, answer.out.splitlines())) <= 80
    needed = {line.split()[0] for line in strategies.splitlines() if " needed " in line}
    kinds = {name: type(load_sampler(name)) for name in plugin_names("sampler")}
    assert needed == {name for name, kind in kinds.items() if kind.needs_latents}
    for name in ("celeba96", "digits"):
        carried = ", ".join(each.name for each in load_bundle(name).strategies)
        assert f"the bundle {name} carries, so that they need no store: {carried}" in " ".join(strategies.split())


def test_show_cuts_nothing_off_at_80_columns(ok: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every word of a parameter's type, range, default and meaning is printed whole."""
    monkeypatch.setenv("COLUMNS", "80")
    for kind in KINDS:
        for name in plugin_names(kind):  # type: ignore[arg-type]
            answer = ok("plugins", "show", name)
            assert "…" not in answer.out
            assert max(map(len, answer.out.splitlines())) <= 80
    shown = set(re.findall(r"[\w.-]+", ok("plugins", "show", "flow").out))
    for each in type(load_sampler("flow")).parameters():
        told = " ".join([each.name, each.type, each.range, each.default, each.meaning])
        assert set(re.findall(r"[\w.-]+", told)) <= shown
