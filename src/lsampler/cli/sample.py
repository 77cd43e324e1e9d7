"""``lsampler sample``, ``lsampler fit`` and ``lsampler decode``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from lsampler.cli import common
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import Tensor

    from lsampler.models.protocols import Autoencoder
    from lsampler.progress import Progress
    from lsampler.samplers.base import LatentSampler

    Fitted: TypeAlias = tuple[LatentSampler, Callable[[], Autoencoder], str]
    """A fitted strategy, how to get the decoder of its latent vectors, and the name of what it was fitted to."""

Out = Annotated[
    Path, typer.Option("--out", "-o", help="A .png grid, a folder of images, or an .h5 or .shards of latent vectors.")
]

Plugin = Annotated[
    str | None,
    typer.Option(
        "--plugin", "-p", help="The strategy; 'lsampler plugins' lists them.", show_default="the recommended one"
    ),
]

app = typer.Typer()


@app.command(
    epilog=common.examples(
        "lsampler sample --out faces.png",
        "lsampler sample --plugin pca-ellipse --param fact=0.8 --param components=120 --seed 7 --out more.png",
        "lsampler sample --plugin gaussian --n 1000000 --out vectors.h5",
        "lsampler sample --plugin gaussian --n 100000000 --out vectors.shards --cluster tcp://host:8786",
        "lsampler sample --plugin line-path --model my.safetensors --store my.h5 --out walk/",
        "lsampler sample --fitted flow.safetensors --model my.safetensors --out more.png",
    )
)
def sample(
    plugin: Plugin = None,
    out: Out = Path("samples.png"),
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many samples.")] = 64,
    param: common.Params = [],  # noqa: B006
    model: common.Model = None,
    model_param: common.ModelParams = [],  # noqa: B006
    store: common.Store = None,
    fitted: Annotated[
        Path | None, typer.Option(help="A strategy fitted before by 'lsampler fit', in place of --plugin.")
    ] = None,
    seed: common.Seed = 0,
    device: common.Device = "auto",
    threads: common.Threads = None,
    cluster: common.Cluster = None,
    force: common.Force = False,
) -> None:
    """Draw latent vectors with a strategy and decode them to images.

    Without --plugin and --fitted the strategy is the one that the bundle recommends, or for a --store gaussian-mixture;
    the command prints which one, and why. 'lsampler choose' judges the strategies on your own data.
    """
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.compute.seeded_blocks import resolve_device
    from lsampler.files import check_output
    from lsampler.progress import rich_progress

    check_output(_checked_kind(out), force=force)
    common.check_shards(out, cluster)
    settings = common.model_settings(model, model_param)
    # Devices differ in their random numbers: drawing moves to one only when the user names it.
    drawn_on, target = resolve_device("cpu" if device == "auto" else device), resolve_device(device)
    with on_cluster(cluster), rich_progress() as progress:
        if fitted is not None:
            unused = {"--plugin": plugin, "--param": param, "--store": store}
            sampler, decoder, origin = _fitted_before(fitted, unused, model, settings)
        else:
            sampler, decoder, origin = _fitted_now(plugin, param, (model, store, settings), device, progress)
        if out.suffix in (".h5", common.SHARDS):
            from lsampler.samplers.sample_store import DrawOptions, sample_store

            options = DrawOptions(device=drawn_on, threads=threads, reference=origin)
            sample_store(sampler, n, out, seed=seed, options=options, force=force, progress=progress)
        else:
            rows = sampler.stream(n, seed=seed, device=drawn_on, threads=threads)
            _write_images(decoder().to(target), rows, n, out, origin=origin, force=force, progress=progress)
    common.say(f"{n} samples of {sampler.name} (seed {seed}, fitted to {origin}): {out}")


@app.command(
    epilog=common.examples(
        "lsampler fit --plugin flow --store latents.h5 --out flow.safetensors",
        "lsampler sample --fitted flow.safetensors --out faces.png",
    )
)
def fit(
    plugin: Annotated[str, typer.Option("--plugin", "-p", help="The strategy; 'lsampler plugins' lists them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The fitted strategy (.safetensors).")],
    param: common.Params = [],  # noqa: B006
    model: common.Model = None,
    model_param: common.ModelParams = [],  # noqa: B006
    store: common.Store = None,
    device: common.Device = "auto",
    cluster: common.Cluster = None,
    force: common.Force = False,
) -> None:
    """Fit a strategy and save it; 'lsampler sample --fitted' draws from the file."""
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.files import check_output
    from lsampler.progress import rich_progress

    if out.suffix != ".safetensors":
        raise LsamplerError(f"{out}: the name of a fitted strategy must end in .safetensors")
    check_output(out, force=force)
    opened = (model, store, common.model_settings(model, model_param))
    with on_cluster(cluster), rich_progress() as progress:
        sampler, _, origin = _fitted_now(plugin, param, opened, device, progress)
    sampler.save(out, force=force)
    common.say(f"{sampler.name}, fitted to {origin}: {out}")


def _fitted_now(
    plugin: str | None,
    param: list[str],
    opened: tuple[str | None, Path | None, dict[str, str]],
    device: str,
    progress: Progress,
) -> Fitted:
    from lsampler.plugins.by_name import recommended_sampler
    from lsampler.plugins.registry import registry
    from lsampler.workspace import open_subject

    if plugin is None:
        if param:
            raise LsamplerError(f"--param {param[0]}: belongs to a --plugin; give one")
        subject = open_subject(*opened)
        strategy, why = recommended_sampler(subject.reference)
        common.say(f"no --plugin: {strategy.name}, {why}")
    else:
        strategy = registry().get("sampler", plugin).from_strings(common.key_values(param))
        subject = open_subject(*opened)
    fitted = strategy.fit(subject.reference, device=device, progress=progress)
    return fitted, subject.decoder, subject.reference.name


def _fitted_before(path: Path, unused: Mapping[str, object], model: str | None, settings: dict[str, str]) -> Fitted:
    from lsampler.plugins.by_name import load_fitted

    for option, given in unused.items():
        if given:
            raise LsamplerError(f"{option}: a strategy from --fitted needs none; leave it out")
    sampler = load_fitted(path)
    return sampler, lambda: _decoder_for(path, model, sampler.fingerprint, settings), path.name


def _decoder_for(path: Path, model: str | None, fingerprint: str | None, settings: dict[str, str]) -> Autoencoder:
    """The autoencoder of the latent vectors of a file."""
    from lsampler.workspace import open_model

    autoencoder = open_model(model, fingerprint, settings)
    if autoencoder is None:
        raise LsamplerError(f"{path}: of a model that does not come with lsampler; give that --model")
    return autoencoder


@app.command(epilog=common.examples("lsampler decode vectors.h5 --out vectors.png --n 64"))
def decode(
    samples: Annotated[
        Path, typer.Argument(help="Latent vectors made by 'lsampler sample' or 'encode' (.h5, .shards).")
    ],
    out: Out = Path("decoded.png"),
    n: Annotated[int | None, typer.Option("--n", "-n", min=1, help="Only the first n.", show_default="all")] = None,
    model: common.Model = None,
    model_param: common.ModelParams = [],  # noqa: B006
    device: common.Device = "auto",
    force: common.Force = False,
) -> None:
    """Decode latent vectors of a file to images."""
    import torch

    from lsampler.compute.seeded_blocks import resolve_device
    from lsampler.files import check_output
    from lsampler.progress import rich_progress
    from lsampler.store.opening import open_store

    check_output(_checked_kind(out), force=force)
    if out.suffix in (".h5", common.SHARDS):
        raise LsamplerError(f"{out}: decoding gives images; choose a .png or a folder")
    stored = open_store(samples)
    autoencoder = _decoder_for(samples, model, stored.fingerprint, common.model_settings(model, model_param))
    if autoencoder.dimension != stored.dimension:
        raise LsamplerError(f"{samples}: D = {stored.dimension}, the decoder takes {autoencoder.dimension}")
    total = min(n or len(stored), len(stored))
    step = 1024
    rows = (torch.from_numpy(stored.read(at, min(at + step, total))) for at in range(0, total, step))
    with rich_progress() as progress:
        decoder = autoencoder.to(resolve_device(device))
        _write_images(decoder, rows, total, out, origin=str(samples), force=force, progress=progress)
    common.say(f"{total} images: {out}")


def _checked_kind(out: Path) -> Path:
    if out.suffix not in ("", ".png", ".h5", common.SHARDS) and not out.is_dir():
        raise LsamplerError(f"{out}: give a .png for a grid, a folder for single images, .h5 or .shards for vectors")
    return out


def _write_images(
    decoder: Autoencoder, rows: Iterable[Tensor], n: int, out: Path, *, origin: str, force: bool, progress: Progress
) -> None:
    import numpy as np

    from lsampler.models.decoding import MAX_GRID_IMAGES, decode_stream, save_folder, save_grid

    batches = decode_stream(decoder, rows, origin)
    if out.suffix != ".png":
        save_folder(batches, n, out, force=force, progress=progress)
    elif n > MAX_GRID_IMAGES:
        raise LsamplerError(f"{out}: {n} images are too many for one grid; give a folder, or at most {MAX_GRID_IMAGES}")
    else:
        save_grid(np.concatenate(list(batches)), out, force=force)
