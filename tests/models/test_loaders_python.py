"""Autoencoders that a Python function of the user makes, as --model."""

# ruff: noqa: E501  (a table of bad input, a row a line)

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import wrong_models
from torch_models import GREY, VAE, Made

from lsampler import load_autoencoder
from lsampler.bundles import load_safetensors_autoencoder
from lsampler.models import ConvAutoencoder


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


WRONG = '''
import vae

number = 5
class Anonymous:
    encode = decode = lambda self, given: given
class Unusual(vae.Vae):
    """An Autoencoder of lsampler, but for what subclasses spoil."""
    dimension, fingerprint = 6, "mine"
    def __init__(self):
        super().__init__()
        import lsampler
        self.preprocess = lsampler.data.Preprocess(8, "none", 1)
    def encode(self, images): return self.encoder(images)[0]
class WrongDimension(Unusual): dimension = 7
class WrongPreprocess(Unusual): preprocess = 8; __init__ = vae.Vae.__init__
class WrongFingerprint(Unusual): fingerprint = None
def fails():
    return 1 / 0
def leaves(): raise SystemExit("enough")
def with_argument(path): pass
def nothing(): pass
def one(): return [vae.Vae().encoder]
def functions():
    return (lambda x: x), (lambda x: x)
'''


S = "size=8 channels=1"
BAD_INPUT = [
    ("no file", "no.py:make", S, "no.py: no such Python file; check the path"),
    ("no function named", "vae.py", S, "vae.py': name the function that makes the model, such as "),
    ("no module", "no_such_module:make", S, "there is no module no_such_module; install it"),
    ("no submodule", "vae.sub:make", S, "model 'vae.sub:...': there is no module vae.sub; install it"),
    ("near name", "vae.py:pear", S, "model 'vae.py:pear': has no 'pear'; did you mean 'pair'?"),
    ("far name", "vae.py:qqqqqqq", S, "has no 'qqqqqqq'"),
    ("not callable", "wrong.py:number", S, "number is of type int; name a function or a class"),
    ("syntax", "syntax.py:make", S, "importing it failed: SyntaxError: invalid syntax (syntax.py, line 1)"),
    ("import", "imports.py:make", S, "ModuleNotFoundError: No module named 'no_such_package_at_all' (imports.py, line 1)"),
    ("exit on import", "exits.py:make", S, "importing it failed: SystemExit: 3 (exits.py, line 2)"),
    ("fails", "wrong.py:fails", S, "calling fails() failed: ZeroDivisionError: division by zero (wrong.py, line "),
    ("exit", "wrong.py:leaves", S, "calling leaves() failed: SystemExit: enough"),
    ("argument", "wrong.py:with_argument", S, "calling with_argument() failed: TypeError: with_argument() missing 1 required positional argument: 'path'\n"),
    ("returns nothing", "wrong.py:nothing", S, "returned a NoneType without encode and decode; return an object with"),
    ("returns one", "wrong.py:one", S, "returned (Encoder), expected a pair of modules or functions"),
    ("no fingerprint", "wrong.py:Anonymous", S, "Anonymous is not an nn.Module with weights; give it an attribute fingerprint"),
    ("functions", "wrong.py:functions", S, "function is not an nn.Module with weights"),
    ("size of an autoencoder", "wrong.py:Unusual", "size=8", "--model-param size=...: wrong.py:Unusual says itself what its items are; leave it out"),
    ("dimension", "wrong.py:WrongDimension", "", "encode gives vectors of shape (6,), but its dimension is 7"),
    ("preprocess", "wrong.py:WrongPreprocess", "", "WrongPreprocess: does not say what its items are; give it an attribute `item`"),
    ("fingerprint", "wrong.py:WrongFingerprint", "", "its fingerprint is not a text"),
    ("no size", "vae.py:pair", "", "vae.py:pair: the model does not say its image size; give --model-param size=..."),
    ("wrong size", "vae.py:pair", "size=16 channels=1", "the encoder failed on images of shape (2, 1, 16, 16)"),
    ("wrong channels", "vae.py:pair", "size=8 channels=3", "the encoder failed on images of shape (2, 3, 8, 8)"),
    ("unknown parameter", "vae.py:pair", "sise=8", "python-object: no parameter 'sise'; did you mean 'size'?"),
    ("parameter out of range", "vae.py:pair", "size=2", "size=2 is not valid: give a whole number or a list such as [1, 2] or none"),
]  # fmt: skip


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what may be wrong with a model."""
    folder = tmp_path_factory.mktemp("bad")
    sources = {
        "vae": VAE,
        "wrong": WRONG,
        "syntax": "def make(:\n    pass\n",
        "imports": "import no_such_package_at_all\n",
        "exits": "import sys\nsys.exit(3)\n",
    }
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    return folder


@wrong_models(BAD_INPUT)
def test_bad_models_get_one_line_and_exit_code_2(
    model: str, parameters: str, message: str, bad: Path, refusal: Callable[..., str]
) -> None:
    assert message in refusal(bad, model, parameters)
