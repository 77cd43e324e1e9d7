"""The command ``lsampler train``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsampler.cli.common import (
    Dataset,
    HeldOutBy,
    Items,
    Seed,
    SplitSeed,
    Strict,
    examples,
    report_left_out,
    report_skipped,
    say,
)
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from lsampler.data.any_items import AnySource
    from lsampler.models.training.options import TrainingResult


app = typer.Typer()
NETWORK = ("size", "grey", "filters", "widths", "latent_dim", "activation")
HINTS = ("kind", "dataset", "names", "unit")

Kind = Annotated[
    str | None,
    typer.Option(help="image, signal, table or array.", metavar="KIND", show_default="as the shape of the items says"),
]
Names = Annotated[
    str | None, typer.Option(metavar="A,B", help="Names of the features or channels.", show_default="those of the file")
]
Unit = Annotated[str | None, typer.Option(metavar="TEXT", help="Of the values, such as mV, for plots.")]
Epochs = Annotated[
    int | None,
    typer.Option(min=1, max=100_000, help="Passes over the items.", show_default="25; not images: 10 to 200"),
]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, max=65_536, help="Items per step, in each process.", show_default="32; not images: 32 to 1024"),
]
LearningRate = Annotated[
    float | None,
    typer.Option(min=1e-8, help="Peak of the one-cycle schedule (Adam).", show_default="0.0008; not images: 0.003"),
]
HeldOutCount = Annotated[
    int | None, typer.Option(min=1, help="How many items are held out.", show_default="a tenth, at least 2")
]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="N or HxW", help="Images: edge of the square in pixels, or height x width.", show_default="96"
    ),
]
Crop = Annotated[
    str | None,
    typer.Option(help="Images: centre, celeba (148/178 of the width) or none.", show_default="centre"),
]
Grey = Annotated[bool, typer.Option("--grey", help="Images: grey instead of colour.")]
Flip = Annotated[bool | None, typer.Option("--flip/--no-flip", help="Images: mirror at random.", show_default="flip")]
Filters = Annotated[
    str | None,
    typer.Option(
        metavar="N,N,...",
        help="Images, signals: filters of the encoder's layers; the decoder mirrors them.",
        show_default="64,64,128,128; signals: up to 16,32,64,64",
    ),
]
Widths = Annotated[
    str | None,
    typer.Option(
        metavar="N,N,...",
        help="Tables, arrays: widths of the hidden layers of the encoder, and of the decoder.",
        show_default="128,128",
    ),
]
LatentDim = Annotated[
    int | None,
    typer.Option(
        help="Latent dimension D.",
        show_default="256; signals: half the values, at most 32; tables: two thirds of the features, at most 64",
    ),
]
Activation = Annotated[
    str | None,
    typer.Option(help="leaky-relu, relu, elu, selu or silu.", show_default="leaky-relu; not images: silu"),
]


@app.command(
    epilog=examples(
        "lsampler train photos/ --out runs/photos",
        "lsampler train img_align_celeba.zip --crop celeba --held-out 1000 --epochs 25 --out runs/celeba96",
        "lsampler train digits.npy --size 8 --grey --no-flip --filters 16,32 --latent-dim 8 --out runs/digits",
        "lsampler train patients.csv --out runs/patients",
        "lsampler train heartbeats.npy --unit mV --names I,II --out runs/heartbeats",
        "lsampler train photos/ --held-out 500 --held-out-by folder --out runs/photos",
        "lsampler train photos/ --out runs/photos --resume",
        "lsampler train photos/ --out runs/photos --resume --epochs 50",
        "lsampler train photos/ --out runs/photos --devices 4",
    )
)
def train(
    ctx: typer.Context,
    items: Items,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for model, checkpoints, curve and pictures.")],
    kind: Kind = None,
    dataset: Dataset = None,
    names: Names = None,
    unit: Unit = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    held_out: HeldOutCount = None,
    held_out_by: HeldOutBy = None,
    split_seed: SplitSeed = None,
    size: Size = None,
    crop: Crop = None,
    grey: Grey = False,
    flip: Flip = None,
    filters: Filters = None,
    widths: Widths = None,
    latent_dim: LatentDim = None,
    activation: Activation = None,
    seed: Seed = 0,
    precision: Annotated[str, typer.Option(help="Lightning's: 32-true, bf16-mixed, 16-mixed.")] = "32-true",
    accelerator: Annotated[str, typer.Option(help="Lightning's: auto, cpu, gpu, mps.")] = "auto",
    devices: Annotated[str, typer.Option(help="Lightning's: auto, a number, or which GPUs (0,2).")] = "auto",
    nodes: Annotated[int, typer.Option(min=1, help="Machines that train together, started with torchrun.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    strict: Strict = False,
) -> None:
    """Train an autoencoder on images, signals, tables or other arrays (extra 'train').

    Images train the posts' autoencoder, signals one with convolutions along their steps, tables a dense one. All but
    images are standardised inside the model, which takes and gives them in their own units.

    A checkpoint is written after every epoch. Ctrl-C keeps the model of the last finished epoch; rerun with --resume
    and the same items and options to continue. With more --epochs, a training is extended by another cycle of the
    learning rate.
    """
    _train({name: value for name, value in ctx.params.items() if value is not None})


def _train(settings: dict[str, Any]) -> None:
    """Train with the options of the command that were given, by their names in Python."""
    from lsampler.data.any_items import ItemHints, open_any
    from lsampler.progress import rich_progress

    hints = {name: settings.pop(name) for name in HINTS if name in settings}
    if "names" in hints:
        hints["names"] = tuple(name.strip() for name in hints["names"].split(","))
    source, out, resume = (
        open_any(settings.pop("items"), ItemHints(**hints)),
        settings.pop("out"),
        settings.pop("resume"),
    )
    report_left_out(source)
    network = _network({name: settings.pop(name) for name in NETWORK if name in settings})
    try:
        from lsampler.models.training.kinds import network_config
        from lsampler.models.training.options import TrainingOptions
        from lsampler.models.training.train import train_autoencoder
    except ImportError as error:
        raise LsamplerError(f"training needs {error.name}; install it with: pip install 'lsampler[train]'") from error
    item = _item(source)
    config = network_config(item, **network)
    if not item.is_image:
        say(f"{source.name}: {len(source.ids)} {item.plural}; one is {item.words}; D = {config.latent_dim}")
    with rich_progress() as progress:
        result = train_autoencoder(
            source,
            out,
            config=config,
            options=TrainingOptions(**settings),
            resume=resume,
            progress=progress,
            report=lambda line: say(line, flush=True),  # a log shows each epoch as it ends
        )
    if result.rank == 0:
        _print(result)
    if result.interrupted:
        raise typer.Exit(130 if result.rank == 0 else 1)


def _item(source: AnySource) -> Any:
    """What the items are; of images only the kind is known before they are prepared."""
    from lsampler.data.item_rows import ItemRows
    from lsampler.data.items import Item

    return source.item if isinstance(source, ItemRows) else Item("image", (1, 1, 1))


def _network(given: dict[str, Any]) -> dict[str, Any]:
    """The options of the network as Python takes them."""
    if not given.get("grey"):
        given.pop("grey", None)
    for name in ("filters", "widths"):
        if name in given:
            given[name] = given[name].split(",")
    if "size" in given:
        edges = re.fullmatch(r"(\d+)(?:[x,](\d+))?", given["size"].strip())
        if not edges:
            raise LsamplerError(f"--size {given['size']}: give pixels, such as 96, or height x width, such as 64x48")
        given["size"] = int(edges[1]) if edges[2] is None else (int(edges[1]), int(edges[2]))
    return given


def _print(result: TrainingResult) -> None:
    report_skipped(result.skipped)
    say(f"{result.model}: held-out MSE {result.held_out_mse:.5f}")
    if result.interrupted:
        say(f"interrupted after {result.epochs} of {result.planned} epochs; rerun with --resume to continue")
