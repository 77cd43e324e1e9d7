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
from lsampler.cli.help import COMPUTING, DATA, OUTPUT
from lsampler.cli.values import LARGEST, number, whole_number
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from lsampler.models.training.options import TrainingResult


NETWORK, TRAINING = "Network", "Training"


def _option(meaning: str, panel: str = TRAINING, **settings: Any) -> Any:
    return typer.Option(help=meaning, rich_help_panel=panel, **settings)


def _count(meaning: str, most: int, **settings: Any) -> Any:
    return _option(meaning, metavar="N", parser=whole_number(1, most), **settings)


Rate = Annotated[float, _option("Peak of the one-cycle schedule (Adam).", metavar="NUMBER", parser=number(1e-8))]
HeldOutCount = Annotated[
    int | None, _count("How many images are held out.", LARGEST, panel=DATA, show_default="a tenth")
]
Crop = Annotated[
    str,
    _option(
        "centre, celeba (148/178 of the width) or none.",
        DATA,
        metavar="HOW",
        autocompletion=words("centre", "celeba", "none"),
    ),
]
Grey = Annotated[bool, typer.Option("--grey", help="Grey images instead of colour.", rich_help_panel=DATA)]
Filters = Annotated[str, _option("Filters of the encoder's layers; the decoder mirrors them.", NETWORK, metavar="N,N")]
Activation = Annotated[
    str,
    _option(
        "leaky-relu, relu, elu, selu or silu.",
        NETWORK,
        metavar="NAME",
        autocompletion=words("leaky-relu", "relu", "elu", "selu", "silu"),
    ),
]
Precision = Annotated[str, _option("Lightning's: 32-true, bf16-mixed, 16-mixed.", COMPUTING, metavar="NAME")]
Accelerator = Annotated[str, _option("Lightning's: auto, cpu, gpu, mps.", COMPUTING, metavar="NAME")]
Devices = Annotated[str, _option("Lightning's: auto, a number, or which GPUs (0,2).", COMPUTING, metavar="DEVICES")]
Nodes = Annotated[int, _count("Machines that train together, started with torchrun.", LARGEST, panel=COMPUTING)]
Resume = Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.", rich_help_panel=OUTPUT)]

app = typer.Typer()


@app.command(
    epilog=examples(
        "lsampler example --out digits",
        "lsampler train digits/images.npy --size 8 --crop none --grey --no-flip --filters 16,32 --latent-dim 8 "
        "--epochs 5 --out run",
        "lsampler encode digits/images.npy --model run/model.safetensors --out own.h5",
        "lsampler sample --model run/model.safetensors --store own.h5 --out new.png",
        "lsampler train digits/images.npy --size 8 --crop none --grey --filters 8,16 --latent-dim 4 --epochs 1 "
        "--held-out 297 --held-out-by last --out small",
    )
)
def train(
    ctx: typer.Context,
    images: Images,
    *,
    held_out: HeldOutCount = None,
    held_out_by: HeldOutBy = None,
    split_seed: SplitSeed = None,
    crop: Crop = "centre",
    grey: Grey = False,
    strict: Strict = False,
    size: Annotated[int, _option("Edge of the square images in pixels.", NETWORK, metavar="PIXELS")] = 96,
    filters: Filters = "64,64,128,128",
    latent_dim: Annotated[int, _option("Latent dimension D.", NETWORK, metavar="N")] = 256,
    activation: Activation = "leaky-relu",
    epochs: Annotated[int, _count("Passes over the images.", 100_000)] = 25,
    batch_size: Annotated[int, _count("Images per step, in each process.", 65_536)] = 32,
    learning_rate: Rate = 8e-4,
    flip: Annotated[bool, _option("Mirror training images at random.")] = True,
    out: Annotated[Path, out_option("Folder for model, checkpoints, curve and pictures.", metavar="FOLDER")],
    resume: Resume = False,
    seed: Seed = 0,
    precision: Precision = "32-true",
    accelerator: Accelerator = "auto",
    devices: Devices = "auto",
    nodes: Nodes = 1,
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
