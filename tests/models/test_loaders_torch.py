"""Autoencoders made with PyTorch as --model: Python, torch.export, TorchScript, ONNX."""

# ruff: noqa: E501  (a table of bad input, a row a line)

from __future__ import annotations

import io
import logging
import re
import sys
import warnings
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from support import check_model, run_in_one_process, wrong_models
from torch import nn
from torch_models import GREY, TRUSTED, VAE, Made, export, export_onnx, module_of, save_onnx

from lsampler import (
    Autoencoder,
    LsamplerError,
    load_autoencoder,
    open_store,
    plugin_names,
)


@pytest.fixture(scope="module")
def images_npy(made: Made, digits: NDArray[np.float32]) -> Path:
    path = made.folder / "images.npy"
    np.save(path, digits[:60])
    return path


# Every specification of the same model, and the parameters that it needs.
SAME: list[tuple[str, dict[str, Any]]] = [
    ("{dir}/vae.py:Vae", GREY),
    ("{dir}/vae.py:pair", GREY),
    ("{dir}/vae.py:methods", GREY),
    ("{dir}/vae.py:ready", GREY),
    ("{dir}/vae.py:double", GREY),
    ("vae:Vae", GREY),
    ("{dir}/enc.pt2+{dir}/dec.pt2", TRUSTED),
    ("{dir}/enc.ts+{dir}/dec.ts", GREY | TRUSTED),
    ("{dir}/enc.pt+{dir}/dec.pt", GREY | TRUSTED),
    ("{dir}/enc.onnx+{dir}/dec.onnx", {}),
]
# One of each loader.
EACH = [SAME[1], SAME[6], SAME[7], SAME[9]]


def ids(rows: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [spec.replace("{dir}/", "") for spec, _ in rows]


class TestSameResult:
    @pytest.mark.parametrize(("spec", "parameters"), SAME, ids=ids(SAME))
    def test_encodes_and_decodes_as_the_library_itself(
        self, spec: str, parameters: dict[str, Any], made: Made, opened: Callable[..., Any]
    ) -> None:
        model = opened(spec, **parameters)
        assert isinstance(model, Autoencoder)
        assert (model.dimension, model.preprocess.size, model.preprocess.channels) == (6, 8, 1)
        for batch in (1, 5, 300):
            given = torch.rand(batch, 1, 8, 8, generator=torch.Generator().manual_seed(batch))
            made.check(model, given)

    @pytest.mark.parametrize(("spec", "parameters"), EACH, ids=ids(EACH))
    def test_another_value_range_is_what_the_model_sees(
        self, spec: str, parameters: dict[str, Any], made: Made, opened: Callable[..., Any]
    ) -> None:
        model = opened(spec, **parameters, value_range="-1..1")
        latents, decoded = made.expected(made.images * 2 - 1)
        check_model(model, made.images, latents, (decoded + 1) / 2)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    @pytest.mark.parametrize(("spec", "parameters"), EACH, ids=ids(EACH))
    def test_the_same_on_a_gpu(
        self, spec: str, parameters: dict[str, Any], made: Made, opened: Callable[..., Any]
    ) -> None:
        model = opened(spec, **parameters).to(torch.device("cuda"))
        made.check(model, made.images, tolerance=1e-3)


class TestCommandLine:
    @pytest.mark.parametrize(("spec", "parameters"), EACH, ids=ids(EACH))
    def test_encode_sample_decode(
        self,
        spec: str,
        parameters: dict[str, Any],
        made: Made,
        images_npy: Path,
        digits: NDArray[np.float32],
        cli: Callable[..., Any],
        tmp_path: Path,
    ) -> None:
        model = ["--model", spec.format(dir=made.folder)]
        for key, value in parameters.items():
            model += ["--model-param", f"{key}={str(value).lower()}"]
        store, vectors = tmp_path / "x.h5", tmp_path / "z.h5"
        commands: list[list[Any]] = [
            ["encode", images_npy, *model, "--held-out", 10, "--out", store],
            ["sample", "-p", "multivariate-normal", "-n", 9, *model, "--store", store, "--out", tmp_path / "new.png"],
            ["sample", "-p", "multivariate-normal", "-n", 9, *model, "--store", store, "--out", vectors],
            ["decode", vectors, *model, "--out", tmp_path / "later.png"],
        ]
        for command in commands:
            answer = cli(*command)
            assert (answer.code, answer.err) == (0, ""), command
        expected = made.expected(torch.from_numpy(digits[:60, np.newaxis]))[0]
        latents = open_store(store)
        np.testing.assert_allclose(latents.read(), expected, rtol=0, atol=1e-5)
        assert (latents.count("train"), latents.count("held-out")) == (50, 10)
        assert (tmp_path / "new.png").read_bytes() == (tmp_path / "later.png").read_bytes()

    def test_the_store_of_other_settings_is_refused(
        self, made: Made, images_npy: Path, cli: Callable[..., Any], tmp_path: Path
    ) -> None:
        model = ["--model", f"{made.folder}/vae.py:pair", "--model-param", "size=8", "--model-param", "channels=1"]
        store = tmp_path / "x.h5"
        assert cli("encode", images_npy, *model, "--out", store).code == 0
        other = ["--model-param", "value_range=-1..1", "--store", store, "--out", tmp_path / "x.png"]
        assert cli("evaluate", "-p", "gaussian", *model, "--store", store).code == 0
        answer = cli("sample", "-p", "gaussian", *model, *other)
        assert answer.code == 2
        assert "does not belong to these latents" in answer.err
        assert "with the same --model-param" in answer.err

    def test_loaders_are_listed_with_what_runs_code(self, cli: Callable[..., Any]) -> None:
        assert {"python-object", "torch-export", "torchscript", "onnx"} <= set(plugin_names("autoencoder loader"))
        for name, said in (("python-object", "runs the code"), ("torch-export", "can run"), ("torchscript", "can run")):
            assert said in " ".join(cli("plugins", "show", name).out.split())


class TestFingerprint:
    @pytest.mark.parametrize(("spec", "parameters"), EACH, ids=ids(EACH))
    def test_stays_and_differs_by_settings(
        self, spec: str, parameters: dict[str, Any], opened: Callable[..., Any]
    ) -> None:
        first = opened(spec, **parameters).fingerprint
        assert opened(spec, **parameters).fingerprint == first
        assert opened(spec, **parameters, crop="none").fingerprint != first

    def test_of_python_changes_with_the_weights(self, made: Made, opened: Callable[..., Any]) -> None:
        (made.folder / "other.py").write_text(VAE.replace("manual_seed(3)", "manual_seed(4)"))
        assert opened("{dir}/vae.py:pair", **GREY).fingerprint != opened("{dir}/other.py:pair", **GREY).fingerprint

    def test_of_onnx_changes_with_weights_beside_the_model(self, made: Made, opened: Callable[..., Any]) -> None:
        outside = {"save_as_external_data": True, "size_threshold": 0, "convert_attribute": True}
        onnx.save(onnx.load(made.folder / "enc.onnx"), made.folder / "outside.onnx", location="w" * 140, **outside)
        spec = "{dir}/outside.onnx+{dir}/dec.onnx"
        first = opened(spec)
        torch.testing.assert_close(first.encode(made.images), made.expected(made.images)[0], rtol=0, atol=1e-5)
        weights = made.folder / ("w" * 140)
        content = np.fromfile(weights, np.float32)
        content[0] += 1
        content.tofile(weights)
        assert opened(spec).fingerprint != first.fingerprint


class TestOnnx:
    def test_another_output_by_name(self, made: Made, opened: Callable[..., Any]) -> None:
        model = opened("{dir}/enc.onnx+{dir}/dec.onnx", output="log_variance")
        expected = made.vae.encoder(made.images)[1]
        torch.testing.assert_close(model.encode(made.images), expected, rtol=0, atol=1e-5)
        assert model.fingerprint != opened("{dir}/enc.onnx+{dir}/dec.onnx").fingerprint

    @pytest.mark.parametrize(("kind", "tolerance"), [(TensorProto.DOUBLE, 1e-6), (TensorProto.FLOAT16, 2e-3)])
    def test_other_precisions_and_channels_last(
        self, kind: int, tolerance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """(B, 8, 8, 3) halved in the model, flattened by nobody: latents are (B, 8, 8, 3)."""
        for name, factor in (("enc.onnx", 0.5), ("dec.onnx", 2.0)):
            node = helper.make_node("Mul", ["given", "factor"], ["result"])
            constant = helper.make_tensor("factor", kind, [], [factor])
            save_onnx(tmp_path / name, node, kind, ["batch", 8, 8, 3], constant)
        monkeypatch.chdir(tmp_path)
        model = load_autoencoder("enc.onnx+dec.onnx", channel_order="last")
        given = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        latents = model.encode(given)
        assert (latents.dtype, model.preprocess.size, model.preprocess.channels) == (torch.float32, 8, 3)
        torch.testing.assert_close(latents, given.permute(0, 2, 3, 1).flatten(1) / 2, rtol=0, atol=tolerance)
        torch.testing.assert_close(model.decode(latents), given, rtol=0, atol=2 * tolerance)


class TestPrograms:
    def test_nothing_is_opened_before_it_is_trusted(
        self, made: Made, opened: Callable[..., Any], monkeypatch: Any
    ) -> None:
        for library in (torch.export, torch.jit):
            monkeypatch.setattr(library, "load", Mock(side_effect=AssertionError("opened")))
        for suffix in ("pt2", "ts"):
            with pytest.raises(LsamplerError, match="trusted=True"):
                opened(f"{{dir}}/enc.{suffix}+{{dir}}/dec.{suffix}", **GREY)

    def test_torch_export_load_does_run_what_is_in_a_file(self, made: Made, tmp_path: Path) -> None:
        """Why trust is asked for: when this fails, PyTorch has become safer and the docs can say so."""
        evil, witness = tmp_path / "evil.pt2", tmp_path / "ran"

        class Payload:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (witness,)

        pickled = io.BytesIO()
        torch.save(((Payload(),), {}), pickled)
        rewritten(made.folder / "enc.pt2", evil, "data/sample_inputs/model.pt", lambda _: pickled.getvalue())
        logging.getLogger("torch._export.serde.serialize").setLevel(logging.CRITICAL)
        with pytest.raises(LsamplerError, match="trusted=True"):
            load_autoencoder(f"{evil}+{made.folder}/dec.pt2")
        assert not witness.exists()
        load_autoencoder(f"{evil}+{made.folder}/dec.pt2", trusted=True)
        assert witness.exists()

    def test_a_torchscript_in_another_precision_is_run_in_single_precision(self, made: Made, tmp_path: Path) -> None:
        twice = module_of(made.folder / "vae.py", "made_double").Vae().eval().double()
        torch.jit.trace(twice.encoder, made.images.double()).save(tmp_path / "enc.ts")
        torch.jit.trace(twice.decoder, torch.zeros(5, 6, dtype=torch.float64)).save(tmp_path / "dec.ts")
        made.check(load_autoencoder(f"{tmp_path}/enc.ts+{tmp_path}/dec.ts", **GREY, **TRUSTED), made.images)

    def test_a_torch_export_without_fixed_size_takes_the_declared_one(self, made: Made, tmp_path: Path) -> None:
        shapes = ({0: torch.export.Dim("batch"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")},)
        program = torch.export.export(nn.Tanh(), (torch.rand(2, 3, 12, 16),), dynamic_shapes=shapes)
        torch.export.save(program, tmp_path / "half.pt2")
        spec = f"{tmp_path}/half.pt2+{tmp_path}/half.pt2"
        with pytest.raises(LsamplerError, match="does not say its image size"):
            load_autoencoder(spec, trusted=True)
        model = load_autoencoder(spec, trusted=True, size=20)
        assert (model.preprocess.size, model.preprocess.channels, model.dimension) == (20, 3, 1200)


def rewritten(source: Path, target: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    """A copy of an archive with one member changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            root, _, name = entry.filename.partition("/")
            name = f"{target.stem}/{name}"
            new.writestr(name, change(content) if entry.filename == f"{root}/{member}" else content)


class Flattened(nn.Module):
    """As many write it: a program traced from it holds the size of the batch."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.view(int(images.shape[0]), -1)


@pytest.fixture(scope="module")
def bad(made: Made, images_npy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what may be wrong with a model."""
    folder = tmp_path_factory.mktemp("bad")
    for path in made.folder.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "empty.pt2").touch()
    for suffix in ("pt2", "onnx"):
        whole = (folder / f"enc.{suffix}").read_bytes()
        (folder / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray((folder / "enc.pt2").read_bytes())
    damaged[damaged.rindex(b"PK\x01\x02")] = 0  # in the list of members: the end is still that of an archive
    (folder / "damaged.pt2").write_bytes(damaged)
    members = {"other": "readme.txt", "compiled": "data/aotinductor/model/model.so", "bare": "models/model.json"}
    for name, member in members.items():
        with zipfile.ZipFile(folder / f"{name}.pt2", "w") as archive:
            archive.writestr(f"{name}/{member}", "{}")
    torch.save(made.vae.encoder.state_dict(), folder / "weights.pt")
    (folder / "renamed.ts").write_bytes((folder / "enc.pt2").read_bytes())
    (folder / "images.onnx").write_bytes((folder / "images.npy").read_bytes())
    one = torch.rand(1, 1, 8, 8)
    torch.export.save(torch.export.export(made.vae.encoder, (one,)), folder / "static.pt2")
    export(made.vae.encoder, folder / "small.pt2", made.images, 64)
    rewritten(
        folder / "enc.pt2",
        folder / "cuda.pt2",
        "data/weights/model_weights_config.json",
        lambda content: content.replace(b'"type": "cpu", "index": null', b'"type": "cuda", "index": 77'),
    )
    export_onnx(made.vae.encoder, folder / "static.onnx", one, axes=())
    export_onnx(made.vae.decoder, folder / "static_dec.onnx", torch.zeros(2, 6), axes=())
    training = module_of(folder / "vae.py", "made_again").Vae().encoder
    export(training.train(), folder / "training.pt2", made.images)
    five = nn.Sequential(nn.Linear(5, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
    export(five, folder / "five.pt2", torch.zeros(3, 5))
    export_onnx(five, folder / "five.onnx", torch.zeros(3, 5))
    save_onnx(folder / "integers.onnx", helper.make_node("Identity", ["in0"], ["out"]), TensorProto.INT64, IMAGES)
    kernel = helper.make_tensor("w", TensorProto.DOUBLE, [1, 1, 3, 3], [0.0] * 9)
    save_onnx(
        folder / "double.onnx", helper.make_node("Conv", ["in0", "w"], ["out"]), TensorProto.DOUBLE, IMAGES, kernel
    )
    for name, versions in (("ir", {"ir_version": 99}), ("opset", {"opset_imports": [helper.make_opsetid("", 99)]})):
        onnx.save(helper.make_model(onnx.load(folder / "enc.onnx").graph, **versions), folder / f"{name}.onnx")
    baked = nn.Sequential(Flattened(), nn.Linear(64, 6))
    for suffix, save in (
        ("ts", lambda path: torch.jit.trace(baked, one[[0, 0]]).save(path)),
        ("onnx", lambda path: export_onnx(baked, path, one[[0, 0]])),
    ):
        save(folder / f"baked.{suffix}")
    onnx.save(
        onnx.load(folder / "enc.onnx"),
        folder / "apart.onnx",
        location="gone",
        save_as_external_data=True,
        size_threshold=0,
    )
    (folder / "gone").unlink()
    save_onnx(folder / "two.onnx", helper.make_node("Sum", ["in0", "in1"], ["out"]), TensorProto.FLOAT, IMAGES)
    return folder


S, T = "size=8 channels=1", "trusted=true"
ONNXRUNTIME = version("onnxruntime")
IMAGES = ["b", 1, 8, 8]
BAD_INPUT = [
    ("pt2: not trusted", "enc.pt2+dec.pt2", "", "enc.pt2+dec.pt2: opening a program of torch.export can run any code that is in it"),
    ("pt2: one only", "enc.pt2", T, "enc.pt2': give two files, encoder and decoder, as ENCODER.pt2+DECODER.pt2"),
    ("pt2: encoder missing", "no.pt2+dec.pt2", T, "no.pt2: no such file of the encoder; check the path"),
    ("pt2: decoder missing", "enc.pt2+no.pt2", T, "no.pt2: no such file of the decoder; check the path"),
    ("pt2: empty", "empty.pt2+dec.pt2", T, "empty.pt2: is empty"),
    ("pt2: truncated", "cut.pt2+dec.pt2", T, "cut.pt2: not a program of torch.export, or truncated; make it again"),
    ("pt2: damaged", "damaged.pt2+dec.pt2", T, "damaged.pt2: not a program of torch.export, or truncated; make it again"),
    ("pt2: other archive", "other.pt2+dec.pt2", T, "other.pt2: not a program of torch.export but some other archive"),
    ("pt2: compiled", "compiled.pt2+dec.pt2", T, "compiled by AOTInductor for one machine; use torch.export.save instead"),
    ("pt2: swapped", "dec.pt2+enc.pt2", T, "dec.pt2: takes shape (any, 6), not images; the encoder comes first, then the decoder"),
    ("pt2: static", "static.pt2+dec.pt2", T, "static.pt2: takes batches of exactly 1; export it again with a dynamic batch dimension"),
    ("pt2: bare", "bare.pt2+dec.pt2", T, "cannot open it (Expected hasRecord("),
    ("pt2: limited", "small.pt2+dec.pt2", T, "small.pt2: takes batches of 64 at most; export it again without this limit"),
    ("pt2: another device", "cuda.pt2+dec.pt2", T, "cuda.pt2: this PyTorch"),
    ("pt2: training mode", "training.pt2+dec.pt2", T, "the encoder gives another result each time"),
    ("pt2: mismatched", "enc.pt2+five.pt2", T, "the decoder does not take latents of shape (2, 6)"),
    ("pt2: size contradicts", "enc.pt2+dec.pt2", T + " size=16", "the model takes images of size 8, not 16; leave out --model-param size=..."),
    ("ts: not trusted", "enc.ts+dec.ts", S, "opening a TorchScript program can run any code that is in it"),
    ("ts: weights", "weights.pt+dec.pt", S, "weights.pt: not a TorchScript program but weights or a pickled object, which need the code that made them"),
    ("ts: is a pt2", "renamed.ts+dec.ts", S, "renamed.ts: not a TorchScript program but a program of torch.export"),
    ("ts: swapped", "dec.ts+enc.ts", f"{S} {T}", "the encoder failed on images of shape (2, 1, 8, 8)"),
    ("onnx: truncated", "cut.onnx+dec.onnx", "", "cut.onnx: onnxruntime cannot open it"),
    ("onnx: foreign", "images.onnx+dec.onnx", "", "images.onnx: onnxruntime cannot open it"),
    ("onnx: swapped", "dec.onnx+enc.onnx", "", "dec.onnx: takes shape (any, 6), not images; the encoder comes first"),
    ("onnx: static", "static.onnx+dec.onnx", "", "static.onnx: takes batches of exactly 1; export it again with a dynamic batch dimension"),
    ("onnx: static decoder", "enc.onnx+static_dec.onnx", "", "static_dec.onnx: takes batches of exactly 2; export it again"),
    ("ts: batch in the program", "baked.ts+dec.ts", f"{S} {T}", "the encoder takes batches of exactly 2; export it again with a dynamic batch dimension"),
    ("onnx: batch in the program", "baked.onnx+dec.onnx", "", "the encoder takes batches of exactly 2; export it again"),
    ("onnx: newer format", "ir.onnx+dec.onnx", "", "Unsupported model IR version: 99, max supported IR version: "),
    ("onnx: newer operators", "opset.onnx+dec.onnx", "", "till opset"),
    ("onnx: no kernel", "double.onnx+dec.onnx", "", "Could not find an implementation for Conv(11)"),
    ("onnx: no kernel, what to do", "double.onnx+dec.onnx", "", "cannot run it on a CPU; export it in single precision"),
    ("onnx: newer operators, what to do", "opset.onnx+dec.onnx", "", f"upgrade onnxruntime ({ONNXRUNTIME} is installed)"),
    ("onnx: weights gone", "apart.onnx+dec.onnx", "", "its weights are in a file beside it, which is missing or no regular file; copy both"),
    ("onnx: integers", "integers.onnx+dec.onnx", "", "its input 'in0' is tensor(int64); export one that takes floats"),
    ("onnx: two inputs", "two.onnx+dec.onnx", "", "two.onnx: has 2 inputs (in0, in1)"),
    ("onnx: near output", "enc.onnx+dec.onnx", "output=log_varianse", "enc.onnx: no output 'log_varianse'; did you mean 'log_variance'?"),
    ("onnx: far output", "enc.onnx+dec.onnx", "output=z", "no output 'z'; known: first, log_variance"),
    ("onnx: channels last", "enc.onnx+dec.onnx", "channel_order=last", "enc.onnx: takes images of 1 x 8, only square ones are supported; check channel_order"),
]  # fmt: skip


@wrong_models(BAD_INPUT)
def test_bad_models_get_one_line_and_exit_code_2(
    model: str, parameters: str, message: str, bad: Path, refusal: Callable[..., str]
) -> None:
    assert message in refusal(bad, model, parameters)


def test_the_documents_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    source, *exports = re.findall(r"```python\n(.*?)```", page.split("## pythae")[0], flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("my_model.py").write_text(source)
    net = module_of(tmp_path / "my_model.py", "my_model").Net().eval()
    torch.save(net.state_dict(), "net.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for block in exports:
            exec(compile(block, "models.md", "exec"), {"torch": torch, "net": net})
    given = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    declared = {"size": 64, "channels": 3}
    for spec, parameters in (
        ("my_model.py:make", declared),
        ("encoder.pt2+decoder.pt2", TRUSTED),
        ("encoder.onnx+decoder.onnx", {}),
    ):
        model = load_autoencoder(spec, **parameters)
        latents = net.encoder(given)
        check_model(model, given, latents, net.decoder(latents))


def test_libraries_print_nothing_beside_the_one_line(bad: Path) -> None:
    """In a process of its own: PyTorch logs and onnxruntime writes past what pytest captures."""
    models = [("bare.pt2+dec.pt2", "--model-param", "trusted=true"), ("cut.onnx+dec.onnx",), ("enc.onnx+five.onnx",)]
    commands = [["encode", "images.npy", "--out", "x.h5", "--model", *model] for model in models]
    done = run_in_one_process(commands, cwd=bad)
    assert [line.split(":")[:2] for line in done.stderr.splitlines()] == [
        ["lsampler", " bare.pt2"],
        ["lsampler", " cut.onnx"],
        ["lsampler", " enc.onnx+five.onnx"],
    ]


def test_onnxruntime_missing_is_told_with_the_command(
    made: Made, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(LsamplerError, match=r"needs onnxruntime; install it with: pip install 'lsampler\[onnx\]'"):
        opened("{dir}/enc.onnx+{dir}/dec.onnx")
