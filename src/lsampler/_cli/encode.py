"""``lsampler encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsampler._cli.common import (
    Device,
    Force,
    Images,
    Model,
    ModelParams,
    Strict,
    examples,
    model_settings,
    report_skipped,
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        epilog=examples(
            "lsampler encode photos/ --model runs/photos/model.safetensors --out photos.h5",
            "lsampler encode img_align_celeba.zip --held-out 1000 --out celeba.h5",
        )
    )(encode)


def encode(
    images: Images,
    out: Annotated[Path, typer.Option("--out", "-o", help="The latent store to write (.h5).")],
    model: Model = None,
    model_param: ModelParams = [],  # noqa: B006
    held_out: Annotated[
        int | None,
        typer.Option(min=0, help="The last images form the held-out split.", show_default="as in training, or a tenth"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images a forward pass.")] = 128,
    append: Annotated[bool, typer.Option("--append", help="Add to a store that exists.")] = False,
    device: Device = "auto",
    strict: Strict = False,
    force: Force = False,
) -> None:
    """Encode images into a latent store. Interrupted, the same command goes on where it stopped."""
    from lsampler._encoding import default_held_out, encode_images
    from lsampler._images import open_images
    from lsampler._progress import rich_progress
    from lsampler._random import resolve_device
    from lsampler._workspace import open_any_model

    source = open_images(images)
    autoencoder = open_any_model(model, model_settings(model, model_param)).to(resolve_device(device))
    if held_out is None:
        held_out, why = default_held_out(autoencoder, source)
        print(f"held out: the last {held_out} of {len(source.ids)} images ({why})")
    with rich_progress() as progress:
        result = encode_images(
            autoencoder,
            source,
            out,
            held_out=held_out,
            batch_size=batch_size,
            strict=strict,
            force=force,
            append=append,
            progress=progress,
        )
    if result.resumed:
        print(f"went on after {result.resumed} images of an interrupted run")
    report_skipped(result.skipped)
    store = result.store
    print(f"{out}: {store.count('train')} latent vectors and {store.count('held-out')} held out, D = {store.dimension}")
