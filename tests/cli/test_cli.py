"""The commands as users type them: what they write, and what they say of bad input."""

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

from lsampler import ConvAutoencoder, LatentStore, StoreWriter, load_bundle, load_sampler, open_store
from lsampler.compute.seeded_blocks import BLOCK_ROWS


def store_of(path: Path, latents: NDArray[Any], **provenance: str) -> Path:
    with StoreWriter(path, latents.shape[1], provenance) as writer:
        writer.append(latents)
    return path


class TestSample:
    def test_grid(self, cli: Callable[..., Any], tmp_path: Path) -> None:
        answer = cli("sample", "--plugin", "pca-ellipse", "--out", tmp_path / "faces.png")
        assert answer.code == 0, answer.err
        assert "64 samples of pca-ellipse" in answer.out
        with Image.open(tmp_path / "faces.png") as grid:
            assert grid.size == (8 * 98 + 2, 8 * 98 + 2)
            assert np.asarray(grid).std() > 20

    def test_folder(self, cli: Callable[..., Any], tmp_path: Path) -> None:
        answer = cli("sample", "--plugin", "gaussian", "--n", 5, "--out", tmp_path / "images")
        assert answer.code == 0, answer.err
        assert sorted(p.name for p in (tmp_path / "images").glob("*.png")) == [f"{k:06d}.png" for k in range(5)]

    def test_latent_vectors_with_provenance(self, cli: Callable[..., Any], tmp_path: Path) -> None:
        out = tmp_path / "z.h5"
        answer = cli("sample", "-p", "pca-ellipse", "-n", 5000, "--param", "fact=0.6", "--seed", 9, "--out", out)
        assert answer.code == 0, answer.err
        store, bundle = open_store(out), load_bundle()
        assert len(store) == 5000
        assert store.attributes["sampler"] == "pca-ellipse"
        assert json.loads(store.attributes["parameters"])["fact"] == 0.6
        assert (store.attributes["seed"], store.fingerprint) == (9, bundle.fingerprint)
        expected = load_sampler("pca-ellipse", fact=0.6).fit(bundle).sample(5000, seed=9)
        np.testing.assert_array_equal(store.read(), expected.numpy())

    def test_from_a_model_and_a_store(
        self, cli: Callable[..., Any], tiny_model_file: Path, tiny_store: LatentStore, tmp_path: Path
    ) -> None:
        common = ("--model", tiny_model_file, "--store", tiny_store.path)
        answer = cli("sample", "-p", "multivariate-normal", *common, "-n", 9, "--out", tmp_path / "grid.png")
        assert answer.code == 0, answer.err
        with Image.open(tmp_path / "grid.png") as grid:
            assert (grid.mode, grid.size) == ("L", (32, 32))

    def test_a_store_alone_gives_latent_vectors_but_no_pictures(
        self, cli: Callable[..., Any], tiny_store: LatentStore, tmp_path: Path
    ) -> None:
        assert cli("sample", "-p", "gaussian", "--store", tiny_store.path, "--out", tmp_path / "z.h5").code == 0
        answer = cli("sample", "-p", "gaussian", "--store", tiny_store.path, "--out", tmp_path / "z.png")
        assert answer.code == 2
        assert "no decoder for these latents; give the --model" in answer.err

    def test_decode_gives_the_same_pictures(self, cli: Callable[..., Any], tmp_path: Path) -> None:
        common = ("sample", "-p", "pca-ellipse", "-n", 4, "--out")
        assert cli(*common, tmp_path / "a.png").code == 0
        assert cli(*common, tmp_path / "z.h5").code == 0
        answer = cli("decode", tmp_path / "z.h5", "--out", tmp_path / "b.png")
        assert answer.code == 0, answer.err
        with Image.open(tmp_path / "a.png") as one, Image.open(tmp_path / "b.png") as two:
            np.testing.assert_array_equal(np.asarray(one), np.asarray(two))

    def test_memory_does_not_grow_with_the_rows(self, tmp_path: Path) -> None:
        """Peak memory of 400,000 rows, 410 MB on disk, stays within 100 MB of that of 4,000."""
        # In one process, the few rows first: what has been the peak only grows.
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


class TestFit:
    def test_a_fitted_strategy_draws_what_fitting_and_drawing_at_once_draws(
        self, cli: Callable[..., Any], tiny_model_file: Path, tiny_store: LatentStore, tmp_path: Path
    ) -> None:
        fitted, at_once, later = (tmp_path / name for name in ("fitted.safetensors", "a.h5", "b.h5"))
        options = ("-p", "kde", "--param", "bandwidth=0.5", "--store", tiny_store.path, "--model", tiny_model_file)
        assert cli("fit", *options, "--out", fitted).code == 0
        assert cli("sample", *options, "-n", 20, "--seed", 3, "--out", at_once).code == 0
        assert cli("sample", "--fitted", fitted, "-n", 20, "--seed", 3, "--out", later).code == 0
        np.testing.assert_array_equal(open_store(at_once).read(), open_store(later).read())
        assert open_store(later).fingerprint == tiny_store.fingerprint
        pictured = cli("sample", "--fitted", fitted, "--model", tiny_model_file, "--out", tmp_path / "a.png")
        assert pictured.code == 0, pictured.err

    def test_a_fitted_strategy_without_its_decoder_says_which_it_needs(
        self, cli: Callable[..., Any], tiny_store: LatentStore, tmp_path: Path
    ) -> None:
        fitted = tmp_path / "fitted.safetensors"
        assert cli("fit", "-p", "gaussian", "--store", tiny_store.path, "--out", fitted).code == 0
        answer = cli("sample", "--fitted", fitted, "--out", tmp_path / "a.png")
        assert answer.code == 2
        assert "fitted to latents of a model that does not come with lsampler; give that --model" in answer.err
        both = cli("sample", "--fitted", fitted, "-p", "gaussian", "--out", tmp_path / "a.png")
        assert "--plugin: a strategy from --fitted needs none; leave it out" in both.err
        foreign = cli("sample", "--fitted", tiny_store.path, "--out", tmp_path / "a.png")
        assert (foreign.code, foreign.err.count("\n")) == (2, 1)
        assert not (tmp_path / "a.png").exists()


class TestEvaluate:
    def test_all_strategies_beside_real_vectors(self, cli: Callable[..., Any], tmp_path: Path) -> None:
        answer = cli("evaluate", "--all", "-n", 200, "--json", tmp_path / "scores.json")
        assert answer.code == 0, answer.err
        table = json.loads((tmp_path / "scores.json").read_text())
        (caveat,) = table["caveats"]
        assert caveat.startswith("no core 'knn': needs real vectors; celeba96 holds statistics only, give `store=...`")
        rows = {row["name"]: row for row in table["rows"]}
        assert "held-out real vectors" in rows
        assert "elliptical" in rows
        assert "left out: kde needs latent vectors, celeba96 holds statistics only; give a --store" in answer.out
        for row in rows.values():
            assert {score["metric"] for score in row["scores"]} == {
                f"{core}/{kind}"
                for core in ("interval", "pair-ellipses", "pca-ellipses", "ellipsoid")
                for kind in ("nominal", "calibrated")
            }
            for score in row["scores"]:
                assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
        value = {name: {s["metric"]: s["value"] for s in row["scores"]} for name, row in rows.items()}
        assert value["held-out real vectors"]["pca-ellipses/calibrated"] > 0.9
        assert value["pca-ellipse"]["pca-ellipses/calibrated"] == 1
        assert value["uniform-cube"]["ellipsoid/calibrated"] == 0

    def test_samples_made_earlier(self, cli: Callable[..., Any], tmp_path: Path) -> None:
        assert cli("sample", "-p", "gaussian", "-n", 300, "--out", tmp_path / "z.h5").code == 0
        from_file = cli("evaluate", tmp_path / "z.h5", "--json", tmp_path / "a.json")
        drawn = cli("evaluate", "-p", "gaussian", "-n", 300, "--json", tmp_path / "b.json")
        assert (from_file.code, drawn.code) == (0, 0)
        a, b = (json.loads((tmp_path / name).read_text())["rows"][1]["scores"] for name in ("a.json", "b.json"))
        assert a == b

    def test_of_very_many_samples_in_a_file_an_even_choice_is_scored(
        self, cli: Callable[..., Any], tiny_store: LatentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = np.concatenate([tiny_store.read(), 1000 + tiny_store.read()])
        store_of(tmp_path / "two.h5", rows)
        monkeypatch.setattr("lsampler.scoring.sample_sets.MOST_BYTES", 100 * 4 * tiny_store.dimension)
        answer = cli("evaluate", tmp_path / "two.h5", "--store", tiny_store.path, "--json", tmp_path / "a.json")
        assert f"100 of {len(rows):,} vectors are scored, evenly spaced" in answer.out
        row = json.loads((tmp_path / "a.json").read_text())["rows"][-1]
        assert row["n"] == 100
        inside = {score["metric"]: score["value"] for score in row["scores"]}
        # Half of them are far away: the first 100 alone would all be real ones.
        assert inside["ellipsoid/calibrated"] == pytest.approx(0.475, abs=0.05)

    def test_a_store_with_held_out_vectors(self, cli: Callable[..., Any], tiny_store: LatentStore) -> None:
        answer = cli("evaluate", "-p", "multivariate-normal", "--store", tiny_store.path)
        assert answer.code == 0, answer.err
        assert "held-out real" in answer.out


class TestBundle:
    def test_sums_up_a_model_and_its_store(
        self, cli: Callable[..., Any], tiny_model_file: Path, tiny_store: LatentStore, tmp_path: Path
    ) -> None:
        out = tmp_path / "tiny-bundle.safetensors"
        answer = cli("bundle", out, "--model", tiny_model_file, "--store", tiny_store.path)
        assert answer.code == 0, answer.err
        # Fitted to the bundle or to the store, a strategy draws the same.
        for name in ("gaussian", "multivariate-normal", "component-uniform"):
            stored = load_sampler(name).fit(tiny_store).sample(50)
            bundled = load_sampler(name).fit(load_bundle(str(out))).sample(50)
            assert torch.equal(stored, bundled)
        ours = load_sampler("pca-ellipse", half_width="histogram", components=4)
        assert torch.equal(ours.fit(tiny_store).sample(9), ours.fit(load_bundle(str(out))).sample(9))
        # and is scored the same, without any vector in the bundle
        tables = []
        for where in (("--model", out), ("--model", tiny_model_file, "--store", tiny_store.path)):
            json_file = tmp_path / f"{len(where)}.json"
            assert cli("evaluate", "-p", "gaussian", *where, "--json", json_file).code == 0
            tables.append(json.loads(json_file.read_text()))
        for one, two in zip(*(table["rows"] for table in tables), strict=True):
            assert one["n"] == two["n"]
            of_bundle, of_store = ({s["metric"]: s["value"] for s in row["scores"]} for row in (one, two))
            # The balls of the core knn are vectors, which no bundle has.
            missing = {metric for metric in of_store if metric.startswith("knn/")}
            assert of_bundle == pytest.approx({m: v for m, v in of_store.items() if m not in missing}, abs=0.005)
        assert [caveat.split(":")[0] for table in tables for caveat in table["caveats"]] == ["no core 'knn'"]

    def test_holds_no_latent_vectors(self) -> None:
        with pytest.raises(Exception, match="statistics only"):
            list(load_bundle().reference.chunks())

    def test_refuses_the_store_of_another_encoder(
        self, cli: Callable[..., Any], tiny_model_file: Path, tmp_path: Path
    ) -> None:
        other = store_of(tmp_path / "other.h5", np.random.default_rng(0).normal(size=(50, 6)), encoder="somebody")
        answer = cli("bundle", tmp_path / "b.safetensors", "--model", tiny_model_file, "--store", other)
        assert answer.code == 2
        assert "another encoder" in answer.err


# Every row: what is wrong, the arguments, what the one line must say. {dir} holds the files of `bad`.
BAD_INPUT = [
    ("unknown strategy", "sample -p pca-elipse", "no sampler 'pca-elipse'; did you mean 'pca-ellipse'?"),
    ("unknown parameter", "sample -p pca-ellipse --param factor=1", "no parameter 'factor'; did you mean 'fact'?"),
    ("parameter of wrong type", "sample -p pca-ellipse --param fact=big", "fact=big is not valid: give a number"),
    ("parameter out of range", "sample -p pca-ellipse --param fact=-1", "give a number, above 0"),
    ("parameter without value", "sample -p pca-ellipse --param fact", "write it as key=value"),
    ("choice", "sample -p pca-ellipse --param method=guess", "method=guess is not valid: give exact or iteration"),
    ("q larger than D", "sample -p pca-ellipse --param components=257", "more than the latent dimension 256"),
    ("n of zero", "sample -p gaussian -n 0", "Input should be greater than or equal to 1"),
    ("negative seed", "sample -p gaussian --seed -1", "'--seed': Input should be greater than or equal to 0"),
    ("device", "sample -p gaussian --device abacus", "device 'abacus' is unknown; use auto, cpu, cuda or mps"),
    ("option missing", "sample", "nothing to draw; give --plugin NAME, or --fitted FILE"),
    ("unknown command", "smaple", "No such command 'smaple'"),
    ("trim of a bundle", "sample -p pca-ellipse --param trim=1.5", "statistics for trim=1.7 or none, not 1.5; give --store"),
    ("output exists", "sample -p gaussian --out {dir}/there.png", "there.png: exists already; choose another name or add --force"),
    ("output folder missing", "sample -p gaussian --out {dir}/no/x.png", "does not exist; create it first"),
    ("output of odd kind", "sample -p gaussian --out {dir}/x.gif", "give a .png for a grid"),
    ("too many for one picture", "sample -p gaussian -n 5000 --out {dir}/x.png", "too many for one picture"),
    ("unknown bundle", "sample -p gaussian --model celeba69", "no bundle 'celeba69'; did you mean 'celeba96'?"),
    ("model missing", "sample -p gaussian --model {dir}/no.safetensors", "no.safetensors: no such model file; check the path"),
    ("model empty", "sample -p gaussian --model {dir}/empty.safetensors", "empty.safetensors: is empty"),
    ("model truncated", "sample -p gaussian --model {dir}/cut.safetensors", "cut.safetensors: not a readable safetensors file"),
    ("model foreign", "encode {dir}/images.npy --model {dir}/foreign.safetensors --out {dir}/x.h5", "not an autoencoder made by"),
    ("model of unknown kind", "sample -p gaussian --model {dir}/model.odd", "nothing opens it; give a bundle's name"),
    ("model without statistics", "sample -p gaussian --model {dir}/tiny.safetensors", "give --store, the store of its latents"),
    ("store missing", "sample -p gaussian --store {dir}/no.h5", "no.h5: no such latent store; check the path"),
    ("store empty", "sample -p gaussian --store {dir}/empty.h5", "empty.h5: is empty"),
    ("store truncated", "sample -p gaussian --store {dir}/cut.h5", "cut.h5: not a readable HDF5 file; it may be truncated"),
    ("store foreign", "sample -p gaussian --store {dir}/foreign.h5", "foreign.h5: an HDF5 file, but not a latent store"),
    ("store is a folder", "sample -p gaussian --store {dir}", "is a folder, expected a latent store"),
    ("store with NaN", "evaluate -p gaussian --store {dir}/nan.h5", "row 3 holds NaN or infinite values"),
    ("store without rows", "sample -p gaussian --store {dir}/none.h5 --out {dir}/x.h5", "0 latent vectors, statistics need at least 2"),
    ("store of one row", "sample -p gaussian --store {dir}/one.h5 --out {dir}/x.h5", "1 latent vectors, statistics need at least 2"),
    ("constant component", "sample -p gaussian --store {dir}/constant.h5 --out {dir}/x.h5", "component 2 is constant"),
    ("singular covariance", "sample -p multivariate-normal --store {dir}/few.h5 --out {dir}/x.h5", "has rank 4, 6 components are wanted"),
    ("model and store of two encoders", "sample -p gaussian --model {dir}/tiny.safetensors --store {dir}/few.h5", "does not belong to these latents"),
    ("samples of another encoder", "decode {dir}/few.h5 --model celeba96", "does not belong to these latents"),
    ("samples of unknown encoder", "decode {dir}/few.h5", "give that --model"),
    ("samples with another D", "decode {dir}/anonymous.h5 --model celeba96", "D = 6, the decoder takes 256"),
    ("decoding to latents", "decode {dir}/few.h5 --out {dir}/x.h5", "decoding gives images"),
    ("scoring nothing", "evaluate", "nothing to score"),
    ("scoring with another D", "evaluate {dir}/anonymous.h5", "D of celeba96 is 256"),
    ("param for many", "evaluate --all --param fact=1", "--param goes with exactly one --plugin"),
    ("unknown evaluator", "evaluate -p gaussian -e face", "no evaluator 'face'; did you mean 'faces'?"),
    ("images missing", "encode {dir}/nothing --out {dir}/x.h5", "no such file or folder; check the path of the images"),
    ("images of odd kind", "encode {dir}/model.onnx --out {dir}/x.h5", "not a source of images; give a folder"),
    ("folder without images", "encode {dir}/bare --out {dir}/x.h5", "holds no images"),
    ("images out of range", "encode {dir}/range.npy --model {dir}/tiny.safetensors --out {dir}/x.h5", "scale floats to [0, 1]"),
    ("strict", "encode {dir}/mixed --strict --model {dir}/tiny.safetensors --held-out 0 --out {dir}/x.h5", "image 'bad.png' cannot be decoded"),
    ("held out too many", "encode {dir}/images.npy --held-out 12 --model {dir}/tiny.safetensors --out {dir}/x.h5", "must leave some"),
    ("size not divisible", "train {dir}/images.npy --size 10 --out {dir}/run", "image size 10 must be a multiple of 16"),
    ("filters", "train {dir}/images.npy --filters 8,x --out {dir}/run", "--filters"),
    ("crop", "train {dir}/images.npy --crop center --out {dir}/run", "crop 'center' is unknown; did you mean 'centre'?"),
    ("nothing to resume", "train {dir}/images.npy --size 8 --filters 4 --resume --out {dir}/run", "no checkpoint to resume"),
    ("plugin to show", "plugins show gausian", "no plugin 'gausian'; did you mean 'gaussian'?"),
]  # fmt: skip


@pytest.fixture
def bad(tmp_path: Path, tiny_model: ConvAutoencoder) -> Path:
    """A folder of everything that may be wrong with a file."""
    folder = tmp_path / "bad"
    (folder / "bare").mkdir(parents=True)
    (folder / "mixed").mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / "mixed" / "good.png")
    (folder / "mixed" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    (folder / "there.png").write_bytes(b"keep me")
    (folder / "model.onnx").write_bytes(b"?")
    for name in ("empty.safetensors", "empty.h5"):
        (folder / name).touch()
    tiny_model.save(folder / "tiny.safetensors")
    whole = (folder / "tiny.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    save_file({"weight": np.zeros(3)}, folder / "foreign.safetensors")
    np.save(folder / "images.npy", rng.uniform(size=(12, 8, 8)).astype(np.float32))
    np.save(folder / "range.npy", rng.uniform(0, 255, size=(12, 8, 8)).astype(np.float32))
    few = rng.normal(size=(5, 6)).astype(np.float32)
    store_of(folder / "few.h5", few, encoder="somebody else's")
    store_of(folder / "anonymous.h5", few)
    store_of(folder / "one.h5", few[:1])
    constant = rng.normal(size=(50, 6)).astype(np.float32)
    constant[:, 2] = 0.1
    store_of(folder / "constant.h5", constant)
    whole = (folder / "constant.h5").read_bytes()
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


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(("arguments", "message"), [row[1:] for row in BAD_INPUT], ids=[row[0] for row in BAD_INPUT])
def test_bad_input_gets_one_line_and_exit_code_2(
    arguments: str, message: str, bad: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bad)
    before = listing(bad)
    answer = cli(*arguments.replace("{dir}", str(bad)).split())
    lines = answer.err.strip().splitlines()
    assert answer.code == 2, answer
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("lsampler: ")
    assert message in lines[0]
    assert listing(bad) == before  # nothing overwritten, nothing half-written


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, lsampler: Callable[..., Any]) -> None:
    """The largest file a process may write is set to 1 MB, as a quota would."""

    def quota() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    answer = lsampler("sample", "-p", "gaussian", "-n", "20000", "--out", tmp_path / "z.h5", preexec_fn=quota)
    assert answer.returncode == 2, answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert "could not be written" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_force_replaces_an_output(cli: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "grid.png"
    out.write_bytes(b"old")
    assert cli("sample", "-p", "gaussian", "-n", 4, "--out", out, "--force").code == 0
    with Image.open(out) as grid:
        assert grid.size == (198, 198)


def test_force_replaces_a_folder_of_samples_but_no_other(cli: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "images"
    for n in (5, 3):
        assert cli("sample", "-p", "gaussian", "-n", n, "--out", out, "--force").code == 0
        assert len(list(out.glob("*.png"))) == n
    (out / "wedding.jpg").write_bytes(b"precious")
    answer = cli("sample", "-p", "gaussian", "-n", 3, "--out", out, "--force")
    assert answer.code == 2
    assert "holds 'wedding.jpg', so it is not replaced" in answer.err
    assert len(list(out.glob("*.*g"))) == 4
    (own := tmp_path / "celeba").mkdir()
    (own / "000001.png").write_bytes(b"precious")
    answer = cli("sample", "-p", "gaussian", "-n", 3, "--out", own, "--force")
    assert answer.code == 2
    assert "was not written by lsampler" in answer.err
    assert (own / "000001.png").read_bytes() == b"precious"


@pytest.mark.parametrize("arguments", [["--help"], ["sample", "--help"], ["evaluate", "--help"], ["plugins", "--help"]])
def test_help_does_not_import_torch(arguments: list[str]) -> None:
    script = (
        "import sys; sys.argv = ['lsampler', *sys.argv[1:]]\n"
        "from lsampler.cli import main\n"
        "try: main()\n"
        "finally: print('loaded:', sorted({'torch', 'scipy', 'h5py', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert "loaded: []" in done.stdout


@pytest.mark.parametrize("command", ["sample", "decode", "evaluate", "train", "encode", "bundle", "store", "plugins"])
def test_every_command_has_help_with_examples(command: str, cli: Callable[..., Any]) -> None:
    answer = cli(command, "--help")
    assert answer.code == 0
    assert f"lsampler {command}" in answer.out.split("Examples", 1)[1]


def test_version(cli: Callable[..., Any]) -> None:
    answer = cli("--version")
    assert (answer.code, answer.out.split()[0]) == (0, "lsampler")


def test_results_do_not_depend_on_the_number_of_threads_of_the_machine(tmp_path: Path) -> None:
    """Two processes, one confined to a single thread, draw the same rows."""
    files = []
    for threads in ("1", "4"):
        out = tmp_path / f"{threads}.h5"
        subprocess.run(
            [sys.executable, "-m", "lsampler", "sample", "-p", "multivariate-normal", "-n", str(BLOCK_ROWS + 9), "--out", out],
            env=os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
            check=True,
            capture_output=True,
        )  # fmt: skip
        files.append(open_store(out).read())
    np.testing.assert_array_equal(files[0], files[1])
