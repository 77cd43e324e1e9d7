"""``lsampler encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsampler.cli import common

app = typer.Typer()


@app.command(
    epilog=common.examples(
        "lsampler encode photos/ --model runs/photos/model.safetensors --out photos.h5",
        "lsampler encode img_align_celeba.zip --held-out 1000 --out celeba.h5",
        "lsampler encode img_align_celeba.zip --out celeba.shards --cluster local:4",
    )
)
def encode(
    images: common.Images,
    out: Annotated[Path, typer.Option("--out", "-o", help="The latent store to write (.h5 or .shards).")],
    model: common.Model = None,
    model_param: common.ModelParams = [],  # noqa: B006
    held_out: Annotated[
        int | None,
        typer.Option(min=0, help="The last images form the held-out split.", show_default="as in training, or a tenth"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 128,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that load images; 0: threads.", show_default="one per core for a GPU"),
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Add to a store that exists.")] = False,
    device: common.Device = "auto",
    strict: common.Strict = False,
    cluster: common.Cluster = None,
    force: common.Force = False,
) -> None:
    """Encode images into a latent store. Rerun the command to resume it after an interruption."""
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.compute.seeded_blocks import resolve_device
    from lsampler.models.encoding import EncodeOptions, default_held_out, encode_images
    from lsampler.progress import rich_progress
    from lsampler.workspace import OpenedEncoder, absolute

    common.check_shards(out, cluster)
    settings = tuple(sorted(common.model_settings(model, model_param).items()))
    opened = OpenedEncoder(absolute(model), settings, str(images.absolute()), str(resolve_device(device)))
    autoencoder, source = opened()
    options = EncodeOptions(batch_size, strict, append, workers, opened=opened if cluster else None)
    if held_out is None:
        held_out, why = default_held_out(autoencoder, source)
        print(f"held out: the last {held_out} of {len(source.ids)} images ({why})")
    with on_cluster(cluster), rich_progress() as progress:
        result = encode_images(
            autoencoder, source, out, held_out=held_out, options=options, force=force, progress=progress
        )
    if result.resumed:
        print(f"resumed after {result.resumed} images of an interrupted run")
    common.report_skipped(result.skipped)
    store = result.store
    print(f"{out}: {store.count('train')} latent vectors and {store.count('held-out')} held out, D = {store.dimension}")
