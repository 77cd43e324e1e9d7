"""``lsampler sample`` and ``lsampler decode``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsampler.cli.common import (
    SHARDS,
    Cluster,
    Device,
    Force,
    Model,
    ModelParams,
    Params,
    Seed,
    Store,
    Threads,
    check_shards,
    examples,
    key_values,
    model_settings,
)
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from lsampler.models.protocols import Autoencoder
    from lsampler.samplers.base import LatentSampler

Out = Annotated[
    Path, typer.Option("--out", "-o", help="A .png grid, a folder of images, or an .h5 or .shards of latent vectors.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(
        epilog=examples(
            "lsampler sample --plugin pca-ellipse --out faces.png",
            "lsampler sample --plugin pca-ellipse --param fact=0.8 --param components=120 --seed 7 --out more.png",
            "lsampler sample --plugin gaussian --n 1000000 --out vectors.h5",
            "lsampler sample --plugin gaussian --n 100000000 --out vectors.shards --cluster tcp://host:8786",
            "lsampler sample --plugin line-path --model my.safetensors --store my.h5 --out walk/",
            "lsampler sample --fitted flow.safetensors --model my.safetensors --out more.png",
        )
    )(sample)
    app.command(
        epilog=examples(
            "lsampler fit --plugin flow --store latents.h5 --out flow.safetensors",
            "lsampler sample --fitted flow.safetensors --out faces.png",
        )
    )(fit)
    app.command(epilog=examples("lsampler decode vectors.h5 --out vectors.png --n 64"))(decode)


def sample(
    plugin: Annotated[str | None, typer.Option("--plugin", "-p", help="The strategy; see 'lsampler plugins'.")] = None,
    out: Out = Path("samples.png"),
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many samples.")] = 64,
    param: Params = [],  # noqa: B006
    model: Model = None,
    model_param: ModelParams = [],  # noqa: B006
    store: Store = None,
    fitted: Annotated[
        Path | None, typer.Option(help="A strategy fitted before by 'lsampler fit', in place of --plugin.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    cluster: Cluster = None,
    force: Force = False,
) -> None:
    """Draw latent vectors with a strategy and decode them to images."""
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.files import check_output

    check_output(_checked_kind(out), force=force)
    check_shards(out, cluster)
    settings = model_settings(model, model_param)
    with on_cluster(cluster):
        if fitted is not None:
            sampler, decoder, origin = _fitted_before(fitted, plugin, param, store, model, settings)
        else:
            sampler, decoder, origin = _fitted_now(plugin, param, store, model, settings, device)
        _draw(sampler, decoder, origin, n, out, seed=seed, device=device, threads=threads, force=force)
    print(f"{n} samples of {sampler.name} (seed {seed}, fitted to {origin}): {out}")


def _draw(
    sampler: LatentSampler,
    decoder: Callable[[], Autoencoder],
    origin: str,
    n: int,
    out: Path,
    *,
    seed: int,
    device: str,
    threads: int | None,
    force: bool,
) -> None:
    from lsampler.compute.seeded_blocks import resolve_device

    # Devices differ in their random numbers: drawing moves to one only when told to.
    drawn_on, target = resolve_device("cpu" if device == "auto" else device), resolve_device(device)
    if out.suffix not in (".h5", SHARDS):
        _write_images(decoder(), target, sampler.stream(n, seed=seed, device=drawn_on, threads=threads), n, out, force)
        return
    from lsampler.progress import rich_progress
    from lsampler.samplers.sampling import DrawOptions, sample_store

    with rich_progress() as progress:
        sample_store(
            sampler,
            n,
            out,
            seed=seed,
            options=DrawOptions(drawn_on, threads, origin),
            force=force,
            progress=progress,
        )


def fit(
    plugin: Annotated[str, typer.Option("--plugin", "-p", help="The strategy; see 'lsampler plugins'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The fitted strategy (.safetensors).")],
    param: Params = [],  # noqa: B006
    model: Model = None,
    model_param: ModelParams = [],  # noqa: B006
    store: Store = None,
    device: Device = "auto",
    cluster: Cluster = None,
    force: Force = False,
) -> None:
    """Fit a strategy and save it; 'lsampler sample --fitted' draws from the file."""
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.files import check_output

    if out.suffix != ".safetensors":
        raise LsamplerError(f"{out}: the name of a fitted strategy must end in .safetensors")
    check_output(out, force=force)
    with on_cluster(cluster):
        sampler, _, origin = _fitted_now(plugin, param, store, model, model_settings(model, model_param), device)
    sampler.save(out, force=force)
    print(f"{sampler.name}, fitted to {origin}: {out}")


def _fitted_now(
    plugin: str | None, param: list[str], store: Path | None, model: str | None, settings: dict[str, str], device: str
) -> tuple[LatentSampler, Callable[[], Autoencoder], str]:
    """The fitted strategy, how to get the decoder, and the name of the reference."""
    from lsampler.plugins.registry import registry
    from lsampler.progress import rich_progress
    from lsampler.workspace import open_workspace

    if plugin is None:
        raise LsamplerError("nothing to draw; give --plugin NAME, or --fitted FILE")
    strategy = registry().get("sampler", plugin).from_strings(key_values(param))
    workspace = open_workspace(model, store, settings)
    with rich_progress() as progress:
        sampler = strategy.fit(workspace.reference, device=device, progress=progress)
    return sampler, workspace.decoder, workspace.reference.name


def _fitted_before(
    path: Path, plugin: str | None, param: list[str], store: Path | None, model: str | None, settings: dict[str, str]
) -> tuple[LatentSampler, Callable[[], Autoencoder], str]:
    from lsampler.plugins.loading import load_fitted
    from lsampler.workspace import open_model

    for option, given in (("--plugin", plugin), ("--param", param), ("--store", store)):
        if given:
            raise LsamplerError(f"{option}: a strategy from --fitted needs none; leave it out")
    sampler = load_fitted(path)
    if model is None and sampler.fingerprint is None:
        return sampler, lambda: _no_decoder(path), path.name
    return sampler, lambda: open_model(model, sampler.fingerprint, settings) or _no_decoder(path), path.name


def _no_decoder(path: Path) -> Autoencoder:
    raise LsamplerError(f"{path}: fitted to latents of a model that does not come with lsampler; give that --model")


def decode(
    samples: Annotated[
        Path, typer.Argument(help="Latent vectors made by 'lsampler sample' or 'encode' (.h5, .shards).")
    ],
    out: Out = Path("decoded.png"),
    n: Annotated[int | None, typer.Option("--n", "-n", min=1, help="Only the first n.", show_default="all")] = None,
    model: Model = None,
    model_param: ModelParams = [],  # noqa: B006
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Decode latent vectors of a file to images."""
    import torch

    from lsampler.compute.seeded_blocks import resolve_device
    from lsampler.files import check_output
    from lsampler.store.opening import open_store
    from lsampler.workspace import open_model

    check_output(_checked_kind(out), force=force)
    if out.suffix in (".h5", SHARDS):
        raise LsamplerError(f"{out}: decoding gives images; choose a .png or a folder")
    stored = open_store(samples)
    autoencoder = open_model(model, stored.fingerprint, model_settings(model, model_param))
    if autoencoder is None:
        raise LsamplerError(f"{samples}: encoded by a model that does not come with lsampler; give that --model")
    if autoencoder.dimension != stored.dimension:
        raise LsamplerError(f"{samples}: D = {stored.dimension}, the decoder takes {autoencoder.dimension}")
    total = min(n or len(stored), len(stored))
    step = 1024
    blocks = (torch.from_numpy(stored.read(at, min(at + step, total))) for at in range(0, total, step))
    _write_images(autoencoder, resolve_device(device), blocks, total, out, force)
    print(f"{total} images: {out}")


def _checked_kind(out: Path) -> Path:
    if out.suffix not in ("", ".png", ".h5", SHARDS) and not out.is_dir():
        raise LsamplerError(f"{out}: give a .png for a grid, a folder for single images, .h5 or {SHARDS} for vectors")
    return out


def _write_images(
    autoencoder: Autoencoder, device: Any, blocks: Iterable[Tensor], n: int, out: Path, force: bool
) -> None:
    import numpy as np

    from lsampler.models.decoding import MAX_GRID_IMAGES, decode_stream, save_folder, save_grid
    from lsampler.progress import rich_progress

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
