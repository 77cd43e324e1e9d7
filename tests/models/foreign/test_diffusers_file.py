"""VAEs in one .safetensors file, in the layout of diffusers and in the original one of Stable Diffusion."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import images
from safetensors.torch import load_file, save_file
from support import check_model

from lsampler import LsamplerError, load_autoencoder

Weights = dict[str, torch.Tensor]


def vae(**settings: Any) -> Any:
    from diffusers import AutoencoderKL

    torch.manual_seed(4)
    levels = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    sizes = {"block_out_channels": (8, 16, 16), "norm_num_groups": 4, "layers_per_block": 2, "latent_channels": 4}
    return AutoencoderKL(**levels | sizes | settings).eval()


def original_names(weights: Weights) -> Weights:
    """The names of the original code, written down from that code: its decoder counts levels from the last."""
    found = {}
    for name, weight in weights.items():
        parts = name.split(".")
        for old, new in (("conv_norm_out", "norm_out"), ("conv_shortcut", "nin_shortcut"), ("resnets", "block")):
            parts = [new if part == old else part for part in parts]
        if parts[1] == "mid_block":
            of = "attn_1" if parts[2] == "attentions" else f"block_{int(parts[3]) + 1}"
            rest = ".".join(parts[4:])
            for old, new in (("group_norm", "norm"), ("to_out.0", "proj_out"), ("to_", "")):
                rest = rest.replace(old, new)
            parts = [parts[0], "mid", of, rest]
            weight = weight[:, :, None, None] if of == "attn_1" and weight.ndim == 2 else weight
        elif parts[1] in ("down_blocks", "up_blocks"):
            level = int(parts[2]) if parts[1] == "down_blocks" else 2 - int(parts[2])
            rest = list(parts[3:])
            if rest[0] in ("downsamplers", "upsamplers"):
                rest = [rest[0].removesuffix("rs"), *rest[2:]]
            parts = [parts[0], parts[1].removesuffix("_blocks"), str(level), *rest]
        found[".".join(parts)] = weight.contiguous()
    return found


def older_names(weights: Weights) -> Weights:
    """The names of attention weights before diffusers 0.18."""
    found = {}
    for name, weight in weights.items():
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            name = name.replace(new, old)
        found[name] = weight
    return found


def whole_model(weights: Weights) -> Weights:
    """A checkpoint of Stable Diffusion: its VAE is one part of several."""
    parts = {f"first_stage_model.{name}": weight for name, weight in original_names(weights).items()}
    return parts | {"model.diffusion_model.out.weight": torch.ones(3), "first_stage_model.loss.logvar": torch.ones(1)}


LAYOUTS: dict[str, Callable[[Weights], Weights]] = {
    "diffusers": dict,
    "older diffusers": older_names,
    "original": original_names,
    "whole model": whole_model,
}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a connection was tried: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_single_file_gives_what_diffusers_gives(layout: str, tmp_path: Path) -> None:
    own, file = vae(), tmp_path / "vae-ft.safetensors"
    save_file(LAYOUTS[layout](own.state_dict()), file)
    loaded = load_autoencoder(str(file), size=16, norm_groups=4)
    mean = own.encode(images(3, 16) * 2 - 1).latent_dist.mean
    check_model(loaded, images(3, 16), mean, (own.decode(mean).sample + 1) / 2)
    assert (loaded.latent_shape, loaded.preprocess.channels) == ((4, 4, 4), 3)
    if layout != "older diffusers":  # which its own reader of single files does not rename
        own.save_config(tmp_path / "config")
        theirs = type(own).from_single_file(str(file), config=str(tmp_path / "config"), low_cpu_mem_usage=False)
        check_model(loaded, images(3, 16), mean, (theirs.eval().decode(mean).sample + 1) / 2)


def test_both_layouts_have_one_fingerprint_and_leave_the_random_state(tmp_path: Path) -> None:
    before, found = torch.get_rng_state(), set()
    weights = vae().state_dict()
    before = torch.get_rng_state()
    for layout, renamed in LAYOUTS.items():
        save_file(renamed(weights), tmp_path / f"{layout}.safetensors")
        found.add(load_autoencoder(str(tmp_path / f"{layout}.safetensors"), size=16, norm_groups=4).fingerprint)
    assert len(found) == 1
    assert torch.equal(before, torch.get_rng_state())


def test_a_vae_without_attention_and_quantisation_is_read_off_its_weights(tmp_path: Path) -> None:
    """As that of newer models, with 16 channels and no 1 x 1 convolution around the latents."""
    plain = {"use_quant_conv": False, "use_post_quant_conv": False, "mid_block_add_attention": False}
    own = vae(latent_channels=16, **plain, in_channels=1, out_channels=1)
    save_file(original_names(own.half().state_dict()), tmp_path / "ae.safetensors")
    loaded, own = load_autoencoder(str(tmp_path / "ae.safetensors"), size=8, norm_groups=4), own.float()
    mean = own.encode(images() * 2 - 1).latent_dist.mean
    check_model(loaded, images(), mean, (own.decode(mean).sample + 1) / 2)


def without(name: str) -> Callable[[Weights], Weights]:
    return lambda weights: {key: weight for key, weight in weights.items() if key != name}


BAD: list[tuple[str, Callable[[Weights], Weights], dict[str, Any], str]] = [
    ("no size", dict, {"norm_groups": 4}, "does not say its image size; give `size=...`"),
    ("norm groups", dict, {"size": 16}, r"no multiples of `norm_groups=32`; give the number of groups"),
    ("odd size", dict, {"size": 18, "norm_groups": 4}, "`size=18` must be a multiple of 4"),
    ("a weight less", without("decoder.conv_in.weight"), {"size": 16}, "has no weight 'decoder.conv_in.weight'; get"),
    ("a bias less", without("decoder.conv_in.bias"), {"size": 16, "norm_groups": 4}, "1 weights are missing or unkn"),
    ("discrete", lambda w: w | {"quantize.embedding.weight": torch.ones(2)}, {"size": 16}, "has discrete latents"),
    ("video", lambda w: w | {"encoder.x.weight": torch.ones(1, 1, 1, 1, 1)}, {"size": 16}, "a VAE of videos"),
    ("more", lambda w: w | {"encoder.x.weight": torch.ones(1)}, {"size": 16, "norm_groups": 4}, "such as encoder.x"),
]


@pytest.mark.parametrize(("change", "parameters", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_file_that_does_not_fit_is_refused_in_one_line(
    change: Callable[[Weights], Weights], parameters: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_file(change(dict(vae().state_dict())), tmp_path / "bad.safetensors")
    with pytest.raises(LsamplerError, match=message) as caught:
        load_autoencoder(str(tmp_path / "bad.safetensors"), **parameters)
    assert "\n" not in str(caught.value)


def test_a_file_that_holds_no_vae_is_left_to_other_loaders(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(LsamplerError, match="not an autoencoder made by 'lsampler train'"):
        load_autoencoder(str(tmp_path / "other.safetensors"))
    assert load_file(tmp_path / "other.safetensors")
