"""Autoencoders of pythae, diffusers and Keras: made by those libraries here, small and at random."""

from __future__ import annotations

import itertools
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_models import images, import_keras, keras_pair, kl_model, pythae_model, tiny_kl_model
from support import check_model, run_in_one_process

from lsampler import LsamplerError, load_autoencoder, open_store

# Keras 3 still converts arrays as numpy 1 did.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
PYTHAE_MODELS = (
    *("AE", "RAE_GP", "RAE_L2", "WAE_MMD", "Adversarial_AE", "BetaTCVAE", "BetaVAE", "CIWAE", "DisentangledBetaVAE"),
    *("FactorVAE", "INFOVAE_MMD", "IWAE", "MIWAE", "MSSSIM_VAE", "PIWAE", "VAE", "VAEGAN", "VAMP"),
)


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
        (crops if line.startswith(("crop centre, size ", "held out: 6 of 60 ")) else said).append(line)
    assert (len(crops), said, done.stderr) == (2 * len(models), expected, "")
    given = torch.from_numpy(np.load(made / "images.npy"))[:, None]
    expected_latents = pythae_model().predict(given).embedding.detach()
    np.testing.assert_allclose(open_store(made / "vae.h5").read(0, 60), expected_latents, rtol=0, atol=1e-5)
    assert (made / "keras.png").stat().st_size > 0
