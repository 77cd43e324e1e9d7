"""Files of PyTorch and ONNX that are no model, or not one that can be used."""

# ruff: noqa: E501  (a table of bad input, a row a line)

from __future__ import annotations

import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from support import run_in_one_process, wrong_models
from torch import nn
from torch_models import Made, export, export_onnx, module_of, rewritten, save_onnx


class Flattened(nn.Module):
    """As many write it: a program traced from it holds the size of the batch."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.view(int(images.shape[0]), -1)


ONE = torch.full((1, 1, 8, 8), 0.5)
IMAGES = ["b", 1, 8, 8]


@pytest.fixture(scope="module")
def bad(made: Made, images_npy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what may be wrong with a model."""
    folder = tmp_path_factory.mktemp("bad")
    for path in made.folder.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    damaged_files(folder)
    torch.save(made.vae.encoder.state_dict(), folder / "weights.pt")
    unsuitable_programs(folder, made)
    unsuitable_onnx(folder, made)
    made_for_five_components(folder)
    made_for_one_batch(folder)
    return folder


def damaged_files(folder: Path) -> None:
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
    (folder / "renamed.ts").write_bytes((folder / "enc.pt2").read_bytes())
    (folder / "images.onnx").write_bytes((folder / "images.npy").read_bytes())


def unsuitable_programs(folder: Path, made: Made) -> None:
    torch.export.save(torch.export.export(made.vae.encoder, (ONE,)), folder / "static.pt2")
    export(made.vae.encoder, folder / "small.pt2", made.images, 64)
    rewritten(
        folder / "enc.pt2",
        folder / "cuda.pt2",
        "data/weights/model_weights_config.json",
        lambda content: content.replace(b'"type": "cpu", "index": null', b'"type": "cuda", "index": 77'),
    )
    training = module_of(folder / "vae.py", "made_again").Vae().encoder
    export(training.train(), folder / "training.pt2", made.images)


def unsuitable_onnx(folder: Path, made: Made) -> None:
    export_onnx(made.vae.encoder, folder / "static.onnx", ONE, axes=())
    export_onnx(made.vae.decoder, folder / "static_dec.onnx", torch.zeros(2, 6), axes=())
    save_onnx(folder / "integers.onnx", helper.make_node("Identity", ["in0"], ["out"]), TensorProto.INT64, IMAGES)
    kernel = helper.make_tensor("w", TensorProto.DOUBLE, [1, 1, 3, 3], [0.0] * 9)
    convolution = helper.make_node("Conv", ["in0", "w"], ["out"])
    save_onnx(folder / "double.onnx", convolution, TensorProto.DOUBLE, IMAGES, kernel)
    save_onnx(folder / "two.onnx", helper.make_node("Sum", ["in0", "in1"], ["out"]), TensorProto.FLOAT, IMAGES)
    for name, versions in (("ir", {"ir_version": 99}), ("opset", {"opset_imports": [helper.make_opsetid("", 99)]})):
        onnx.save(helper.make_model(onnx.load(folder / "enc.onnx").graph, **versions), folder / f"{name}.onnx")
    apart = {"location": "gone", "save_as_external_data": True, "size_threshold": 0}
    onnx.save(onnx.load(folder / "enc.onnx"), folder / "apart.onnx", **apart)
    (folder / "gone").unlink()


def made_for_five_components(folder: Path) -> None:
    five = nn.Sequential(nn.Linear(5, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
    export(five, folder / "five.pt2", torch.zeros(3, 5))
    export_onnx(five, folder / "five.onnx", torch.zeros(3, 5))


def made_for_one_batch(folder: Path) -> None:
    baked = nn.Sequential(Flattened(), nn.Linear(64, 6))
    torch.jit.trace(baked, ONE[[0, 0]]).save(folder / "baked.ts")
    export_onnx(baked, folder / "baked.onnx", ONE[[0, 0]])


S, T = "size=8 channels=1", "trusted=true"

ONNXRUNTIME = version("onnxruntime")


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
    ("pt2: swapped", "dec.pt2+enc.pt2", T, "items of shape (8, 8), the model takes (6,), a row of 6 features; give items of that shape"),
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
    ("onnx: swapped", "dec.onnx+enc.onnx", "", "items of shape (8, 8), the model takes (6,), a row of 6 features; give items of that shape"),
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
    ("onnx: channels last", "enc.onnx+dec.onnx", "channel_order=last", "takes images that lsampler does not make: channels must be 1 (grey) or 3 (colour), not 8"),
]  # fmt: skip


@wrong_models(BAD_INPUT)
def test_bad_models_get_one_line_and_exit_code_2(
    model: str, parameters: str, message: str, bad: Path, refusal: Callable[..., str]
) -> None:
    assert message in refusal(bad, model, parameters)


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
