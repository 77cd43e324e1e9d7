"""Autoencoders from live objects, stores from items in memory, and everything that is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from live_models import items_of, linear_pair
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.neural_network import MLPRegressor
from torch import nn

import lsampler
from lsampler import LsamplerError
from lsampler.data import Item
from lsampler.store import HeldOut, MemoryStore

ROWS = items_of("table")
SIGNALS = items_of("signal")
IMAGES = items_of("image")


def pca() -> PCA:
    return PCA(3).fit(ROWS)


def adapted(**settings: Any) -> Any:
    return lsampler.adapt(pca(), example=ROWS[:2], **settings)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(LsamplerError) as refused:
        call()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("example", "settings", "item"),
    [
        (ROWS, {}, Item("table", (7,))),
        (ROWS, {"names": list("abcdefg"), "unit": "mm"}, Item("table", (7,), tuple("abcdefg"), "mm")),
        (SIGNALS, {}, Item("signal", (2, 16))),
        (np.moveaxis(SIGNALS, 1, 2), {"channel_order": "last"}, Item("signal", (2, 16))),
        (IMAGES, {}, Item("image", (1, 8, 8))),
        (np.moveaxis(items_of("wide-image"), 1, 3), {}, Item("image", (3, 4, 6))),
        (IMAGES[:, 0] * 255, {"kind": "array"}, Item("array", (8, 8))),
        (IMAGES * 255, {"value_range": (0, 255)}, Item("image", (1, 8, 8), value_range=(0, 255))),
        (IMAGES.reshape(-1, 64), {"shape": (1, 8, 8)}, Item("image", (1, 8, 8))),
        (IMAGES.reshape(-1, 64), {"shape": (2, 32)}, Item("signal", (2, 32))),
        (ROWS.reshape(-1, 7, 1, 1, 1), {}, Item("array", (7, 1, 1, 1))),
    ],
)
def test_the_example_says_what_the_items_are(example: Any, settings: dict[str, Any], item: Item) -> None:
    own, weights = example.shape[1:], np.eye(example[0].size, 3, dtype=np.float32)
    model = lsampler.adapt(
        lambda items: items.reshape(len(items), -1) @ weights,
        lambda z: (z @ weights.T).reshape(-1, *own),
        example=example[:2],
        **settings,
    )
    assert model.item == item
    assert model.dimension == 3
    whole = model.own_items(torch.from_numpy(example[:4].copy()))
    assert tuple(whole.shape[1:]) == item.shape


def test_a_frame_brings_its_names_and_ids() -> None:
    frame = load_breast_cancer(as_frame=True).data.iloc[:60]
    frame.index = [f"patient {k}" for k in range(60)]
    model = lsampler.adapt(PCA(4).fit(frame.to_numpy()), example=frame[:2])
    assert model.item.names[:2] == ("mean radius", "mean texture")
    store = lsampler.encode(model, frame, labels=load_breast_cancer(as_frame=True).target[:60].set_axis(frame.index))
    assert set(store.ids()) == set(frame.index)
    expected = load_breast_cancer().target[[int(identity.split()[1]) for identity in store.ids()]]
    np.testing.assert_array_equal(store.labels["target"], expected)


def test_held_out_rows_come_last_and_keep_their_ids() -> None:
    store = lsampler.encode(adapted(), ROWS, held_out=HeldOut(30, "last"))
    assert store.ids() == [f"{k:03d}" for k in range(130)]
    assert store.splits() == ["train"] * 100 + ["held-out"] * 30
    np.testing.assert_allclose(store.read(), pca().transform(ROWS), atol=1e-5)
    drawn = lsampler.encode(adapted(), ROWS, labels={"number": np.arange(130)})
    assert (drawn.count("train"), drawn.count("held-out")) == (117, 13)
    assert drawn.labels["number"].tolist() == [int(identity) for identity in drawn.ids()]


@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy, np.ndarray.tolist])
def test_items_come_as_arrays_tensors_and_lists(form: Callable[[Any], Any]) -> None:
    expected = lsampler.encode(adapted(), ROWS).read()
    np.testing.assert_array_equal(lsampler.encode(adapted(), form(ROWS)).read(), expected)


def test_images_come_as_bytes_and_with_channels_last() -> None:
    encoder, decoder = linear_pair((3, 4, 6))
    images = items_of("wide-image")
    model = lsampler.adapt(encoder, decoder, example=images[:2])
    pixels = (images * 255).round().astype(np.uint8)
    expected = lsampler.encode(model, pixels.astype(np.float32) / 255).read()
    np.testing.assert_allclose(lsampler.encode(model, pixels).read(), expected, atol=1e-6)
    np.testing.assert_allclose(lsampler.encode(model, np.moveaxis(pixels, 1, 3)).read(), expected, atol=1e-6)


def test_value_range_holds_for_what_goes_in_and_comes_out() -> None:
    encoder, decoder = linear_pair((1, 8, 8))
    with torch.no_grad():
        encoder[1].weight.mul_(0.01)
        decoder[0].weight.mul_(20)
        decoder[0].bias.add_(100)
    model = lsampler.adapt(encoder, decoder, example=IMAGES[:2] * 255, value_range=(0, 255))
    z = lsampler.encode(model, IMAGES * 255, held_out=HeldOut(20, "last")).read()
    np.testing.assert_allclose(z, encoder(torch.from_numpy(IMAGES * 255)).detach(), rtol=1e-4, atol=1e-3)
    expected = decoder(torch.from_numpy(z)).detach().clamp(0, 255)
    np.testing.assert_allclose(lsampler.decode(model, z), expected, rtol=1e-5, atol=1e-3)


def test_halves_of_a_scikit_learn_network_make_an_autoencoder() -> None:
    """The issue's own case: the two halves of an MLPRegressor that was trained to give what it takes."""
    network = MLPRegressor(hidden_layer_sizes=(3,), activation="identity", max_iter=50, random_state=0, tol=1.0).fit(
        ROWS, ROWS
    )
    (into, out), (shift, back) = network.coefs_, network.intercepts_
    model = lsampler.adapt(lambda x: x @ into + shift, lambda z: z @ out + back, example=ROWS[:2])
    decoded = lsampler.decode(model, lsampler.encode(model, ROWS, held_out=HeldOut(13, "last")).read())
    np.testing.assert_allclose(decoded, network.predict(ROWS), atol=1e-4)


def test_fingerprints_follow_the_weights() -> None:
    same, other = linear_pair((7,)), linear_pair((7,))
    assert lsampler.adapt(*same, example=ROWS[:2]).fingerprint == lsampler.adapt(*other, example=ROWS[:2]).fingerprint
    with torch.no_grad():
        other[0][1].weight[0, 0] += 1
    assert lsampler.adapt(*same, example=ROWS[:2]).fingerprint != lsampler.adapt(*other, example=ROWS[:2]).fingerprint
    assert adapted().fingerprint == adapted().fingerprint != adapted(unit="mm").fingerprint
    changed = lsampler.adapt(PCA(3).fit(ROWS[:50]), example=ROWS[:2])
    assert changed.fingerprint != adapted().fingerprint


class Mixing(nn.Module):
    """Subtracts the mean of the batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(0))[:, :3]


class Shuffling(nn.Module):
    """Gives the items in the order of their first value."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[x[:, 0].argsort()][:, :3]


def into(x: Any) -> Any:
    return x[:, :3]


def back(z: Any) -> Any:
    return np.pad(z, ((0, 0), (0, 4)))


@pytest.mark.parametrize(
    ("encoder", "decoder", "part"),
    [
        (Mixing(), nn.Linear(3, 7), "depends on the other items of its batch; give one in evaluation mode"),
        (Shuffling(), nn.Linear(3, 7), "depends on the other items of its batch"),
        (lambda x: into(x)[:1], back, "the encoder takes batches of exactly 1"),
        (lambda x: (into(x), into(x)), back, "the encoder gave a tuple of 2; give a function that returns the latent"),
        (lambda x: {"mean": into(x)}, back, "such as lambda x: encoder(x)['mean']"),
        (into, lambda z: [back(z)], "the decoder gave a list of 1; give a function that returns the items alone"),
        (into, lambda _: "text", "the decoder gave a str"),
        (into, lambda z: z, "the decoder gave shape (2, 3) (B, F), expected (2, 7)"),
        (into, None, "function is no encoder and decoder in one; give the decoder, too"),
        ("encoder", back, "adapt: the encoder is of type str; give a module, a Keras model, a function"),
        (lambda x: into(x) * np.nan, back, "the encoder gave NaN or infinite values"),
        (lambda x: into(x) + np.random.default_rng().normal(), back, "gives another result each time"),
        (nn.Linear(6, 3), nn.Linear(3, 7), "the encoder failed on rows of shape (2, 7)"),
        (PCA(3), back, "not fitted yet"),
    ],
)
def test_pairs_that_do_not_work_are_refused(encoder: Any, decoder: Any, part: str) -> None:
    assert part in refusal(lambda: lsampler.adapt(encoder, decoder, example=ROWS[:2]))


def test_rows_of_an_image_are_no_items() -> None:
    """A linear layer takes the last axis of anything: it maps each of 30 rows to 6 numbers, D = 180."""
    images = np.random.default_rng(0).random((2, 1, 30, 30), dtype=np.float32)
    message = refusal(lambda: lsampler.adapt(nn.Linear(30, 6), nn.Linear(6, 30), example=images))
    assert "takes every row of an image for an item of its own" in message
    assert message.endswith("flatten the items first, as by nn.Flatten()")


@pytest.mark.parametrize(
    ("example", "settings", "part"),
    [
        (ROWS[0], {}, "`example`: shape (7,); give two or more items, (B, ...), such as X[:2]"),
        (ROWS[:1], {}, "`example`: shape (1, 7); give two or more items"),
        ([[1.0, 2.0], [3.0]], {}, "`example`: not an array of numbers (B, ...); give rows of the same length"),
        (
            np.array([["a"] * 7] * 2),
            {},
            "`example`: not an array of numbers (B, ...), but of texts; turn them into numbers",
        ),
        (ROWS[:2], {"shape": (8,)}, "`example`: items of shape (7,), where `shape=(8,)` is declared"),
        (ROWS[:2], {"kind": "signal"}, "`shape=(7,)`: the shape of one signal is (C, L)"),
        (ROWS[:2], {"kind": "tabel"}, "`kind=tabel` is unknown; did you mean 'table'?"),
        (ROWS[:2], {"names": ["a"]}, "1 `names` for an item (a row of 7 features); give one per feature or channel"),
        (ROWS[:2], {"names": ["a"] * 7}, "two of the `names` are equal"),
    ],
)
def test_examples_that_are_none_are_refused(example: Any, settings: dict[str, Any], part: str) -> None:
    assert part in refusal(lambda: lsampler.adapt(into, back, example=example, **settings))


def test_images_outside_their_range_are_refused() -> None:
    message = refusal(lambda: lsampler.adapt(*linear_pair((1, 8, 8)), example=IMAGES[:2] * 255))
    assert "say what black and white are, such as `value_range=(0, 255)`" in message


def frame(**changes: Any) -> Any:
    import pandas

    return pandas.DataFrame(ROWS, columns=list("abcdefg")).assign(**changes)


@pytest.mark.parametrize(
    ("items", "part"),
    [
        (ROWS[:, :6], "items: items of shape (6,), the model takes (7,), a row of 7 features"),
        ([[1.0] * 7, [1.0] * 6], "items: not an array of numbers (N, ...); give rows of the same length"),
        (np.array([[object()] * 7] * 3), "items: "),
        (np.where(np.arange(130)[:, None] == 5, np.nan, ROWS), "'a'"),
        (frame(c="red"), "'c'"),
        (frame().rename(columns={"b": "other"}), "items: holds no column 'b', which the model takes"),
        (
            frame()[list("abcdegf")],
            "items: column 6 is 'g', where the model takes 'f'; give the columns in",
        ),
        (frame(h=1.0), "items: column 'h' is not one that the model takes"),
        ("nowhere.npy", "nowhere.npy: no such file of items"),
        (ROWS[:0], "items: shape (0, 7) holds no items"),
    ],
)
def test_items_that_are_none_are_refused(items: Any, part: str) -> None:
    model = adapted(names=list("abcdefg"))
    assert part in refusal(lambda: lsampler.encode(model, items))


def test_signals_of_another_length_are_refused() -> None:
    model = lsampler.adapt(*linear_pair((2, 16)), example=SIGNALS[:2])
    message = refusal(lambda: lsampler.encode(model, SIGNALS[:, :, :12]))
    assert "items of shape (2, 12), the model takes (2, 16), a signal of 2 x 16" in message


@pytest.mark.parametrize(
    ("labels", "part"),
    [
        (np.arange(9), "`labels`: 'label' has the shape (9,) for 130 items; give one per item"),
        ({"age": np.zeros((130, 2))}, "`labels`: 'age' has the shape (130, 2) for 130 items; give one per item"),
    ],
)
def test_labels_of_another_number_are_refused(labels: Any, part: str) -> None:
    assert part in refusal(lambda: lsampler.encode(adapted(), ROWS, labels=labels))


def test_latents_are_decoded_in_the_units_of_the_items() -> None:
    model = adapted()
    latents = pca().transform(ROWS[:9])
    np.testing.assert_allclose(lsampler.decode(model, latents), pca().inverse_transform(latents), atol=1e-5)
    np.testing.assert_array_equal(lsampler.decode(model, latents.tolist()), lsampler.decode(model, latents))
    assert lsampler.decode(model, latents[:0]).shape == (0, 7)
    assert "give (n, D), such as `latents[None]` for one" in refusal(lambda: lsampler.decode(model, latents[0]))
    assert "(9, 2): PCA takes (B, 3)" in refusal(lambda: lsampler.decode(model, latents[:, :2]))


def test_a_live_object_is_no_name_of_a_model() -> None:
    message = refusal(lambda: lsampler.load_autoencoder((nn.Linear(7, 3), nn.Linear(3, 7))))  # type: ignore[arg-type]
    assert "lsampler.adapt" in message


def test_the_store_brings_its_autoencoder_along() -> None:
    store = lsampler.encode(adapted(), ROWS)
    assert isinstance(store, MemoryStore)
    compared = lsampler.compare(store, "gaussian", evaluators="cycle-consistency", n=50)
    assert "cycle-distance" in compared.rows[-1].by_metric
