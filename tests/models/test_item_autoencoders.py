"""The autoencoders of tables, arrays and signals: shapes, units, the file, and latents of another unit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lsampler import LsamplerError
from lsampler.bundles import load_safetensors_autoencoder
from lsampler.data import Item
from lsampler.models import (
    ConvAutoencoder,
    DenseAutoencoder,
    DenseConfig,
    SignalAutoencoder,
    SignalConfig,
    TrainedAutoencoder,
)

ITEMS = [
    Item("table", (1,)),
    Item("table", (5,), ("a", "b", "c", "d", "e")),
    Item("array", (2, 3, 4)),
    *(Item("signal", (channels, length)) for channels, length in ((1, 1), (1, 2), (2, 3), (3, 17), (2, 64), (1, 181))),
]


def made(item: Item) -> TrainedAutoencoder:
    """An untrained autoencoder whose items have the means 1000 and the standard deviations 1, 2 and so on."""
    torch.manual_seed(0)
    model = SignalAutoencoder(item) if item.kind == "signal" else DenseAutoencoder(item)
    scale = torch.arange(1.0, model.scale.numel() + 1).reshape(model.scale.shape)
    model.standardise(torch.full_like(scale, 1000.0), scale)
    return model.eval()


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.words)
def test_items_of_any_length_go_there_and_back(item: Item, tmp_path: Path) -> None:
    model = made(item)
    items = 1000 + torch.randn(7, *item.shape)
    latents = model.encode(items)
    decoded = model.decode(latents)
    assert latents.shape == (7, model.dimension)
    assert decoded.shape == items.shape
    assert latents.dtype == decoded.dtype == torch.float32
    torch.testing.assert_close(torch.cat([model.encode(one[None]) for one in items]), latents)
    model.save(tmp_path / "m.safetensors")
    again = load_safetensors_autoencoder(tmp_path / "m.safetensors")
    assert type(again) is type(model)
    assert (again.item, again.fingerprint, again.dimension) == (item, model.fingerprint, model.dimension)
    assert torch.equal(again.decode(again.encode(items)), decoded)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.words)
def test_another_unit_of_the_latents_changes_no_reconstruction(item: Item) -> None:
    model = made(item)
    items = 1000 + torch.randn(7, *item.shape)
    latents, decoded = model.encode(items), model.decode(model.encode(items))
    model.scale_latents(8.0)
    torch.testing.assert_close(model.encode(items), 8 * latents)
    torch.testing.assert_close(model.decode(model.encode(items)), decoded)


def test_a_constant_is_decoded_as_it_was_and_does_not_count() -> None:
    model = DenseAutoencoder(Item("table", (3,)), DenseConfig(widths=(4,), latent_dim=2)).eval()
    model.standardise(torch.tensor([5.0, 10.0, 20.0]), torch.tensor([0.0, 1.0, 2.0]))
    decoded = model.decode(torch.randn(9, 2) * 100)
    assert (decoded[:, 0] == 5).all()
    one, other = torch.tensor([[5.0, 11.0, 20.0], [5.0, 10.0, 24.0]]), torch.tensor([[7.0, 10.0, 20.0]] * 2)
    assert torch.equal(model.encode(one), model.encode(one + torch.tensor([9.0, 0.0, 0.0])))
    # By hand: (1/1)^2, (4/2)^2 and two zeros, over two rows of two values that vary.
    assert float(model.reconstruction_error(one, other)) == pytest.approx((1 + 4) / 4)


def test_defaults_follow_the_items() -> None:
    assert [DenseConfig.for_item(Item("table", (f,))).latent_dim for f in (1, 2, 3, 30, 1000)] == [1, 2, 2, 20, 64]
    lengths = {1: 1, 15: 1, 32: 2, 64: 3, 128: 4, 100_000: 4}
    assert {n: len(SignalConfig.for_item(Item("signal", (1, n))).filters) for n in lengths} == lengths
    assert SignalConfig.for_item(Item("signal", (2, 9)), latent_dim="4", filters=["3"]).filters == (3,)
    with pytest.raises(LsamplerError, match=r"`widths=0`.*greater than 0"):
        DenseConfig(widths=(0,))


@pytest.mark.parametrize("shape", [(5,), (2, 4), (2, 5, 1)])
def test_items_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(LsamplerError, match=r"rows of shape .*: the encoder takes \(B, 5\)"):
        made(ITEMS[1]).encode(torch.zeros(shape))


def test_a_file_of_another_kind_or_damaged_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    made(ITEMS[1]).save(path)
    with pytest.raises(LsamplerError, match=r"m\.safetensors: holds another kind of autoencoder"):
        ConvAutoencoder.load(path)
    with safe_open(path, framework="pt") as handle:
        metadata = json.loads(handle.metadata()["lsampler"])
    tensors = load_file(path)
    changes = (
        ({"architecture": "quantum"}, {}, "architecture 'quantum' is unknown"),
        ({"item": {"kind": "table", "shape": [6]}}, {}, "do not agree"),
        ({"item": 3}, {}, "do not agree"),
        ({"version": 3}, {}, "autoencoder format 3, this lsampler reads 1 and 2"),
        ({}, {"scale": tensors["scale"] * 2}, "do not match their fingerprint"),
    )
    for description, changed, part in changes:
        save_file(tensors | changed, path, metadata={"lsampler": json.dumps(metadata | description)})
        with pytest.raises(LsamplerError, match=part):
            load_safetensors_autoencoder(path)


def test_half_precision_is_for_weights_and_not_for_scales() -> None:
    model = made(ITEMS[1])
    stored = model.stored(torch.float16)
    assert {name: tensor.dtype for name, tensor in stored.items() if name in ("mean", "scale")} == {
        "mean": torch.float32,
        "scale": torch.float32,
    }
    assert stored["encoder.2.weight"].dtype == torch.float16
