"""Autoencoders made with PyTorch and ONNX as --model: Python, torch.export, TorchScript, ONNX."""

# ruff: noqa: E501  (a table of bad input, a row a line)

from __future__ import annotations

import importlib.util
import io
import logging
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn

from lsampler import (
    Autoencoder,
    ConvAutoencoder,
    LsamplerError,
    load_autoencoder,
    load_safetensors_autoencoder,
    open_store,
    plugin_names,
)

VAE = '''
import torch
from torch import nn


class Encoder(nn.Module):
    """Grey images of 8 x 8 -> mean and log-variance of 6 dimensions."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten())
        self.mean, self.log_variance = nn.Linear(64, 6), nn.Linear(64, 6)

    def forward(self, images):
        features = self.features(images)
        return self.mean(features), self.log_variance(features)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 64), nn.Dropout(), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))

    def forward(self, latents):
        return self.layers(latents)


class Vae(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.encoder, self.decoder = Encoder(), Decoder()

    def encode(self, images):
        return self.encoder(images)

    def decode(self, latents):
        return self.decoder(latents)


def pair():
    vae = Vae()
    return vae.encoder, vae.decoder


def methods():
    vae = Vae()
    return [vae.encode, vae.decode]


def double():
    return Vae().double()


ready = Vae()
'''
GREY = {"size": 8, "channels": 1}
GREY_OPTIONS = ("--model-param", "size=8", "--model-param", "channels=1")
TRUSTED = {"trusted": True}


def module_of(path: Path, name: str) -> Any:
    """The file as a module, imported without lsampler."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def export(module: nn.Module, path: Path, example: Tensor, limit: int | None = None) -> None:
    batch = torch.export.Dim("batch", max=limit)
    torch.export.save(torch.export.export(module, (example,), dynamic_shapes=({0: batch},)), path)


def export_onnx(module: nn.Module, path: Path, example: Tensor, axes: Any = ("batch",), **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter, which needs no further package
        torch.onnx.export(
            module,
            (example,),
            path,
            dynamo=False,
            input_names=["given"],
            dynamic_axes={"given": dict(enumerate(axes)), "first": {0: "batch"}},
            **{"output_names": ["first"]} | options,
        )


class Made:
    """One tiny model as source, as programs and as ONNX files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "vae.py").write_text(VAE)
        self.vae: Any = module_of(folder / "vae.py", "made").Vae().eval()
        generator = torch.Generator().manual_seed(1)
        self.images = torch.rand(5, 1, 8, 8, generator=generator)
        parts = (("enc", self.vae.encoder, self.images), ("dec", self.vae.decoder, torch.zeros(5, 6)))
        for name, module, example in parts:
            export(module, folder / f"{name}.pt2", example)
            torch.jit.trace(module, example).save(folder / f"{name}.ts")
            (folder / f"{name}.pt").write_bytes((folder / f"{name}.ts").read_bytes())
        export_onnx(self.vae.encoder, folder / "enc.onnx", self.images, output_names=["first", "log_variance"])
        export_onnx(self.vae.decoder, folder / "dec.onnx", torch.zeros(5, 6))

    @torch.inference_mode()
    def expected(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What PyTorch itself gives: the means, and the images decoded from them."""
        mean = self.vae.encoder(images)[0]
        return mean, self.vae.decoder(mean)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("made"))


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


@pytest.fixture
def opened(made: Made, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(made.folder)
    return lambda spec, **parameters: load_autoencoder(spec.format(dir=made.folder), **parameters)


class TestSameResult:
    @pytest.mark.parametrize(("spec", "parameters"), SAME, ids=ids(SAME))
    def test_encodes_and_decodes_as_the_library_itself(
        self, spec: str, parameters: dict[str, Any], made: Made, opened: Callable[..., Any]
    ) -> None:
        model = opened(spec, **parameters)
        latents, decoded = made.expected(made.images)
        assert isinstance(model, Autoencoder)
        assert (model.dimension, model.preprocess.size, model.preprocess.channels) == (6, 8, 1)
        torch.testing.assert_close(model.encode(made.images), latents, rtol=0, atol=1e-5)
        torch.testing.assert_close(model.decode(latents), decoded, rtol=0, atol=1e-5)

    @pytest.mark.parametrize(("spec", "parameters"), EACH, ids=ids(EACH))
    def test_batches_of_any_size(
        self, spec: str, parameters: dict[str, Any], made: Made, opened: Callable[..., Any]
    ) -> None:
        model = opened(spec, **parameters)
        for batch in (1, 2, 300):
            given = torch.rand(batch, 1, 8, 8, generator=torch.Generator().manual_seed(batch))
            latents, decoded = made.expected(given)
            torch.testing.assert_close(model.encode(given), latents, rtol=0, atol=1e-5)
            torch.testing.assert_close(model.decode(latents), decoded, rtol=0, atol=1e-5)

    @pytest.mark.parametrize(("spec", "parameters"), EACH, ids=ids(EACH))
    def test_another_value_range_is_what_the_model_sees(
        self, spec: str, parameters: dict[str, Any], made: Made, opened: Callable[..., Any]
    ) -> None:
        model = opened(spec, **parameters, value_range="-1..1")
        latents, decoded = made.expected(made.images * 2 - 1)
        torch.testing.assert_close(model.encode(made.images), latents, rtol=0, atol=1e-5)
        torch.testing.assert_close(model.decode(latents), (decoded + 1) / 2, rtol=0, atol=1e-5)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    @pytest.mark.parametrize(("spec", "parameters"), EACH, ids=ids(EACH))
    def test_the_same_on_a_gpu(
        self, spec: str, parameters: dict[str, Any], made: Made, opened: Callable[..., Any]
    ) -> None:
        model = opened(spec, **parameters).to(torch.device("cuda"))
        latents, decoded = made.expected(made.images)
        torch.testing.assert_close(model.encode(made.images).cpu(), latents, rtol=0, atol=1e-3)
        torch.testing.assert_close(model.decode(latents).cpu(), decoded, rtol=0, atol=1e-3)


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
        model = ["--model", f"{made.folder}/vae.py:pair", *GREY_OPTIONS]
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
            shape = ["batch", 8, 8, 3]
            node = helper.make_node("Mul", ["given", "factor"], ["result"])
            graph = helper.make_graph(
                [node],
                "g",
                [helper.make_tensor_value_info("given", kind, shape)],
                [helper.make_tensor_value_info("result", kind, shape)],
                [helper.make_tensor("factor", kind, [], [factor])],
            )
            opset = [helper.make_opsetid("", 17)]
            onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / name)
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
        def never(*arguments: Any, **options: Any) -> None:
            raise AssertionError("opened")

        monkeypatch.setattr(torch.export, "load", never)
        monkeypatch.setattr(torch.jit, "load", never)
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

    def test_a_torch_export_without_fixed_size_takes_the_declared_one(self, made: Made, tmp_path: Path) -> None:
        class Halves(nn.Module):
            def forward(self, given: Tensor) -> Tensor:
                return given / 2

        shapes = ({0: torch.export.Dim("batch"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")},)
        program = torch.export.export(Halves(), (torch.rand(2, 3, 12, 16),), dynamic_shapes=shapes)
        torch.export.save(program, tmp_path / "half.pt2")
        spec = f"{tmp_path}/half.pt2+{tmp_path}/half.pt2"
        with pytest.raises(LsamplerError, match="does not say its image size"):
            load_autoencoder(spec, trusted=True)
        model = load_autoencoder(spec, trusted=True, size=20)
        assert (model.preprocess.size, model.preprocess.channels, model.dimension) == (20, 3, 1200)


class TestPython:
    def test_an_autoencoder_is_used_as_it_is(self, tiny_model_file: Path, tmp_path: Path) -> None:
        (tmp_path / "own.py").write_text(
            f"from lsampler import load_autoencoder\ndef make(): return load_autoencoder({str(tiny_model_file)!r})\n"
        )
        model = load_autoencoder(f"{tmp_path}/own.py:make")
        assert isinstance(model, ConvAutoencoder)
        assert model.fingerprint == load_safetensors_autoencoder(tiny_model_file).fingerprint

    def test_modules_are_in_evaluation_mode_and_single_precision(self, made: Made, opened: Callable[..., Any]) -> None:
        model: Any = opened("{dir}/vae.py:double", **GREY)
        vae = model._encode.__self__
        assert not any(module.training for module in vae.modules())
        assert {weight.dtype for weight in vae.parameters()} == {torch.float32}

    def test_the_modules_are_moved(self, opened: Callable[..., Any]) -> None:
        model: Any = opened("{dir}/vae.py:methods", **GREY)
        model.to(torch.device("meta"))
        assert {weight.device.type for weight in model._decode.__self__.parameters()} == {"meta"}
        assert model.encode(torch.zeros(3, 1, 8, 8)).device.type == "meta"

    def test_what_lies_beside_the_file_can_be_imported(self, tmp_path: Path) -> None:
        (tmp_path / "beside_vae.py").write_text(VAE)
        (tmp_path / "maker.py").write_text("def make():\n    import beside_vae\n    return beside_vae.Vae()\n")
        before = list(sys.path)
        assert load_autoencoder(f"{tmp_path}/maker.py:make", **GREY).dimension == 6
        assert sys.path == before

    def test_a_file_does_not_take_the_place_of_a_module_of_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "json.py").write_text(VAE)
        import json

        assert load_autoencoder(f"{tmp_path}/json.py:Vae", **GREY).dimension == 6
        assert sys.modules["json"] is json

    def test_channels_last(self, tmp_path: Path) -> None:
        (tmp_path / "last.py").write_text(
            "class Model:\n"
            "    fingerprint = 'one'\n"
            "    def encode(self, images):\n"
            "        assert images.shape[1:] == (8, 8, 3)\n"
            "        return images.numpy().reshape(len(images), -1)\n"
            "    def decode(self, latents):\n"
            "        return latents.numpy().reshape(-1, 8, 8, 3)\n"
        )
        model = load_autoencoder(f"{tmp_path}/last.py:Model", size=8, channels=3, channel_order="last")
        given = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(model.decode(model.encode(given)), given, rtol=0, atol=1e-6)

    def test_an_interruption_is_not_an_error_of_the_model(self, tmp_path: Path) -> None:
        (tmp_path / "long.py").write_text("def make(): raise KeyboardInterrupt\n")
        with pytest.raises(KeyboardInterrupt):
            load_autoencoder(f"{tmp_path}/long.py:make", **GREY)


def rewritten(source: Path, target: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    """A copy of an archive with one member changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            root, _, name = entry.filename.partition("/")
            name = f"{target.stem}/{name}"
            new.writestr(name, change(content) if entry.filename == f"{root}/{member}" else content)


WRONG = '''
import torch
from torch import nn
import vae

number = 5
class Bare: pass
class Anonymous:
    encode = decode = lambda self, given: given
class Unusual(vae.Vae):
    """An Autoencoder of lsampler, but for what subclasses spoil."""
    dimension, fingerprint = 6, "mine"
    def __init__(self):
        super().__init__()
        import lsampler
        self.preprocess = lsampler.Preprocess(8, "none", 1)
    def encode(self, images): return self.encoder(images)[0]
class WrongDimension(Unusual): dimension = 7
class WrongPreprocess(Unusual): preprocess = 8; __init__ = vae.Vae.__init__
class WrongFingerprint(Unusual): fingerprint = None
class Random(vae.Vae):
    def encode(self, images): return torch.randn_like(self.encoder(images)[0])
class Nan(vae.Vae):
    def encode(self, images): return self.encoder(images)[0] / 0 * 0
class NanDecoder(vae.Vae):
    def decode(self, latents): return self.decoder(latents) * float("nan")
class Mismatched(vae.Vae):
    def encode(self, images): return self.encoder(images)[0][:, :5]
class Weightless(nn.Module):
    def encode(self, images): return images
    def decode(self, latents): return latents
def fails():
    return 1 / 0
def leaves(): raise SystemExit("enough")
def with_argument(path): pass
def nothing(): pass
def one(): return [vae.Vae().encoder]
def numbers(): return 1, 2
def functions():
    return (lambda x: x), (lambda x: x)
'''


@pytest.fixture(scope="module")
def bad(made: Made, images_npy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what may be wrong with a model."""
    folder = tmp_path_factory.mktemp("bad")
    for path in made.folder.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "wrong.py").write_text(WRONG)
    (folder / "syntax.py").write_text("def make(:\n    pass\n")
    (folder / "imports.py").write_text("import no_such_package_at_all\n")
    (folder / "exits.py").write_text("import sys\nsys.exit(3)\n")
    for suffix in ("pt2", "ts", "onnx"):
        whole = (folder / f"enc.{suffix}").read_bytes()
        (folder / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
        (folder / f"empty.{suffix}").touch()
    damaged = bytearray((folder / "enc.pt2").read_bytes())
    damaged[damaged.rindex(b"PK\x01\x02")] = 0  # in the list of members: the end is still that of an archive
    (folder / "damaged.pt2").write_bytes(damaged)
    for suffix in ("pt2", "ts"):
        with zipfile.ZipFile(folder / f"other.{suffix}", "w") as archive:
            archive.writestr("other/readme.txt", "something else")
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
    with zipfile.ZipFile(folder / "compiled.pt2", "w") as archive:
        archive.writestr("compiled/data/aotinductor/model/model.so", b"native code")
    export_onnx(made.vae.encoder, folder / "static.onnx", one, axes=())
    torch.export.save(torch.export.export(made.vae.decoder, (torch.zeros(2, 6),)), folder / "static_dec.pt2")
    export_onnx(made.vae.decoder, folder / "static_dec.onnx", torch.zeros(2, 6), axes=())
    with zipfile.ZipFile(folder / "bare.pt2", "w") as archive:
        archive.writestr("bare/models/model.json", "{}")
    training = module_of(folder / "vae.py", "made_again").Vae().encoder
    export(training.train(), folder / "training.pt2", made.images)
    torch.jit.script(Latents(5)).save(folder / "five.ts")
    export(Latents(5), folder / "five.pt2", torch.zeros(3, 5))
    export_onnx(Latents(5), folder / "five.onnx", torch.zeros(3, 5))
    for name, kind, inputs in (("integers", TensorProto.INT64, 1), ("two", TensorProto.FLOAT, 2)):
        given = [helper.make_tensor_value_info(f"in{k}", kind, ["b", 1, 8, 8]) for k in range(inputs)]
        result = helper.make_tensor_value_info("out", kind, None)
        graph = helper.make_graph(
            [helper.make_node("Sum" if inputs == 2 else "Identity", [g.name for g in given], ["out"])],
            "g",
            given,
            [result],
        )
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / f"{name}.onnx")
    return folder


class Latents(nn.Module):
    """A decoder of as many dimensions as one likes."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dimension, 64)

    def forward(self, latents: Tensor) -> Tensor:
        return torch.sigmoid(self.linear(latents)).reshape(-1, 1, 8, 8)


S, T = "size=8 channels=1", "trusted=true"
# Every row: what is wrong, the specification, its parameters, what the one line must say.
BAD_INPUT = [
    ("python: no file", "no.py:make", S, "no.py: no such Python file; check the path"),
    ("python: no function named", "vae.py", S, "vae.py': name the function that makes the model, such as "),
    ("python: no module", "no_such_module:make", S, "there is no module no_such_module; install it"),
    ("python: no submodule", "vae.sub:make", S, "model 'vae.sub:...': there is no module vae.sub; install it"),
    ("python: near name", "vae.py:pear", S, "model 'vae.py:pear': has no 'pear'; did you mean 'pair'?"),
    ("python: far name", "vae.py:qqqqqqq", S, "has no 'qqqqqqq'"),
    ("python: not callable", "wrong.py:number", S, "number is of type int; name a function or a class"),
    ("python: syntax", "syntax.py:make", S, "importing it failed: SyntaxError: invalid syntax (syntax.py, line 1)"),
    ("python: import", "imports.py:make", S, "ModuleNotFoundError: No module named 'no_such_package_at_all' (imports.py, line 1)"),
    ("python: exit on import", "exits.py:make", S, "importing it failed: SystemExit: 3 (exits.py, line 2)"),
    ("python: fails", "wrong.py:fails", S, "calling fails() failed: ZeroDivisionError: division by zero (wrong.py, line "),
    ("python: exit", "wrong.py:leaves", S, "calling leaves() failed: SystemExit: enough"),
    ("python: argument", "wrong.py:with_argument", S, "calling with_argument() failed: TypeError: with_argument() missing 1 required positional argument: 'path'\n"),
    ("python: returns nothing", "wrong.py:nothing", S, "returned a NoneType without encode and decode; return an object with"),
    ("python: returns one", "wrong.py:one", S, "returned (Encoder), expected a pair of modules or functions"),
    ("python: returns numbers", "wrong.py:numbers", S, "returned (int, int), expected a pair"),
    ("python: neither method", "wrong.py:Bare", S, "returned a Bare without encode and decode"),
    ("python: no fingerprint", "wrong.py:Anonymous", S, "Anonymous is not an nn.Module with weights; give it an attribute fingerprint"),
    ("python: no weights", "wrong.py:Weightless", S, "Weightless is not an nn.Module with weights"),
    ("python: functions", "wrong.py:functions", S, "function is not an nn.Module with weights"),
    ("python: size of an autoencoder", "wrong.py:Unusual", "size=8", "--model-param size=...: wrong.py:Unusual brings its own preprocess; leave it out"),
    ("python: dimension", "wrong.py:WrongDimension", "", "encode gives vectors of shape (6,), but its dimension is 7"),
    ("python: preprocess", "wrong.py:WrongPreprocess", "", "its preprocess is not an lsampler.Preprocess"),
    ("python: fingerprint", "wrong.py:WrongFingerprint", "", "its fingerprint is not a text"),
    ("python: random", "wrong.py:Random", S, "wrong.py:Random: the encoder gives another result each time; give one in evaluation mode"),
    ("python: NaN", "wrong.py:Nan", S, "the encoder gave NaN or infinite values"),
    ("python: NaN decoded", "wrong.py:NanDecoder", S, "the decoder gave NaN or infinite values"),
    ("python: mismatched", "wrong.py:Mismatched", S, "the decoder does not take latents of shape (2, 5) (mat1 and mat2 shapes cannot be multiplied"),
    ("python: no size", "vae.py:pair", "", "vae.py:pair: the model does not say its image size; give --model-param size=..."),
    ("python: wrong size", "vae.py:pair", "size=16 channels=1", "the encoder failed on images of shape (2, 1, 16, 16)"),
    ("python: wrong channels", "vae.py:pair", "size=8 channels=3", "the encoder failed on images of shape (2, 3, 8, 8)"),
    ("python: wrong order", "vae.py:pair", S + " channel_order=last", "the encoder failed on images of shape (2, 8, 8, 1)"),
    ("unknown parameter", "vae.py:pair", "sise=8", "python-object: no parameter 'sise'; did you mean 'size'?"),
    ("parameter out of range", "vae.py:pair", "size=2", "size=2 is not valid: give a whole number or none"),
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
    ("pt2: static decoder", "enc.pt2+static_dec.pt2", T, "static_dec.pt2: takes batches of exactly 2; export it again"),
    ("pt2: bare", "bare.pt2+dec.pt2", T, "cannot open it (Expected hasRecord("),
    ("pt2: limited", "small.pt2+dec.pt2", T, "small.pt2: takes batches of 64 at most; export it again without this limit"),
    ("pt2: another device", "cuda.pt2+dec.pt2", T, "cuda.pt2: this PyTorch"),
    ("pt2: training mode", "training.pt2+dec.pt2", T, "the encoder gives another result each time"),
    ("pt2: mismatched", "enc.pt2+five.pt2", T, "the decoder does not take latents of shape (2, 6)"),
    ("pt2: size contradicts", "enc.pt2+dec.pt2", T + " size=16", "the model takes images of size 8, not 16; leave out --model-param size=..."),
    ("ts: not trusted", "enc.ts+dec.ts", S, "opening a TorchScript program can run any code that is in it"),
    ("ts: one only", "enc.ts", S, "give two files, encoder and decoder, as ENCODER.ts+DECODER.ts"),
    ("ts: missing", "enc.ts+no.ts", S, "no.ts: no such file of the decoder"),
    ("ts: truncated", "cut.ts+dec.ts", S, "cut.ts: not a TorchScript program, or truncated"),
    ("ts: other archive", "other.ts+dec.ts", S, "other.ts: not a TorchScript program but some other archive"),
    ("ts: weights", "weights.pt+dec.pt", S, "weights.pt: not a TorchScript program but weights or a pickled object, which need the code that made them"),
    ("ts: is a pt2", "renamed.ts+dec.ts", S, "renamed.ts: not a TorchScript program but a program of torch.export"),
    ("ts: no size", "enc.ts+dec.ts", T, "the model does not say its image size"),
    ("ts: swapped", "dec.ts+enc.ts", f"{S} {T}", "the encoder failed on images of shape (2, 1, 8, 8)"),
    ("ts: mismatched", "enc.ts+five.ts", f"{S} {T}", "the decoder does not take latents of shape (2, 6)"),
    ("onnx: one only", "enc.onnx", "", "give two files, encoder and decoder, as ENCODER.onnx+DECODER.onnx"),
    ("onnx: missing", "no.onnx+dec.onnx", "", "no.onnx: no such file of the encoder"),
    ("onnx: empty", "enc.onnx+empty.onnx", "", "empty.onnx: is empty"),
    ("onnx: truncated", "cut.onnx+dec.onnx", "", "cut.onnx: onnxruntime cannot open it"),
    ("onnx: foreign", "images.onnx+dec.onnx", "", "images.onnx: onnxruntime cannot open it"),
    ("onnx: swapped", "dec.onnx+enc.onnx", "", "dec.onnx: takes shape (any, 6), not images; the encoder comes first"),
    ("onnx: static", "static.onnx+dec.onnx", "", "static.onnx: takes batches of exactly 1; export it again with a dynamic batch dimension"),
    ("onnx: static decoder", "enc.onnx+static_dec.onnx", "", "static_dec.onnx: takes batches of exactly 2; export it again"),
    ("onnx: integers", "integers.onnx+dec.onnx", "", "its input 'in0' is tensor(int64); export one that takes floats"),
    ("onnx: two inputs", "two.onnx+dec.onnx", "", "two.onnx: has 2 inputs (in0, in1)"),
    ("onnx: mismatched", "enc.onnx+five.onnx", "", "the decoder does not take latents of shape (2, 6)"),
    ("onnx: near output", "enc.onnx+dec.onnx", "output=log_varianse", "enc.onnx: no output 'log_varianse'; did you mean 'log_variance'?"),
    ("onnx: far output", "enc.onnx+dec.onnx", "output=z", "no output 'z'; known: first, log_variance"),
    ("onnx: channels last", "enc.onnx+dec.onnx", "channel_order=last", "enc.onnx: takes images of 1 x 8, only square ones are supported; check channel_order"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "parameters", "message"), [row[1:] for row in BAD_INPUT], ids=[row[0] for row in BAD_INPUT]
)
def test_bad_models_get_one_line_and_exit_code_2(
    spec: str,
    parameters: str,
    message: str,
    bad: Path,
    cli: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(bad)
    options = [part for setting in parameters.split() for part in ("--model-param", setting)]
    answer = cli("encode", bad / "images.npy", "--model", spec, *options, "--out", tmp_path / "x.h5")
    assert answer.code == 2, answer
    assert len(answer.err.strip().splitlines()) == 1, answer.err
    assert answer.err.startswith("lsampler: ")
    assert message in answer.err
    assert list(tmp_path.iterdir()) == []


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
        torch.testing.assert_close(model.encode(given), net.encoder(given), rtol=0, atol=1e-5)
        torch.testing.assert_close(model.decode(torch.ones(2, 32)), net.decoder(torch.ones(2, 32)), rtol=0, atol=1e-5)


def test_libraries_print_nothing_beside_the_one_line(bad: Path) -> None:
    """In a process of its own: PyTorch logs and onnxruntime writes past what pytest captures."""
    script = (
        "import sys\n"
        "from lsampler.cli import main\n"
        "for spec in ('bare.pt2+dec.pt2', 'cut.onnx+dec.onnx', 'enc.onnx+five.onnx'):\n"
        "    sys.argv = ['lsampler', 'encode', 'images.npy', '--model', spec, '--out', 'x.h5']\n"
        "    sys.argv += ['--model-param', 'trusted=true'] if 'pt2' in spec else []\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=bad, capture_output=True, text=True, check=True)
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
