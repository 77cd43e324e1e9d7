"""The commands as users type them: what they write, and how they answer bad input."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file
from support import Answer, listing, store_of

from lsampler import load_bundle, load_sampler, open_store
from lsampler.store import LatentStore

Cli = Callable[..., Answer]


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def test_sample_draws_a_grid_of_pictures_and_force_replaces_it(ok: Cli, tmp_path: Path) -> None:
    out = tmp_path / "faces.png"
    out.write_bytes(b"old")
    answer = ok("sample", "--plugin", "pca-ellipse", "--out", out, "--force")
    assert "64 samples of pca-ellipse" in answer.out
    assert pixels(out).shape == (8 * 98 + 2, 8 * 98 + 2, 3)
    assert pixels(out).std() > 20


def test_sample_fills_a_folder_with_pictures_and_replaces_no_other_folder(ok: Cli, cli: Cli, tmp_path: Path) -> None:
    out, own = tmp_path / "images", tmp_path / "celeba"
    command = ("sample", "-p", "gaussian", "--force", "--out")
    for n in (5, 3):
        ok(*command, out, "-n", n)
        assert sorted(path.name for path in out.glob("*.png")) == [f"{k:06d}.png" for k in range(n)]
    (out / "wedding.jpg").write_bytes(b"precious")
    own.mkdir()
    (own / "000001.png").write_bytes(b"precious")
    for folder, message in ((out, "holds 'wedding.jpg', so it is not replaced"), (own, "was not written by lsampler")):
        before = listing(folder)
        answer = cli(*command, folder)
        assert answer.code == 2
        assert message in answer.err
        assert listing(folder) == before


def test_sample_writes_latent_vectors_with_their_origin(ok: Cli, tmp_path: Path) -> None:
    ok("sample", "-p", "pca-ellipse", "-n", 5000, "--param", "fact=0.6", "--seed", 9, "--out", tmp_path / "z.h5")
    store, bundle = open_store(tmp_path / "z.h5"), load_bundle()
    assert store.attributes["sampler"] == "pca-ellipse"
    assert json.loads(store.attributes["parameters"])["fact"] == 0.6
    assert (len(store), store.attributes["seed"], store.fingerprint) == (5000, 9, bundle.fingerprint)
    expected = load_sampler("pca-ellipse", fact=0.6).fit(bundle).sample(5000, seed=9)
    np.testing.assert_array_equal(store.read(), expected.numpy())


def test_sample_from_a_store_needs_a_model_for_pictures_only(
    ok: Cli, cli: Cli, tiny_model_file: Path, tiny_store: LatentStore, tmp_path: Path
) -> None:
    command = ("sample", "-p", "multivariate-normal", "-n", 9, "--store", tiny_store.path, "--out")
    ok(*command, tmp_path / "grid.png", "--model", tiny_model_file)
    assert pixels(tmp_path / "grid.png").shape == (200, 200)  # the digits, 8 x 8, are enlarged eightfold
    ok(*command, tmp_path / "z.h5")
    answer = cli(*command, tmp_path / "z.png")
    assert answer.code == 2
    assert "no decoder for these latents; give --model" in answer.err


def test_decode_gives_the_pictures_of_sample(ok: Cli, tmp_path: Path) -> None:
    for name in ("a.png", "z.h5"):
        ok("sample", "-p", "pca-ellipse", "-n", 4, "--out", tmp_path / name)
    ok("decode", tmp_path / "z.h5", "--out", tmp_path / "b.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Peak memory of 400,000 rows, 410 MB on disk, stays within 100 MB of that of 4,000."""
    # In one process, the few rows first, because a peak never falls.
    script = (
        "import resource, sys\n"
        "from lsampler.cli import main\n"
        "for rows in (4_000, 400_000):\n"
        f"    sys.argv = ['lsampler', 'sample', '-p', 'uniform-cube', '-n', str(rows), '--out', f'{tmp_path}/{{rows}}.h5']\n"
        "    try: main()\n"
        "    except SystemExit as stopped: assert not stopped.code, stopped.code\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
    peaks = [int(line) * (1 if sys.platform == "darwin" else 1024) for line in done.stderr.split()]
    assert len(open_store(tmp_path / "400000.h5")) == 400_000
    assert peaks[1] - peaks[0] < 100e6


def test_rows_do_not_depend_on_the_number_of_threads_of_the_machine(tmp_path: Path) -> None:
    """Two processes, one confined to a single thread, draw the same rows: one block of 2,048 and a part of another."""
    for threads in ("1", "4"):
        command = ["sample", "-p", "multivariate-normal", "-n", "2057", "--out", tmp_path / f"{threads}.h5"]
        environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-m", "lsampler", *command], env=environment, check=True, capture_output=True)
    np.testing.assert_array_equal(open_store(tmp_path / "1.h5").read(), open_store(tmp_path / "4.h5").read())


def test_a_fitted_strategy_draws_the_rows_of_fitting_and_drawing_at_once(
    ok: Cli, tiny_model_file: Path, tiny_store: LatentStore, tmp_path: Path
) -> None:
    fitted, options = tmp_path / "fitted.safetensors", ("-p", "kde", "--param", "bandwidth=0.5")
    where = ("--store", tiny_store.path, "--model", tiny_model_file)
    ok("fit", *options, *where, "--out", fitted)
    for strategy, name in (((*options, *where), "at-once.h5"), (("--fitted", fitted), "later.h5")):
        ok("sample", *strategy, "-n", 20, "--seed", 3, "--out", tmp_path / name)
    at_once, later = open_store(tmp_path / "at-once.h5"), open_store(tmp_path / "later.h5")
    np.testing.assert_array_equal(at_once.read(), later.read())
    assert later.fingerprint == tiny_store.fingerprint
    ok("sample", "--fitted", fitted, "--model", tiny_model_file, "--out", tmp_path / "a.png")


def test_a_fitted_strategy_needs_its_own_decoder_and_no_plugin(
    ok: Cli, cli: Cli, tiny_store: LatentStore, tmp_path: Path
) -> None:
    fitted = tmp_path / "fitted.safetensors"
    ok("fit", "-p", "gaussian", "--store", tiny_store.path, "--out", fitted)
    for arguments, message in (
        ((fitted,), "of a model that does not come with lsampler; give that --model"),
        ((fitted, "-p", "gaussian"), "--plugin: a strategy from --fitted needs none; leave it out"),
        ((tiny_store.path,), "tiny.h5"),
    ):
        answer = cli("sample", "--fitted", *arguments, "--out", tmp_path / "a.png")
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert message in answer.err
    assert not (tmp_path / "a.png").exists()


def test_evaluate_scores_all_strategies_beside_real_vectors(ok: Cli, tmp_path: Path) -> None:
    answer = ok("evaluate", "--all", "-n", 200, "--json", tmp_path / "scores.json")
    table = json.loads((tmp_path / "scores.json").read_text())
    caveat, *left_out = table["caveats"]
    assert all(line.startswith("left out: ") for line in left_out)
    assert caveat.startswith("no core 'knn': needs real vectors; celeba96 holds statistics only, give `store=...`")
    assert "left out: kde needs latent vectors, celeba96 holds statistics only; give --store" in answer.out
    cores = ("interval", "pair-ellipses", "pca-ellipses", "ellipsoid")
    value = {}
    for row in table["rows"]:
        value[row["name"]] = {score["metric"]: score["value"] for score in row["scores"]}
        assert set(value[row["name"]]) == {f"{core}/{kind}" for core in cores for kind in ("nominal", "calibrated")}
        assert all(0 <= score["low"] <= score["value"] <= score["high"] <= 1 for score in row["scores"])
    assert "elliptical" in value
    assert value["held-out real vectors"]["pca-ellipses/calibrated"] > 0.9
    assert value["pca-ellipse"]["pca-ellipses/calibrated"] == 1
    assert value["uniform-cube"]["ellipsoid/calibrated"] == 0


def test_evaluate_scores_a_file_as_the_strategy_that_made_it(ok: Cli, tmp_path: Path) -> None:
    ok("sample", "-p", "gaussian", "-n", 300, "--out", tmp_path / "z.h5")
    ok("evaluate", tmp_path / "z.h5", "--json", tmp_path / "a.json")
    ok("evaluate", "-p", "gaussian", "-n", 300, "--json", tmp_path / "b.json")
    a, b = (json.loads((tmp_path / name).read_text())["rows"][1]["scores"] for name in ("a.json", "b.json"))
    assert a == b


def test_a_bundle_of_a_model_and_its_store_draws_and_scores_as_they_do(
    ok: Cli, tiny_model_file: Path, tiny_store: LatentStore, tmp_path: Path
) -> None:
    out = tmp_path / "tiny-bundle.safetensors"
    ok("bundle", "--out", out, "--model", tiny_model_file, "--store", tiny_store.path)
    sampler = load_sampler("pca-ellipse", half_width="histogram", components=4)
    stored, bundled = (sampler.fit(source).sample(50, seed=1) for source in (tiny_store, load_bundle(str(out))))
    assert torch.equal(stored, bundled)
    tables = []
    for where in (("--model", out), ("--model", tiny_model_file, "--store", tiny_store.path)):
        path = tmp_path / f"{len(tables)}.json"
        ok("evaluate", "-p", "gaussian", *where, "--json", path)
        tables.append(json.loads(path.read_text()))
    for one, two in zip(*(table["rows"] for table in tables), strict=True):
        assert one["n"] == two["n"]
        of_bundle, of_store = ({s["metric"]: s["value"] for s in row["scores"]} for row in (one, two))
        # The core knn needs vectors, which no bundle holds.
        expected = {metric: value for metric, value in of_store.items() if not metric.startswith("knn/")}
        assert of_bundle == pytest.approx(expected, abs=0.005)
    assert [caveat.split(":")[0] for table in tables for caveat in table["caveats"]] == ["no core 'knn'"]


# Each row: what is wrong, the arguments, a part of the message. {dir} is the folder of the fixture `bad`.
BAD_INPUT = [
    ("unknown strategy", "sample -p pca-elipse", "no sampler 'pca-elipse'; did you mean 'pca-ellipse'?"),
    ("unknown parameter", "sample -p pca-ellipse --param factor=1", "no parameter 'factor'; did you mean 'fact'?"),
    ("parameter out of range", "sample -p pca-ellipse --param fact=-1", "give a number, above 0"),
    ("parameter without value", "sample -p pca-ellipse --param fact", "write it as KEY=VALUE, such as fact=0.8"),
    ("choice", "sample -p pca-ellipse --param method=guess", "method=guess is not valid: give exact or iteration"),
    ("q larger than D", "sample -p pca-ellipse --param components=257", "--param components=257 is more than the latent dimension of celeba96; give at most 256"),
    ("negative seed", "sample -p gaussian --seed -1", "'--seed': -1 is out of range; give 0 or more."),
    ("device", "sample -p gaussian --device abacus", "device 'abacus' is unknown; use auto, cpu, cuda or mps"),
    ("parameter of no strategy", "sample --param fact=1", "--param fact=1: belongs to a --plugin; give one"),
    ("trim of a bundle", "sample -p pca-ellipse --param trim=1.5", "trim=1.7 or none, not 1.5; give --store"),
    ("output exists", "sample -p gaussian --out {dir}/there.png", "there.png: exists already; choose another name or pass --force"),
    ("output folder missing", "sample -p gaussian --out {dir}/no/x.png", "does not exist; create it first"),
    ("output of odd kind", "sample -p gaussian --out {dir}/x.gif", "give a .png for a grid"),
    ("too many for one picture", "sample -p gaussian -n 5000 --out {dir}/x.png", "too many for one grid"),
    ("unknown bundle", "sample -p gaussian --model celeba69", "no bundle 'celeba69'; did you mean 'celeba96'?"),
    ("model missing", "sample -p gaussian --model {dir}/no.safetensors", "no.safetensors: no such model file; check the path"),
    ("model truncated", "sample -p gaussian --model {dir}/cut.safetensors", "cut.safetensors: not a readable safetensors file"),
    ("model foreign", "encode {dir}/images.npy --model {dir}/foreign.safetensors --out {dir}/x.h5", "not an autoencoder made by"),
    ("model of unknown kind", "sample -p gaussian --model {dir}/model.odd", "nothing opens it; give a bundle's name"),
    ("model without statistics", "sample -p gaussian --model {dir}/tiny.safetensors", "add --store"),
    ("store missing", "sample -p gaussian --store {dir}/no.h5", "no.h5: no such latent store; check the path"),
    ("store empty", "sample -p gaussian --store {dir}/empty.h5", "empty.h5: is empty"),
    ("store truncated", "sample -p gaussian --store {dir}/cut.h5", "cut.h5: not a readable HDF5 file, it is truncated"),
    ("store foreign", "sample -p gaussian --store {dir}/foreign.h5", "foreign.h5: an HDF5 file, but not a latent store"),
    ("store is a folder", "sample -p gaussian --store {dir}", "is a folder, expected a latent store"),
    ("store with NaN", "evaluate -p gaussian --store {dir}/nan.h5", "row 3 holds NaN or infinite values"),
    ("store without rows", "sample -p gaussian --store {dir}/none.h5 --out {dir}/x.h5", "0 latent vectors, statistics need at least 2"),
    ("equal vectors", "sample -p gaussian --store {dir}/equal.h5 --out {dir}/x.h5", "all 50 vectors are equal"),
    ("singular covariance", "sample -p multivariate-normal --store {dir}/few.h5 --out {dir}/x.h5", "has rank 4, 6 components are wanted"),
    ("model and store of two encoders", "sample -p gaussian --model {dir}/tiny.safetensors --store {dir}/few.h5", "does not belong to these latents"),
    ("samples of another encoder", "decode {dir}/few.h5 --model celeba96", "does not belong to these latents"),
    ("samples of unknown encoder", "decode {dir}/few.h5", "give that --model"),
    ("samples with another D", "decode {dir}/anonymous.h5 --model celeba96", "D = 6, the decoder takes 256"),
    ("decoding to latents", "decode {dir}/few.h5 --out {dir}/x.h5", "decoding gives items"),
    ("bundle of another encoder", "bundle --out {dir}/b.safetensors --model {dir}/tiny.safetensors --store {dir}/few.h5", "another encoder"),
    ("scoring nothing", "evaluate", "nothing to score"),
    ("scoring with another D", "evaluate {dir}/anonymous.h5", "D of celeba96 is 256"),
    ("param for many", "evaluate --all --param fact=1", "there are several strategies; write it as NAME:KEY=VALUE, such as "),
    ("unknown evaluator", "evaluate -p gaussian -e face", "no evaluator 'face'; did you mean 'faces'?"),
    ("images missing", "encode {dir}/nothing --out {dir}/x.h5", "no such file or folder; check the path of the images"),
    ("images of odd kind", "encode {dir}/model.onnx --out {dir}/x.h5", "not a source of images; give a folder"),
    ("folder without images", "encode {dir}/bare --out {dir}/x.h5", "holds no images"),
    ("images out of range", "encode {dir}/range.npy --model {dir}/tiny.safetensors --out {dir}/x.h5", "scale floats to [0, 1]"),
    ("strict", "encode {dir}/mixed --strict --model {dir}/tiny.safetensors --held-out 0 --out {dir}/x.h5", "image 'bad.png' cannot be decoded"),
    ("held out too many", "encode {dir}/images.npy --held-out 12 --model {dir}/tiny.safetensors --out {dir}/x.h5", "must leave some"),
    ("too many processes", "encode {dir}/images.npy --workers 1000000 --out {dir}/x.h5", "'--workers': 1000000 is out of range; give a number from 0 to 256."),
    ("too large batches", "encode {dir}/images.npy --batch-size 1000000 --out {dir}/x.h5", "'--batch-size': 1000000 is out of range; give a number from 1 to"),
    ("too many epochs", "train {dir}/images.npy --epochs 1000000 --out {dir}/run", "'--epochs': 1000000 is out of range; give a number from 1 to"),
    ("size not divisible", "train {dir}/images.npy --size 10 --out {dir}/run", "image size 10 must be a multiple of 16"),
    ("filters", "train {dir}/images.npy --filters 8,x --out {dir}/run", "--filters"),
    ("crop", "train {dir}/images.npy --crop center --out {dir}/run", "crop 'center' is unknown; did you mean 'centre'?"),
    ("nothing to resume", "train {dir}/images.npy --size 8 --filters 4 --resume --out {dir}/run", "no checkpoint to resume"),
    ("comparing nothing", "compare --out {dir}/r", "nothing to compare"),
    ("strategy to compare", "compare -p gausian --out {dir}/r", "did you mean 'gaussian'?"),
    ("parameter of the only one", "compare -p gaussian --param fact=1 --out {dir}/r", "no parameter 'fact'"),
    ("parameter of none", "compare --sweep gaussian:temperature=0.5:1:2 -p flow --param fact=1 --out {dir}/r", "NAME:KEY=VALUE"),
    ("parameter of no strategy to bundle", "bundle --model digits --store few.h5 --out b.safetensors --param fact=1", "--param fact=1: belongs to a --plugin; give one"),
    ("whole number", "sample -p gaussian -n many", "'--n' / '-n': many is not a whole number; give 1 or more."),
    ("number", "train {dir}/images.npy --learning-rate fast --out {dir}/run", "'--learning-rate': fast is not a number; give 1e-08 or more."),
    ("no number", "train {dir}/images.npy --learning-rate nan --out {dir}/run", "'--learning-rate': nan is out of range; give 1e-08 or more."),
    ("wish", "choose --wish best", "'--wish': 'best' is not known; give balanced, varied or clean."),
    ("split", "store export few.h5 --split test --out x.npy", "'--split': 'test' is not known; give train or held-out."),
    ("kind of plugins", "plugins --kind sampler", "'--kind': 'sampler' is not known; give strategy, core, evaluator or loader."),
    ("results that exist", "bundles --json there.png", "there.png: exists already; choose another name or pass --force"),
    ("stores of no folder", "store list no", "no: no such folder; check the path"),
    ("bundle to a place", "bundle b.safetensors --model digits --store few.h5", "--out"),
    ("export to a place", "store export few.h5 x.npy", "--out"),
    ("example in a place", "example digits", "--out"),
    ("parameter of another", "compare -p gaussian --param pca-ellipse:fact=1 --out {dir}/r", "'pca-ellipse' takes no part"),
    ("parameter of a row", "compare -p pca-ellipse --param pca-ellipse:fact=-1 --out {dir}/r", "fact=-1"),
    ("sweep of two parts", "compare --sweep pca-ellipse:fact=1:2 --out {dir}/r", "NAME:KEY=LOW:HIGH:STEPS"),
    ("sweep of one step", "compare --sweep pca-ellipse:fact=1:2:1 --out {dir}/r", "2 to 1000 steps"),
    ("sweep without end", "compare --sweep pca-ellipse:fact=1:2:1000000000 --out {dir}/r", "2 to 1000 steps"),
    ("sweep of no number", "compare --sweep pca-ellipse:fact=a:2:3 --out {dir}/r", "NAME:KEY=LOW:HIGH:STEPS"),
    ("sweep of no parameter", "compare --sweep pca-ellipse:facts=1:2:3 --out {dir}/r", "no parameter 'facts'"),
    ("score to compare by", "compare -p gaussian -e no-such --out {dir}/r", "no evaluator 'no-such'"),
    ("latents missing", "analyze no.h5 --out r", "no.h5: no such latent store; check the path"),
    ("latents with NaN", "analyze nan.h5 --out r", "nan.h5: row 3 holds NaN or infinite values"),
    ("latents too few", "analyze few.h5 --out r", "few.h5: 5 vectors are too few to analyse; give at least 20"),
    ("latents equal", "analyze equal.h5 --out r", "equal.h5: all 50 vectors are equal"),
    ("report's parent missing", "analyze few.h5 --out no/r", "does not exist; create it first"),
    ("report among images", "analyze few.h5 --out mixed", "mixed: was not written by lsampler"),
    ("threshold no number", "analyze few.h5 --out r --threshold high", "'--threshold': Input should be a valid number"),
    ("pair of one", "analyze few.h5 --out r --pair 1", "--pair 1: write it as two components, such as 118,164"),
    ("pair negative", "analyze few.h5 --out r --pair=-1,2", "--pair -1,2: write it as two components"),
    ("trim negative", "analyze few.h5 --out r --trim -1", "--trim -1.0: give a number of half-widths above 0"),
    ("plugin to show", "plugins show gausian", "no plugin 'gausian'; did you mean 'gaussian'?"),
]  # fmt: skip


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, tiny_model_bytes: bytes) -> Path:
    """A folder of files that are each wrong in one way."""
    folder = tmp_path_factory.mktemp("bad")
    for name in ("bare", "mixed"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / "mixed" / "good.png")
    (folder / "mixed" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    (folder / "there.png").write_bytes(b"keep me")
    (folder / "model.onnx").write_bytes(b"?")
    (folder / "empty.h5").touch()
    (folder / "tiny.safetensors").write_bytes(tiny_model_bytes)
    (folder / "cut.safetensors").write_bytes(tiny_model_bytes[: len(tiny_model_bytes) // 2])
    save_file({"weight": np.zeros(3)}, folder / "foreign.safetensors")
    np.save(folder / "images.npy", rng.uniform(size=(12, 8, 8)).astype(np.float32))
    np.save(folder / "range.npy", rng.uniform(0, 255, size=(12, 8, 8)).astype(np.float32))
    few, equal = rng.normal(size=(5, 6)).astype(np.float32), np.full((50, 6), 0.1, np.float32)
    store_of(folder / "few.h5", few, encoder="somebody else's")
    for name, rows in (("anonymous.h5", few), ("equal.h5", equal)):
        store_of(folder / name, rows)
    whole = (folder / "equal.h5").read_bytes()
    (folder / "cut.h5").write_bytes(whole[: len(whole) // 2])
    for name, rows in (("none.h5", 0), ("nan.h5", 5)):
        (folder / name).write_bytes((folder / "few.h5").read_bytes())
        with h5py.File(folder / name, "r+") as handle:
            handle["latents"].resize(rows, axis=0)
            handle["split"].resize(rows, axis=0)
            if rows:
                handle["latents"][3, 1] = np.nan
    with h5py.File(folder / "foreign.h5", "w") as handle:
        handle["latents"] = few
    return folder


@pytest.mark.parametrize(("arguments", "message"), [row[1:] for row in BAD_INPUT], ids=[row[0] for row in BAD_INPUT])
def test_bad_input_gets_one_line_and_exit_code_2(
    arguments: str, message: str, bad: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bad)
    before = listing(bad)
    answer = cli(*arguments.replace("{dir}", str(bad)).split())
    (line,) = answer.err.strip().splitlines()
    assert answer.code == 2, answer
    assert line.startswith("lsampler: ")
    assert message in line
    assert listing(bad) == before  # nothing overwritten, nothing half-written


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, lsampler: Callable[..., Any]) -> None:
    """The largest file that a process may write is set to 1 MB, as a quota would."""

    def quota() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    answer = lsampler("sample", "-p", "gaussian", "-n", "20000", "--out", tmp_path / "z.h5", preexec_fn=quota)
    (line,) = answer.stderr.strip().splitlines()
    assert answer.returncode == 2
    assert "could not be written" in line
    assert list(tmp_path.iterdir()) == []
