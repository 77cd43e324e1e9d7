"""Files of pythae, diffusers and Keras that are wrong or made to do harm, and libraries that are missing."""

# ruff: noqa: E501  (a table of bad input, a row a line)

from __future__ import annotations

import json
import pickle
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import import_keras, kl_model
from safetensors.torch import load, save
from support import wrong_models

from lsampler import LsamplerError, load_autoencoder

# Keras 3 still converts arrays as numpy 1 did.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize(
    ("spec", "modules", "extra"),
    [
        ("vae", ("pythae", "pythae.models.base"), "pythae"),
        ("kl", ("diffusers",), "diffusers"),
        ("encoder.keras+{}/decoder.keras", ("keras",), "keras"),
    ],
)
def test_a_missing_extra_is_named(
    spec: str, modules: tuple[str, ...], extra: str, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(LsamplerError, match=rf"install it with: pip install 'lsampler\[{extra}\]'"):
        load_autoencoder(f"{made}/{spec.format(made)}")


def test_keras_on_another_backend_is_refused(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keras = import_keras()
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(LsamplerError, match=r"already runs on jax.*KERAS_BACKEND=torch"):
        load_autoencoder(f"{made}/encoder.keras+{made}/decoder.keras")


TRAP = "trap.txt"


class Trap:
    """Unpickled, it makes a file in the working directory."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (TRAP, "w")


Build = Callable[[Path, Path], str]
"""Makes a wrong model in a folder, of the models that were made, and returns its specification."""


def altered(source: str, file: str, change: Callable[[bytes], bytes] | None = None, **settings: Any) -> Build:
    """A copy of a model of which one file has other settings, or is changed, or is missing."""

    def build(folder: Path, made: Path) -> str:
        shutil.copytree(made / source, folder / source)
        path = folder / source / file
        if settings:
            path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
        elif change:
            path.write_bytes(change(path.read_bytes()))
        else:
            path.unlink()
        return str(folder / source)

    return build


def pythae(**settings: Any) -> Build:
    return altered("vae", "model_config.json", **settings)


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def pickled_weights(_: bytes) -> bytes:
    torch.save({"model_state_dict": Trap()}, stream := BytesIO())
    return stream.getvalue()


def fewer_weights(content: bytes) -> bytes:
    return save({name: weight for name, weight in load(content).items() if name != "decoder.conv_out.bias"})


def with_pickles(folder: Path, made: Path) -> str:
    spec = pythae(uses_default_encoder=False, uses_default_decoder=False)(folder, made)
    for name in ("encoder", "decoder"):
        (Path(spec) / f"{name}.pkl").write_bytes(pickle.dumps(Trap()))
    return spec


def four_channels(folder: Path, made: Path) -> str:
    kl_model(4).save_pretrained(folder / "kl")
    return str(folder / "kl")


def one_file(name: str, content: str) -> Build:
    def build(folder: Path, made: Path) -> str:
        (folder / name).write_text(content)
        return str(folder)

    return build


def keras_file(make: Callable[[Any, Any], Any], *shape: int) -> Build:
    """An encoder of one thing, beside the right decoder."""

    def build(folder: Path, made: Path) -> str:
        keras = import_keras()
        entry = keras.Input(shape or (8, 8, 1))
        keras.Model(entry, make(keras, entry)).save(folder / "e.keras")
        return f"{folder / 'e.keras'}+{made / 'decoder.keras'}"

    return build


def lambda_layer(keras: Any, entry: Any) -> Any:
    return keras.layers.Lambda(lambda x: x * 2)(entry)


def layer_of_its_own(keras: Any, entry: Any) -> Any:
    class Mine(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x

    return Mine()(entry)


def dense(keras: Any, entry: Any) -> Any:
    return keras.layers.Dense(3)(keras.layers.Flatten()(entry))


def by_name(folder: Path, made: Path) -> str:
    keras = import_keras()
    entry = keras.Input((8, 8, 1), name="image")
    keras.Model({"image": entry}, dense(keras, entry)).save(folder / "e.keras")
    return f"{folder / 'e.keras'}+{made / 'decoder.keras'}"


def other_weights(folder: Path, made: Path) -> str:
    """The encoder's architecture with the weights of the decoder."""
    with (
        zipfile.ZipFile(made / "encoder.keras") as encoder,
        zipfile.ZipFile(made / "decoder.keras") as decoder,
        zipfile.ZipFile(folder / "e.keras", "w") as mixed,
    ):
        for name in encoder.namelist():
            mixed.writestr(name, (decoder if name.endswith(".h5") else encoder).read(name))
    return f"{folder / 'e.keras'}+{made / 'decoder.keras'}"


def cut_keras(folder: Path, made: Path) -> str:
    (folder / "lambda.keras").write_bytes((made / "encoder.keras").read_bytes()[:3000])
    return f"{folder / 'lambda.keras'}+{made / 'decoder.keras'}"


WEIGHTS = "diffusion_pytorch_model.safetensors"

BAD: list[tuple[str, Build, str, str]] = [
    ("pythae: pickled networks", with_pickles, "", "encoder.pkl: opening a pickled network can run any code"),
    ("pythae: networks that do not fit", with_pickles, "networks=mnist-conv", "do not fit the network Encoder_Conv_VAE"),
    ("pythae: networks not needed", lambda _, made: f"{made}/vae", "networks=mnist-conv", "leave out `networks`"),
    ("pythae: a pickle as weights", altered("vae", "model.pt", pickled_weights), "", "more than weights"),
    ("pythae: cut weights", altered("vae", "model.pt", half), "", "model.pt: damaged"),
    ("pythae: no weights", altered("vae", "model.pt"), "", "model.pt: no such file"),
    ("pythae: other latent_dim", pythae(latent_dim=4), "", "do not fit"),
    ("pythae: huge input", pythae(input_dim=[3, 4096, 4096]), "", "do not fit"),
    ("pythae: other class", pythae(name="AEConfig"), "", "do not fit"),
    ("pythae: discrete", pythae(name="VQVAEConfig"), "", "discrete latents"),
    ("pythae: a flow", pythae(name="VAE_IAF_Config"), "", "VAE_IAF_Config is none of"),
    ("pythae: vectors", pythae(input_dim=[64]), "", "input_dim is [64]"),
    ("pythae: not square", pythae(input_dim=[1, 8, 9]), "", "takes square images"),
    ("pythae: channels", pythae(input_dim=[2, 8, 8]), "", "of 1 or 3 channels"),
    ("pythae: odd name", pythae(name=["VAEConfig"]), "", "none of the models"),
    ("pythae: no latent_dim", pythae(latent_dim="3"), "", "latent_dim is 3"),
    ("pythae: foreign folder", one_file("model_config.json", "[]"), "", "it is none of the models"),
    ("pythae: no JSON", one_file("model_config.json", "{"), "", "cannot be read as JSON"),
    ("pythae: contradiction", lambda _, made: f"{made}/vae", "size=16", "images of size 8, not 16"),
    ("diffusers: cut weights", altered("kl", WEIGHTS, half), "", "diffusers cannot load it"),
    ("diffusers: no weights", altered("kl", WEIGHTS), "", "diffusers cannot load it"),
    ("diffusers: fewer weights", altered("kl", WEIGHTS, fewer_weights), "", "1 weights do not fit config.json, such as decoder.conv_out.bias"),
    ("diffusers: more weights", altered("kl", "config.json", mid_block_add_attention=False), "", "weights do not fit config.json, such as"),
    ("diffusers: other shape", altered("kl", "config.json", latent_channels=4), "", "diffusers cannot load it"),
    ("diffusers: other class", altered("kl", "config.json", _class_name="VQModel"), "", "the class is VQModel; give a folder of AutoencoderKL or AutoencoderTiny"),
    ("diffusers: a file of it", lambda _, made: f"{made}/kl/{WEIGHTS}", "", "if it holds the weights of a diffusers model, give its folder, "),
    ("pythae: a file of it", lambda _, made: f"{made}/vae/model.pt+{made}/vae/model.pt", "", "if pythae saved them, give their folder"),
    ("pythae: its weights alone", lambda _, made: f"{made}/vae/model.pt", "", "a file out of the folder of a model; give the folder, "),
    ("diffusers: pipeline", one_file("model_index.json", "{}"), "", "a whole pipeline"),
    ("diffusers: transformers", one_file("config.json", "[1]"), "", "the class is None"),
    ("diffusers: no JSON", one_file("config.json", "{"), "", "cannot be read as JSON"),
    ("diffusers: channels", four_channels, "", "takes images of 4 channels"),
    ("diffusers: odd size", lambda _, made: f"{made}/kl", "size=9", "size=9 must be a multiple of 2"),
    ("keras: no file", lambda folder, made: f"{made}/encoder.keras+{folder}/none.keras", "", "none.keras: no such file"),
    ("keras: cut", cut_keras, "", "lambda.keras: not a file of Keras 3, or truncated"),
    ("keras: other weights", other_weights, "", "e.keras: Keras cannot load it (A total of 3 objects"),
    ("keras: lambda", keras_file(lambda_layer), "", "e.keras: holds a Lambda layer"),
    ("keras: own layer", keras_file(layer_of_its_own), "", "e.keras: needs Mine, whose code"),
    ("keras: not images", keras_file(dense, 64), "", "the decoder gave shape (2, 8, 8, 1) (B, F), expected (2, 64)"),
    ("keras: not square", keras_file(dense, 8, 4, 1), "", "the decoder gave shape (2, 1, 8, 8) (B, C, H, W), expected (2, 1, 8, 4)"),
    ("keras: channel order", keras_file(dense), "channel_order=first", "channels must be 1 (grey) or 3 (colour), not 8"),
    ("keras: by name", by_name, "", "takes its input by name"),
    ("keras: one half", lambda _, made: f"{made}/encoder.keras", "", "no part of it is named encoder"),
    ("no model at all", lambda folder, _: str(folder), "", "nothing opens it"),
]  # fmt: skip


@pytest.mark.filterwarnings("error")
@wrong_models(BAD)
def test_bad_input_gets_one_line(
    model: Build, parameters: str, message: str, made: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec = model(tmp_path, made)
    assert message in refusal(tmp_path, spec, parameters)
    assert not (tmp_path / TRAP).exists()
    if model is with_pickles:  # the trap would have been seen
        pickle.loads((Path(spec) / "encoder.pkl").read_bytes()).close()
        assert (tmp_path / TRAP).exists()
