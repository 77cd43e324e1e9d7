"""The command ``lsampler train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsampler.cli.common import (
    HeldOutBy,
    Images,
    Seed,
    SplitSeed,
    Strict,
    examples,
    out_option,
    report_left_out,
    report_skipped,
    say,
)
from lsampler.cli.completion import words
from lsampler.cli.help import DATA
from lsampler.cli.values import number, whole_number
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from lsampler.models.training.options import TrainingResult


app = typer.Typer()


@app.command(
    epilog=examples(
        "lsampler train photos/ --out runs/photos",
        "lsampler train img_align_celeba.zip --crop celeba --held-out 1000 --epochs 25 --out runs/celeba96",
        "lsampler train digits.npy --size 8 --grey --no-flip --filters 16,32 --latent-dim 8 --out runs/digits",
        "lsampler train photos/ --held-out 500 --held-out-by folder --out runs/photos",
        "lsampler train photos/ --out runs/photos --resume",
        "lsampler train photos/ --out runs/photos --devices 4",
    )
)
def train(
    ctx: typer.Context,
    images: Images,
    out: Annotated[Path, out_option("Folder for model, checkpoints, curve and pictures.", metavar="FOLDER")],
    epochs: Annotated[
        int, typer.Option(metavar="N", parser=whole_number(1, 100_000), help="Passes over the images.")
    ] = 25,
    batch_size: Annotated[
        int, typer.Option(metavar="N", parser=whole_number(1, 65_536), help="Images per step, in each process.")
    ] = 32,
    learning_rate: Annotated[
        float, typer.Option(metavar="NUMBER", parser=number(1e-8), help="Peak of the one-cycle schedule (Adam).")
    ] = 8e-4,
    held_out: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=whole_number(1),
            help="How many images are held out.",
            show_default="a tenth",
            rich_help_panel=DATA,
        ),
    ] = None,
    held_out_by: HeldOutBy = None,
    split_seed: SplitSeed = None,
    size: Annotated[int, typer.Option(metavar="PIXELS", help="Edge of the square images in pixels.")] = 96,
    crop: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="centre, celeba (148/178 of the width) or none.",
            autocompletion=words("centre", "celeba", "none"),
        ),
    ] = "centre",
    grey: Annotated[bool, typer.Option("--grey", help="Grey images instead of colour.")] = False,
    flip: Annotated[bool, typer.Option(help="Mirror training images at random.")] = True,
    filters: Annotated[
        str, typer.Option(metavar="N,N,...", help="Filters of the encoder's layers; the decoder mirrors them.")
    ] = ("64,64,128,128"),
    latent_dim: Annotated[int, typer.Option(metavar="N", help="Latent dimension D.")] = 256,
    activation: Annotated[
        str, typer.Option(metavar="NAME", help="leaky-relu, relu, elu, selu or silu.")
    ] = "leaky-relu",
    seed: Seed = 0,
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="Lightning's: 32-true, bf16-mixed, 16-mixed.")
    ] = "32-true",
    accelerator: Annotated[str, typer.Option(metavar="NAME", help="Lightning's: auto, cpu, gpu, mps.")] = "auto",
    devices: Annotated[
        str, typer.Option(metavar="DEVICES", help="Lightning's: auto, a number, or which GPUs (0,2).")
    ] = "auto",
    nodes: Annotated[
        int,
        typer.Option(metavar="N", parser=whole_number(1), help="Machines that train together, started with torchrun."),
    ] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    strict: Strict = False,
) -> None:
    """Train the posts' autoencoder on images (extra 'train').

    A checkpoint is written after every epoch. Ctrl-C keeps the model of the last finished epoch; rerun with --resume
    and the same images and options to continue.
    """
    _train(dict(ctx.params))


def _train(settings: dict[str, Any]) -> None:
    """Train with the options of the command, by their names in Python."""
    from lsampler.data.image_sources import open_images
    from lsampler.models.conv_autoencoder import ConvConfig
    from lsampler.progress import rich_progress

    source, out, resume = open_images(settings.pop("images")), settings.pop("out"), settings.pop("resume")
    config = ConvConfig(
        image_size=settings.pop("size"),
        channels=1 if settings.pop("grey") else 3,
        filters=settings.pop("filters").split(","),
        latent_dim=settings.pop("latent_dim"),
        activation=settings.pop("activation"),
    )
    report_left_out(source)
    settings["held_out"] = settings["held_out"] or max(2, len(source.ids) // 10)
    try:
        from lsampler.models.training.options import TrainingOptions
        from lsampler.models.training.train import train_autoencoder
    except ImportError as error:
        raise LsamplerError(f"training needs {error.name}; install it with: pip install 'lsampler[train]'") from error
    options = TrainingOptions(**{name: value for name, value in settings.items() if value is not None})
    with rich_progress() as progress:
        result = train_autoencoder(
            source,
            out,
            config=config,
            options=options,
            resume=resume,
            progress=progress,
            report=lambda line: say(line, flush=True),  # a log shows each epoch as it ends
        )
    if result.rank == 0:
        _print(result, options.epochs)
    if result.interrupted:
        raise typer.Exit(130 if result.rank == 0 else 1)


def _print(result: TrainingResult, epochs: int) -> None:
    report_skipped(result.skipped)
    say(f"{result.model}: held-out MSE {result.held_out_mse:.5f}")
    if result.interrupted:
        say(f"interrupted after {result.epochs} of {epochs} epochs; rerun with --resume to continue")
