"""Every check of an autoencoder catches an autoencoder that is broken in that respect."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from testing.sound_plugins import ANY, Linear, broken, failures, require_caught
from torch import Tensor, nn

from lsampler.testing import check_autoencoder, checks_of

GENERATOR = torch.Generator()


def linear(**members: Any) -> Any:
    return type("Broken", (Linear,), members)()


def encoding(change: Callable[[Tensor], Any]) -> Any:
    return linear(encode=lambda self, images: change(Linear.encode(self, images)))


def decoding(change: Callable[[Tensor], Any]) -> Any:
    return linear(decode=lambda self, latents: change(Linear.decode(self, latents)))


def takes_any_shape(self: Linear, latents: Tensor) -> Tensor:
    return Linear.decode(self, latents.reshape(-1)[:5][None].expand(max(1, latents.numel() // 5), 5))


def dropped(x: Tensor) -> Tensor:
    return x * (torch.rand(x.shape, generator=GENERATOR) > 0.5)


TABLE = [
    broken("global-state-untouched", "", decoding(lambda x: torch.dropout(x, 0.5, True) * 0 + x)),
    broken("has-all-members", "dimension is 5.0", linear(dimension=5.0), {"wrong-shapes-refused"}),
    broken("has-all-members", "fingerprint is None", linear(fingerprint=None)),
    broken("encodes", "encode() gave torch.float64", encoding(lambda z: z.double()), ANY),
    broken("encodes", "encode() gave NaN", encoding(lambda z: z * torch.nan), ANY),
    broken("encodes", "black and white have one latent vector", encoding(lambda z: z * 0)),
    broken("decodes", "decode() gave shape", decoding(lambda x: x.flatten(1))),
    broken("decodes", "clamp them to 0 .. 1", decoding(lambda x: 3 * x - 1)),
    broken("same-result", "encode() twice", encoding(dropped), ANY),
    broken("batch-does-not-matter", "use no statistics of the batch", encoding(lambda z: z - 0.1 * z.mean(dim=0))),
    broken("inputs-untouched", "encode() changes its argument", linear(encode=lambda self, x: Linear.encode(self, x.sub_(0.5))), ANY),
    broken("no-gradient", "decode() keep a gradient", decoding(lambda x: x * nn.Parameter(torch.ones(())))),
    broken("fingerprint-stays", "with use", linear(fingerprint=property(lambda self: str(random.random())))),
    broken("moves", "does not return self", linear(to=lambda self, device: Linear())),
    broken("wrong-shapes-refused", "stops with RuntimeError", linear(encode=lambda self, x: x.flatten(1) @ self.weight)),
    broken("wrong-shapes-refused", "is accepted", linear(decode=takes_any_shape), ANY),
]  # fmt: skip


@pytest.mark.parametrize(("check", "message", "plugin", "also"), TABLE)
def test_a_broken_autoencoder_is_caught(check: str, message: str, plugin: Any, also: set[str]) -> None:
    require_caught(check_autoencoder, check, message, plugin, also)


def test_every_check_has_an_autoencoder_that_fails_it() -> None:
    assert {check.name for check in checks_of(Linear())} == {row.values[0] for row in TABLE}


class OffWhenMoved(Linear):
    brightness = 1.0

    def to(self, device: torch.device) -> Linear:
        self.brightness = 1.0 if device.index is None else 0.5
        return self

    def decode(self, latents: Tensor) -> Tensor:
        return super().decode(latents) * self.brightness


def test_another_device_is_compared_with_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second device is the CPU under another name, which every machine has."""
    monkeypatch.setattr("lsampler.testing.autoencoders.accelerators", lambda: ["cpu:0"])
    check_autoencoder(Linear())
    assert "on cpu:0 decoded values are off by" in failures(check_autoencoder, OffWhenMoved())["moves"]
