"""Autoencoders made with PyTorch as --model: Python, torch.export, TorchScript, ONNX."""

from __future__ import annotations

import io
import logging
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from support import check_model
from torch import nn
from torch_models import GREY, TRUSTED, VAE, Made, module_of, rewritten, save_onnx

from lsampler import LsamplerError, load_autoencoder, open_store
from lsampler.models import Autoencoder
from lsampler.plugins import plugin_names

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


def test_the_documents_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    live, source, *exports = re.findall(r"```python\n(.*?)```", page.split("## pythae")[0], flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(live, "models.md", "exec"), names)
    assert names["new"].shape == (100, 30)
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


def test_onnxruntime_missing_is_told_with_the_command(
    made: Made, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(LsamplerError, match=r"needs onnxruntime; install it with: pip install 'lsampler\[onnx\]'"):
        opened("{dir}/enc.onnx+{dir}/dec.onnx")
