"""A refusal names the file that the user gave, before anything is written, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support import listing

from lsampler import LsamplerError, compare, load_sampler
from lsampler.plugins import load_evaluator, load_fitted
from lsampler.store import MemoryStore, StoreWriter

COMPARE = ("compare", "-p", "gaussian", "-e", "core-membership", "-n", 50, "--store")
ANALYZE = ("analyze", "--section", "origin")


@pytest.mark.parametrize("name", ["index.html", "scores.csv", "scores.json", "summary.md"])
@pytest.mark.parametrize("what", ["folder", "pipe"])
def test_a_comparison_looks_at_all_its_files_before_it_writes_one(
    name: str, what: str, cli: Callable[..., Any], tiny_store: Any, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    assert cli(*COMPARE, tiny_store.path, "--out", report).code == 0
    _in_place_of(report / name, what)
    before = listing(report)
    answer = cli(*COMPARE, tiny_store.path, "--out", report, "--seed", 1)
    assert answer.code == 2
    assert f"report/{name}: is a " in answer.err
    assert listing(report) == before


@pytest.mark.parametrize("name", ["index.html", "judgements.csv", "analysis.json"])
def test_an_analysis_looks_at_all_its_files_before_it_writes_one(
    name: str, cli: Callable[..., Any], tiny_store: Any, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    assert cli(*ANALYZE, tiny_store.path, "--out", report).code == 0
    _in_place_of(report / name, "folder")
    before = listing(report)
    answer = cli(*ANALYZE, tiny_store.path, "--section", "components", "--out", report)
    assert answer.code == 2
    assert f"report/{name}: is a folder" in answer.err
    assert listing(report) == before


def _in_place_of(path: Path, what: str) -> None:
    path.unlink()
    path.mkdir() if what == "folder" else os.mkfifo(path)


def test_vectors_that_overflow_the_decoder_are_named_by_their_file(
    cli: Callable[..., Any], tiny_model_file: Path, tiny_store: Any, tmp_path: Path
) -> None:
    drawn = tmp_path / "drawn.h5"
    given = ("--store", tiny_store.path, "--model", tiny_model_file)
    assert cli("sample", "-p", "gaussian", "-n", 4, *given, "--out", drawn).code == 0
    import h5py

    with h5py.File(drawn, "r+") as file:
        file["latents"][...] = 3e38
    answer = cli("decode", drawn, "--model", tiny_model_file, "--out", tmp_path / "x.png")
    assert answer.code == 2
    assert "drawn.h5: " in answer.err
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize("name", ["`seed=1`.npy", "`out=...` and `n=3`.npy"])
def test_what_looks_like_an_argument_in_the_name_of_a_file_stays(
    name: str, cli: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"no array")
    answer = cli("encode", tmp_path / name, "--model", "digits", "--out", tmp_path / "x.h5")
    assert answer.code == 2
    assert name in answer.err.replace("\n", " ")


def test_a_pair_of_files_keeps_the_name_of_each(cli: Callable[..., Any], digits_npy: Path, tmp_path: Path) -> None:
    """Regression: the text that the user gave is the pair, the message names one of the two."""
    (tmp_path / "`seed=1`.onnx").write_bytes(b"no program")
    (tmp_path / "d.onnx").write_bytes(b"no program")
    pair = f"{tmp_path}/`seed=1`.onnx+{tmp_path}/d.onnx"
    answer = cli("encode", digits_npy, "--model", pair, "--model-param", "size=8", "--out", tmp_path / "x.h5")
    assert answer.code == 2
    assert "`seed=1`.onnx" in answer.err.replace("\n", "")


def test_a_fitted_strategy_of_an_unknown_name_is_named_by_its_file(tmp_path: Path) -> None:
    path, damaged = tmp_path / "fitted.safetensors", tmp_path / "damaged.safetensors"
    load_sampler("gaussian").fit(np.random.default_rng(0).normal(size=(50, 3))).save(path)
    content = path.read_bytes()
    [length] = struct.unpack("<Q", content[:8])
    notes = json.loads(content[8 : 8 + length])["__metadata__"]
    changed = {key: value.replace("gaussian", "gausian") for key, value in notes.items()}
    save_file(load_file(path), damaged, metadata=changed)
    with pytest.raises(LsamplerError, match=r"damaged\.safetensors: .*no sampler 'gausian'"):
        load_fitted(damaged)


@pytest.mark.parametrize(
    ("usable", "total", "words"),
    [
        (1, 40, "1 of 40 images can be used"),
        (2, 2, "--held-out 2: of 2 images, hold out at least 1 and at most 1"),
    ],
)
def test_too_few_images_to_train_leave_no_folder(
    usable: int, total: int, words: str, cli: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("lightning")
    images = np.full((total, 8, 8), np.nan)
    images[:usable] = 0.5
    np.save(tmp_path / "images.npy", images)
    small = ("--size", 8, "--crop", "none", "--grey", "--no-flip", "--filters", 4, "--latent-dim", 2, "--epochs", 1)
    answer = cli("train", tmp_path / "images.npy", *small, "--held-out", 2, "--out", tmp_path / "out")
    assert answer.code == 2
    assert words in answer.err.replace("\n", " ")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize(
    "command",
    [
        ("sample", "-p", "gaussian", "-n", "3", "--model", "digits"),
        ("compare", "-p", "gaussian", "-e", "core-membership", "-n", "50", "--model", "digits"),
    ],
)
def test_a_full_disk_is_named_by_the_output_and_leaves_no_folder(command: tuple[str, ...], tmp_path: Path) -> None:
    full = [sys.executable, "-m", "lsampler", *command, "--out", str(tmp_path / "x")]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    done = subprocess.run(full, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 2
    assert f"{tmp_path}/x: could not be written" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_without_any_score_leaves_no_report(
    cli: Callable[..., Any], tiny_store: Any, tmp_path: Path
) -> None:
    given = ("-p", "gaussian", "-e", "cycle-consistency", "-n", 50, "--store", tiny_store.path)
    answer = cli("compare", *given, "--out", tmp_path / "report")
    assert answer.code == 2
    assert "nothing could be scored: cycle-consistency: needs" in answer.err
    assert not (tmp_path / "report").exists()


def test_a_damaged_plan_of_an_interrupted_run_is_one_line(
    cli: Callable[..., Any], digits_npy: Path, tiny_model_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.h5"
    writer = StoreWriter(out, 3, {"kind": "drawn"}, append=False)
    writer.append(np.zeros((4, 3), np.float32), [str(k) for k in range(4)])
    writer.__exit__(KeyboardInterrupt, None, None)
    [plan] = (tmp_path / "x.h5.partial").glob("plan.json")
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"attributes": []}))
    answer = cli("encode", digits_npy, "--model", tiny_model_file, "--out", out)
    assert answer.code == 2
    assert "x.h5.partial: is of an interrupted run" in answer.err
    assert "TypeError" not in answer.err


@pytest.mark.parametrize(
    ("strategy", "parameter"),
    [("auto", "candidates=\x07"), ("auto", "candidates=gausian"), ("line-path", f"j={10**26}"), ("line-path", "i=6")],
)
def test_a_parameter_that_only_fitting_can_judge_is_named(
    strategy: str, parameter: str, cli: Callable[..., Any], tiny_store: Any, tmp_path: Path
) -> None:
    given = ("-p", strategy, "--param", parameter, "--store", tiny_store.path)
    answer = cli("fit", *given, "--out", tmp_path / "fitted.safetensors")
    assert answer.code == 2
    assert f"--param {parameter.split('=')[0]}=" in answer.err


def test_seeds_above_four_bytes_do_for_every_judge(tmp_path: Path) -> None:
    """scikit-learn takes no larger ones."""
    rng = np.random.default_rng(0)
    store = MemoryStore(rng.normal(size=(700, 4)), rng.normal(size=(300, 4)))
    judges = [
        load_evaluator("two-sample-classifier"),
        load_evaluator("strong-classifier", rows=400, epochs=1, trees=10, curve=False),
    ]
    found = compare(store, [load_sampler("gaussian")], evaluators=judges, n=300, seed=2**63 - 1)
    assert {"classifier-auc", "strong-auc"} <= set(found.rows[-1].by_metric), found.rows[-1].problems
