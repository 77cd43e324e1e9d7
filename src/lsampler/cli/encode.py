"""``lsampler encode``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsampler.cli import common
from lsampler.cli.messages import in_options

if TYPE_CHECKING:
    from lsampler.data.image_sources import ImageSource
    from lsampler.models.encoding import EncodeOptions
    from lsampler.models.protocols import Autoencoder
    from lsampler.store.held_out import Division, HeldOut

Workers = Annotated[
    int | None,
    typer.Option(min=0, max=256, help="Processes that load images; 0: threads.", show_default="one per core for a GPU"),
]

app = typer.Typer()
# A model reconstructs images like those it was trained on about as well as those held out.
FAR_ABOVE = 2.0


@app.command(
    epilog=common.examples(
        "lsampler encode photos/ --model runs/photos/model.safetensors --out photos.h5",
        "lsampler encode img_align_celeba.zip --held-out 1000 --out celeba.h5",
        "lsampler encode photos/ --held-out 500 --held-out-by folder --out photos.h5",
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
        typer.Option(min=0, help="How many images are held out.", show_default="as in training, or a tenth"),
    ] = None,
    held_out_by: common.HeldOutBy = None,
    split_seed: common.SplitSeed = None,
    batch_size: Annotated[int, typer.Option(min=1, max=65_536, help="Images per forward pass.")] = 128,
    workers: Workers = None,
    crop: Annotated[
        str | None,
        typer.Option(help="centre, celeba (148/178 of the width) or none.", show_default="as the model was trained"),
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Add to a store that exists.")] = False,
    device: common.Device = "auto",
    strict: common.Strict = False,
    cluster: common.Cluster = None,
    force: common.Force = False,
) -> None:
    """Encode images into a latent store. Rerun the command to resume it after an interruption.

    What the model's training held out of the same images is held out again, unless options say otherwise.
    """
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.compute.seeded_blocks import resolve_device
    from lsampler.models.encoding import EncodeOptions, encode_images
    from lsampler.models.trained_split import split_for
    from lsampler.progress import rich_progress
    from lsampler.workspace import OpenedEncoder, absolute

    common.check_shards(out, cluster)
    settings = tuple(sorted(common.model_settings(model, model_param).items()))
    opened = OpenedEncoder(absolute(model), settings, str(images.absolute()), str(resolve_device(device)))
    autoencoder, source = opened()
    here = {"opened": opened if cluster else None, "crop": crop}
    options = EncodeOptions(batch_size, strict, append, workers, **here)  # type: ignore[arg-type]
    split, why = split_for(autoencoder, source, held_out, held_out_by, split_seed)
    _report(autoencoder, source, options, split, why)
    with on_cluster(cluster), rich_progress() as progress:
        result = encode_images(
            autoencoder, source, out, held_out=split, options=options, force=force, progress=progress
        )
    if result.resumed:
        common.say(f"resumed after {result.resumed} images of an interrupted run")
    common.report_skipped(result.skipped)
    common.report_store(out, result.store)


def _report(autoencoder: Autoencoder, source: ImageSource, options: EncodeOptions, split: HeldOut, why: str) -> None:
    """Say how the images are prepared and divided. Raises LsamplerError, before anything is said, if they cannot be."""
    division = split.divide(source.ids, source.name)
    _report_preparation(autoencoder, source, options)
    _report_division(autoencoder, source, division, why)


def _report_division(autoencoder: Autoencoder, source: ImageSource, division: Division, why: str) -> None:
    """Say what is held out, and warn of images that the model was trained on."""
    from lsampler.models.trained_split import leak

    said = [f"held out: {division.words}" + (f" ({why})" if why else "")]
    if warning := leak(autoencoder, source, division):
        said.append(f"warning: {warning}")
    for line in said:
        common.say(in_options(line, {"held_out", "held_out_by", "split_seed"}))


def _report_preparation(autoencoder: Autoencoder, source: ImageSource, options: EncodeOptions) -> None:
    """Say what is left out and how images are cropped, and warn if they are unlike those of the training."""
    from lsampler.models.encoding import preparation, reconstruction_error

    common.report_left_out(source)
    used = preparation(autoencoder, options)
    record = getattr(autoencoder, "training_record", {})
    own, said = record.get("held_out_mse"), f"crop {used.crop}, size {used.size}"
    error = reconstruction_error(autoencoder, source, options) if isinstance(own, float) else None
    if own is None or error is None:
        common.say(said)
        return
    common.say(f"{said}; mean squared error of reconstructions {error:.5f} (held out in training: {own:.5f})")
    if error > FAR_ABOVE * own:
        common.say(
            "warning: the model reconstructs these images far worse than those of its training; check --crop: it was "
            f"trained with {autoencoder.preprocess.crop}, on images of {record.get('source')}"
        )
