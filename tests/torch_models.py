"""One tiny variational autoencoder as source code, as programs of PyTorch and as ONNX files."""

from __future__ import annotations

import importlib.util
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import helper
from support import check_model
from torch import Tensor, nn

VAE = '''
import torch
from torch import nn


class Encoder(nn.Module):
    """Grey images of 8 x 8 -> mean and log-variance of 6 dimensions."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout())
        self.mean, self.log_variance = nn.Linear(64, 6), nn.Linear(64, 6)

    def forward(self, images):
        features = self.features(images).flatten(1)
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


def save_onnx(path: Path, node: onnx.NodeProto, kind: int, shape: Sequence[Any], *constants: onnx.TensorProto) -> None:
    """A model of one node, whose other inputs and whose output are of this type."""
    known = {constant.name for constant in constants}
    given = [helper.make_tensor_value_info(name, kind, shape) for name in node.input if name not in known]
    result = [helper.make_tensor_value_info(name, kind, None) for name in node.output]
    graph = helper.make_graph([node], "g", given, result, list(constants))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


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

    def check(self, model: Any, images: Tensor, tolerance: float = 1e-5) -> None:
        """Compare an adapted model with PyTorch itself."""
        check_model(model, images, *self.expected(images), tolerance)


def rewritten(source: Path, target: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    """A copy of an archive with one member changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            root, _, name = entry.filename.partition("/")
            name = f"{target.stem}/{name}"
            new.writestr(name, change(content) if entry.filename == f"{root}/{member}" else content)
