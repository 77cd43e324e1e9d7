"""Autoencoders of pythae, diffusers and Keras: made by those libraries here, small and at random."""

# ruff: noqa: E501  (a table of bad input, a row a line)

from __future__ import annotations

import importlib
import itertools
import json
import os
import pickle
import shutil
import socket
import sys
import warnings
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from support import check_model, run_in_one_process, wrong_models

from lsampler import LsamplerError, load_autoencoder, open_store

# Keras 3 still converts arrays as numpy 1 did.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
PYTHAE_MODELS = (
    *("AE", "RAE_GP", "RAE_L2", "WAE_MMD", "Adversarial_AE", "BetaTCVAE", "BetaVAE", "CIWAE", "DisentangledBetaVAE"),
    *("FactorVAE", "INFOVAE_MMD", "IWAE", "MIWAE", "MSSSIM_VAE", "PIWAE", "VAE", "VAEGAN", "VAMP"),
)


def images(channels: int = 1, size: int = 8, seed: int = 3) -> torch.Tensor:
    return torch.rand(5, channels, size, size, generator=torch.Generator().manual_seed(seed))


def pythae_model(name: str = "VAE", shape: tuple[int, ...] = (1, 8, 8), networks: tuple[str, str] | None = None) -> Any:
    """A model with pythae's default networks, or with these of pythae's benchmarks."""
    from pythae import models

    config_class = getattr(models, f"{name}Config", None) or getattr(models, f"{name}_Config")
    config = config_class(input_dim=shape, latent_dim=3)
    torch.manual_seed(1)
    if networks is None:
        return getattr(models, name)(config).eval()
    place = importlib.import_module(f"pythae.models.nn.benchmarks.{networks[0].rsplit('_', 1)[1].lower()}")
    encoder, decoder = (getattr(place, network)(config) for network in networks)
    return getattr(models, name)(config, encoder, decoder).eval()


def kl_model(channels: int = 1) -> Any:
    from diffusers import AutoencoderKL

    torch.manual_seed(2)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    widths = {"block_out_channels": (4, 8), "norm_num_groups": 2, "layers_per_block": 1, "latent_channels": 2}
    return AutoencoderKL(channels, channels, **blocks, **widths, sample_size=8).eval()


def tiny_kl_model() -> Any:
    from diffusers import AutoencoderTiny

    torch.manual_seed(2)
    encoder = {"encoder_block_out_channels": (4, 4, 4), "num_encoder_blocks": (1, 1, 1)}
    decoder = {"decoder_block_out_channels": (4, 4, 4), "num_decoder_blocks": (1, 1, 1)}
    return AutoencoderTiny(3, 3, **encoder, **decoder, latent_channels=2).eval()


def import_keras() -> Any:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    return keras


def keras_pair(order: str = "last", size: int | None = 8) -> tuple[Any, Any]:
    """Encoder and decoder; a convolutional one of any size if there is none."""
    keras = import_keras()
    layers, conv = keras.layers, {"padding": "same", "strides": 2, "data_format": f"channels_{order}"}
    shape = (size, size, 1) if order == "last" else (1, size, size)
    entry = keras.Input(shape)
    hidden = layers.Conv2D(4, 3, activation="relu", **conv)(entry)
    if size is None:
        code = keras.Input((None, None, 4))
        return keras.Model(entry, hidden), keras.Model(code, layers.Conv2DTranspose(1, 3, **conv)(code))
    flat = layers.Flatten()(hidden)
    encoder = keras.Model(entry, [layers.Dense(3)(flat), layers.Dense(3)(flat)], name="encoder")
    code = keras.Input((3,))
    small = (size // 2, size // 2, 4) if order == "last" else (4, size // 2, size // 2)
    back = layers.Reshape(small)(layers.Dense(size * size)(code))
    decoder = keras.Model(code, layers.Conv2DTranspose(1, 3, activation="sigmoid", **conv)(back), name="decoder")
    return encoder, decoder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model of each library, and 60 images."""
    place = tmp_path_factory.mktemp("made")
    pythae_model().save(str(place / "vae"))
    kl_model().save_pretrained(place / "kl")
    encoder, decoder = keras_pair()
    encoder.save(place / "encoder.keras")
    decoder.save(place / "decoder.keras")
    np.save(place / "images.npy", np.random.default_rng(0).random((60, 8, 8), dtype=np.float32))
    return place


@pytest.mark.parametrize("name", PYTHAE_MODELS)
def test_pythae_models_encode_and_decode_as_in_pythae(name: str, tmp_path: Path) -> None:
    model = pythae_model(name)
    model.save(str(tmp_path))
    loaded = load_autoencoder(str(tmp_path))
    expected = model.predict(images())
    assert (loaded.dimension, loaded.preprocess.size, loaded.preprocess.channels) == (3, 8, 1)
    check_model(loaded, images(), expected.embedding, expected.recon_x)


@pytest.mark.parametrize(
    ("networks", "model", "shape"),
    [("mnist-conv", "RAE_L2", (1, 28, 28)), ("cifar-resnet", "BetaVAE", (3, 32, 32))],
)
def test_pythae_benchmark_networks_are_built_when_named(
    networks: str, model: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    data, style = networks.upper().split("-")
    style = {"CONV": "Conv", "RESNET": "ResNet"}[style]
    kind = "AE" if model == "RAE_L2" else "VAE"
    own = pythae_model(model, shape, (f"Encoder_{style}_{kind}_{data}", f"Decoder_{style}_AE_{data}"))
    own.save(str(tmp_path))
    given = images(*shape[:2])
    expected = own.predict(given)
    with pytest.raises(LsamplerError, match=r"encoder.pkl: opening a pickled network .* `trusted=True`"):
        load_autoencoder(str(tmp_path))
    trusted = load_autoencoder(str(tmp_path), trusted=True)
    for file in ("encoder.pkl", "decoder.pkl"):
        (tmp_path / file).unlink()  # not needed, so not read
    for loaded in (trusted, load_autoencoder(str(tmp_path), networks=networks)):
        check_model(loaded, given, expected.embedding, expected.recon_x)


def test_every_named_pythae_network_exists() -> None:
    from lsampler_plugins.loaders.pythae_folder import Networks, PythaeFolder

    own = {"uses_default_encoder": False, "uses_default_decoder": False, "latent_dim": 4}
    for networks, kind, half in itertools.product(Networks.__args__, ("AE", "VAE"), ("encoder", "decoder")):
        size, channels = {"mnist": (28, 1), "cifar": (32, 3), "celeba": (64, 3)}[networks.split("-")[0]]
        config = own | {"input_dim": [channels, size, size]}
        assert PythaeFolder(networks=networks)._build("x", half, config, kind).state_dict()


def test_diffusers_kl_model_gives_its_mean_and_takes_other_sizes(made: Path) -> None:
    own = kl_model()
    for size in (8, 12):
        given = images(1, size)
        loaded = load_autoencoder(str(made / "kl"), **{} if size == 8 else {"size": size})
        mean = own.encode(given * 2 - 1).latent_dist.mean
        assert (loaded.dimension, loaded.preprocess.size) == (mean[0].numel(), size)
        check_model(loaded, given, mean, (own.decode(mean).sample + 1) / 2)


def test_diffusers_tiny_model_takes_images_of_minus_one_to_one(tmp_path: Path) -> None:
    own = tiny_kl_model()
    own.save_pretrained(tmp_path)
    loaded = load_autoencoder(str(tmp_path), size=16)
    given = images(3, 16)
    latents = own.encode(given * 2 - 1).latents
    check_model(loaded, given, latents, (own.decode(latents).sample + 1) / 2)


def test_diffusers_weights_in_half_precision_and_several_files_are_read_without_the_network(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a connection was tried: {arguments}")

    kl_model().half().save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    for variant, parts in (("fp16", {}), ("bf16", {"max_shard_size": "10KB"})):  # there are no others beside them
        kl_model().half().save_pretrained(tmp_path / variant, variant=variant, **parts)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    own = kl_model().half().float()
    mean = own.encode(images() * 2 - 1).latent_dist.mean
    for folder in (tmp_path / "fp16", tmp_path / "bf16", tmp_path):
        loaded = load_autoencoder(str(folder))
        check_model(loaded, images(), mean, (own.decode(mean).sample + 1) / 2)
    assert loaded.fingerprint != load_autoencoder(str(made / "kl")).fingerprint


def check_keras(spec: str, encoder: Any, decoder: Any, **parameters: Any) -> None:
    given = images(1, parameters.get("size", 8))
    first = parameters.get("channel_order") == "first"
    mean = encoder(given if first else given.permute(0, 2, 3, 1))
    mean = (mean[0] if isinstance(mean, list) else mean).detach()
    decoded = decoder(mean).detach()
    check_model(load_autoencoder(spec, **parameters), given, mean, decoded if first else decoded.permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("order", "size", "parameters"),
    [("last", 8, {}), ("first", 8, {"channel_order": "first"}), ("last", None, {"size": 16})],
)
def test_keras_pair_encodes_and_decodes_as_in_keras(
    order: str, size: int | None, parameters: dict[str, Any], tmp_path: Path
) -> None:
    encoder, decoder = keras_pair(order, size)
    encoder.save(tmp_path / "a+b.keras")
    decoder.save(tmp_path / "c.keras")
    check_keras(f"{tmp_path / 'a+b.keras'}+{tmp_path / 'c.keras'}", encoder, decoder, **parameters)


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_one_keras_file_is_taken_apart_by_the_names_of_its_parts(kind: str, tmp_path: Path) -> None:
    keras = import_keras()
    encoder, decoder = keras_pair()
    if kind == "sequential":
        encoder = keras.Sequential(
            [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)], name="encoder"
        )
        model = keras.Sequential([keras.Input((8, 8, 1)), encoder, decoder])
    else:
        entry = keras.Input((8, 8, 1))
        model = keras.Model(entry, decoder(encoder(entry)[0]))
        model.compile("adam", "mse")
    model.save(tmp_path / "whole.keras")
    check_keras(str(tmp_path / "whole.keras"), encoder, decoder)


def sampling_layer() -> Any:
    keras = import_keras()

    @keras.saving.register_keras_serializable("lsampler_tests")
    class Sampling(keras.layers.Layer):
        """As in Keras's own example of a VAE."""

        def call(self, inputs: Any) -> Any:
            mean, log_variance = inputs
            return mean + keras.ops.exp(log_variance / 2) * keras.random.normal(keras.ops.shape(mean))

    return Sampling()


def test_keras_variational_encoder_gives_its_mean_and_a_random_one_is_refused(made: Path, tmp_path: Path) -> None:
    keras = import_keras()
    encoder = keras_pair()[0]
    sample = sampling_layer()(encoder.outputs)
    keras.Model(encoder.inputs[0], [*encoder.outputs, sample]).save(tmp_path / "vae.keras")
    check_keras(
        f"{tmp_path / 'vae.keras'}+{made / 'decoder.keras'}", encoder, keras.saving.load_model(made / "decoder.keras")
    )
    keras.Model(encoder.inputs[0], sample).save(tmp_path / "random.keras")
    with pytest.raises(LsamplerError, match="another result each time"):
        load_autoencoder(f"{tmp_path / 'random.keras'}+{made / 'decoder.keras'}")


def test_fingerprint_is_of_the_weights_and_loading_leaves_the_random_state(made: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    specs = (made / "vae", made / "kl", f"{made}/encoder.keras+{made}/decoder.keras")
    first, again = ([load_autoencoder(str(spec)).fingerprint for spec in specs] for _ in range(2))
    assert first == again
    assert torch.equal(before, torch.get_rng_state())
    pythae_model("BetaVAE").save(str(tmp_path))
    assert load_autoencoder(str(tmp_path)).fingerprint not in first


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
    ("keras: not images", keras_file(dense, 64), "", "takes shape (any, 64), not images"),
    ("keras: not square", keras_file(dense, 8, 4, 1), "", "takes images of 8 x 4, only"),
    ("keras: channel order", keras_file(dense), "channel_order=first", "takes images of 8 x 1, only"),
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


# The tiny random network flattens all but a few directions, which leaves no normal to fit.
STRATEGIES = {
    "vae": "multivariate-normal",
    "kl": "multivariate-normal",
    "tiny": "gaussian",
    "keras": "multivariate-normal",
}


def test_the_command_line_prints_only_its_own_lines_and_stores_what_the_model_gives(made: Path) -> None:
    """Encode and sample with each library, in a process of its own that imports them once."""
    kl_model().half().save_pretrained(made / "shards", max_shard_size="10KB")
    tiny_kl_model().save_pretrained(made / "tiny")
    models = {
        "vae": ([made / "vae"], 3),
        "kl": ([made / "shards"], 32),
        "tiny": ([made / "tiny", "--model-param", "size=16", "--model-param", "channels=3"], 32),
        "keras": ([f"{made / 'encoder.keras'}+{made / 'decoder.keras'}"], 3),
    }
    commands: list[list[object]] = []
    expected = []
    for name, (model, dimension) in models.items():
        strategy, store = STRATEGIES[name], f"{name}.h5"
        commands += [
            ["encode", made / "images.npy", "--model", *model, "--held-out", 6, "--out", store],
            ["sample", "-p", strategy, "--model", *model, "--store", store, "--n", 4, "--out", f"{name}.png"],
        ]
        expected += [
            f"{store}: 54 latent vectors and 6 held out, D = {dimension}",
            f"4 samples of {strategy} (seed 0, fitted to {store}): {name}.png",
        ]
    done = run_in_one_process(commands, cwd=made, env={**os.environ, "KERAS_BACKEND": "jax"})
    crops, said = [], []
    for line in done.stdout.splitlines():
        (crops if line.startswith("crop centre, size ") else said).append(line)
    assert (len(crops), said, done.stderr) == (len(models), expected, "")
    given = torch.from_numpy(np.load(made / "images.npy"))[:, None]
    expected_latents = pythae_model().predict(given).embedding.detach()
    np.testing.assert_allclose(open_store(made / "vae.h5").read(0, 60), expected_latents, rtol=0, atol=1e-5)
    assert (made / "keras.png").stat().st_size > 0
