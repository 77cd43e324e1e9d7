"""``lsampler sample`` and ``lsampler decode``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsampler._cli.common import Device, Force, Model, Params, Seed, Store, Threads, examples, key_values
from lsampler._errors import LsamplerError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from lsampler._interfaces import Autoencoder

Out = Annotated[Path, typer.Option("--out", "-o", help="A .png grid, a folder of images, or an .h5 of latent vectors.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(
        epilog=examples(
            "lsampler sample --plugin pca-ellipse --out faces.png",
            "lsampler sample --plugin pca-ellipse --param fact=0.8 --param components=120 --seed 7 --out more.png",
            "lsampler sample --plugin gaussian --n 1000000 --out vectors.h5",
            "lsampler sample --plugin line-path --model my.safetensors --store my.h5 --out walk/",
        )
    )(sample)
    app.command(epilog=examples("lsampler decode vectors.h5 --out vectors.png --n 64"))(decode)


def sample(
    plugin: Annotated[str, typer.Option("--plugin", "-p", help="The strategy; see 'lsampler plugins'.")],
    out: Out = Path("samples.png"),
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many samples.")] = 64,
    param: Params = [],  # noqa: B006
    model: Model = None,
    store: Store = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    force: Force = False,
) -> None:
    """Draw latent vectors by a strategy, and decode them to images."""
    from lsampler._files import check_output
    from lsampler._random import resolve_device
    from lsampler._registry import registry
    from lsampler._workspace import open_workspace

    check_output(_checked_kind(out), force=force)
    strategy = registry().get("sampler", plugin).from_strings(key_values(param))
    workspace = open_workspace(model, store)
    # Devices differ in their random numbers: drawing moves to one only when told to.
    drawn_on, target = resolve_device("cpu" if device == "auto" else device), resolve_device(device)
    sampler = strategy.fit(workspace.reference)
    blocks = sampler.stream(n, seed=seed, device=drawn_on, threads=threads)
    if out.suffix == ".h5":
        provenance = {
            "kind": "samples",
            "sampler": sampler.name,
            "parameters": json.dumps(sampler.settings()),
            "seed": seed,
            "device": drawn_on.type,
            "reference": workspace.reference.name,
        }
        if sampler.fingerprint:
            provenance["encoder"] = sampler.fingerprint
        _write_latents(blocks, n, out, workspace.reference.dimension, provenance, force)
    else:
        _write_images(workspace.decoder(), target, blocks, n, out, force)
    print(f"{n} samples of {sampler.name} (seed {seed}, fitted to {workspace.reference.name}): {out}")


def decode(
    samples: Annotated[Path, typer.Argument(help="Latent vectors made by 'lsampler sample' or 'encode' (.h5).")],
    out: Out = Path("decoded.png"),
    n: Annotated[int | None, typer.Option("--n", "-n", min=1, help="Only the first n.", show_default="all")] = None,
    model: Model = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Decode latent vectors made earlier to images."""
    import torch

    from lsampler._files import check_output
    from lsampler._random import resolve_device
    from lsampler._store import LatentStore
    from lsampler._workspace import open_model

    check_output(_checked_kind(out), force=force)
    if out.suffix == ".h5":
        raise LsamplerError(f"{out}: decoding gives images; choose a .png or a folder")
    stored = LatentStore(samples)
    autoencoder = open_model(model, stored.fingerprint)
    if autoencoder is None:
        raise LsamplerError(f"{samples}: encoded by another model than celeba96; give that --model")
    if autoencoder.dimension != stored.dimension:
        raise LsamplerError(f"{samples}: D = {stored.dimension}, the decoder takes {autoencoder.dimension}")
    total = min(n or len(stored), len(stored))
    step = 1024
    blocks = (torch.from_numpy(stored.read(at, min(at + step, total))) for at in range(0, total, step))
    _write_images(autoencoder, resolve_device(device), blocks, total, out, force)
    print(f"{total} images: {out}")


def _checked_kind(out: Path) -> Path:
    if out.suffix not in ("", ".png", ".h5") and not out.is_dir():
        raise LsamplerError(f"{out}: give a .png for a grid, a folder for single images, or an .h5 for latent vectors")
    return out


def _write_latents(
    blocks: Iterable[Tensor], n: int, out: Path, dimension: int, provenance: dict[str, Any], force: bool
) -> None:
    from lsampler._progress import rich_progress, track
    from lsampler._store_writer import write_store

    with rich_progress() as progress:
        tracked = track(blocks, progress, "drawing", n, len)
        write_store(out, dimension, (block.cpu().numpy() for block in tracked), provenance, force=force)


def _write_images(
    autoencoder: Autoencoder, device: Any, blocks: Iterable[Tensor], n: int, out: Path, force: bool
) -> None:
    import numpy as np

    from lsampler._decoding import MAX_GRID_IMAGES, decode_stream, save_folder, save_grid
    from lsampler._progress import rich_progress

    batches = decode_stream(autoencoder.to(device), blocks)
    if out.suffix == ".png":
        if n > MAX_GRID_IMAGES:
            raise LsamplerError(
                f"{out}: {n} images are too many for one picture; give a folder, or at most {MAX_GRID_IMAGES}"
            )
        save_grid(np.concatenate(list(batches)), out, force=force)
        return
    with rich_progress() as progress:
        save_folder(batches, n, out, force=force, progress=progress)
