"""``lsampler encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsampler.cli.common import (
    SHARDS,
    Cluster,
    Device,
    Force,
    Images,
    Model,
    ModelParams,
    Strict,
    check_shards,
    examples,
    model_settings,
    report_skipped,
)
from lsampler.errors import LsamplerError


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        epilog=examples(
            "lsampler encode photos/ --model runs/photos/model.safetensors --out photos.h5",
            "lsampler encode img_align_celeba.zip --held-out 1000 --out celeba.h5",
            "lsampler encode img_align_celeba.zip --out celeba.shards --cluster local:4",
        )
    )(encode)


def encode(
    images: Images,
    out: Annotated[Path, typer.Option("--out", "-o", help="The latent store to write (.h5 or .shards).")],
    model: Model = None,
    model_param: ModelParams = [],  # noqa: B006
    held_out: Annotated[
        int | None,
        typer.Option(min=0, help="The last images form the held-out split.", show_default="as in training, or a tenth"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a forward pass.")] = 128,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes that load images; 0: threads of this one.",
            show_default="for a GPU and many images one per core, else 0",
        ),
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Add to a store that exists.")] = False,
    device: Device = "auto",
    strict: Strict = False,
    cluster: Cluster = None,
    force: Force = False,
) -> None:
    """Encode images into a latent store. Rerun the command to resume it after an interruption."""
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.compute.seeded_blocks import resolve_device
    from lsampler.data.sources import open_images
    from lsampler.models.encoding import default_held_out, encode_images
    from lsampler.models.encoding_shards import encode_shards
    from lsampler.progress import rich_progress
    from lsampler.workspace import open_any_model

    sharded = out.suffix == SHARDS
    check_shards(out, cluster)
    if sharded and append:
        raise LsamplerError("--append: does not go with a sharded store; choose a name ending in .h5")
    source = open_images(images)
    autoencoder = open_any_model(model, model_settings(model, model_param)).to(resolve_device(device))
    if held_out is None:
        held_out, why = default_held_out(autoencoder, source)
        print(f"held out: the last {held_out} of {len(source.ids)} images ({why})")
    with on_cluster(cluster), rich_progress() as progress:
        if sharded:
            result = encode_shards(
                images,
                out,
                held_out=held_out,
                model=model,
                settings=model_settings(model, model_param),
                device=device,
                batch_size=batch_size,
                strict=strict,
                force=force,
                progress=progress,
            )
        else:
            result = encode_images(
                autoencoder,
                source,
                out,
                held_out=held_out,
                batch_size=batch_size,
                strict=strict,
                force=force,
                append=append,
                workers=workers,
                progress=progress,
            )
    if result.resumed:
        print(f"went on after {result.resumed} images of an interrupted run")
    report_skipped(result.skipped)
    store = result.store
    print(f"{out}: {store.count('train')} latent vectors and {store.count('held-out')} held out, D = {store.dimension}")
