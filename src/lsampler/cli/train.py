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
    from lsampler.data.any_items import AnySource
    from lsampler.models.training.options import TrainingResult


NETWORK, TRAINING = "Network", "Training"
OF_NETWORK = ("size", "grey", "filters", "widths", "latent_dim", "activation")
HINTS = ("kind", "dataset", "names", "unit")


def _option(meaning: str, panel: str = TRAINING, **settings: Any) -> Any:
    return typer.Option(help=meaning, rich_help_panel=panel, **settings)


def _count(meaning: str, most: int, **settings: Any) -> Any:
    return _option(meaning, metavar="N", parser=whole_number(1, most), **settings)


Kind = Annotated[
    str | None,
    _option(
        "image, signal, table or array.",
        DATA,
        metavar="KIND",
        show_default="as the shape of the items says",
        autocompletion=words("image", "signal", "table", "array"),
    ),
]
Names = Annotated[
    str | None,
    _option("Names of the features or channels.", DATA, metavar="A,B", show_default="those of the file"),
]
Unit = Annotated[str | None, _option("Of the values, such as mV, for plots.", DATA, metavar="TEXT")]
Epochs = Annotated[int | None, _count("Passes over the items.", 100_000, show_default="25; not images: 10 to 200")]
BatchSize = Annotated[
    int | None,
    _count("Items per step, in each process.", 65_536, show_default="32; not images: 32 to 1024"),
]
Loss = Annotated[
    str | None,
    _option(
        "Minimised: mse, l1 or, of images, laplacian or ms-ssim, which keep more detail.",
        metavar="NAME",
        show_default="mse",
        autocompletion=words("mse", "l1", "laplacian", "ms-ssim"),
    ),
]
Rate = Annotated[
    float | None,
    _option(
        "Peak of the one-cycle schedule (Adam).",
        metavar="NUMBER",
        parser=number(1e-8),
        show_default="0.0008; not images: 0.003",
    ),
]
HeldOutCount = Annotated[
    int | None, _count("How many items are held out.", LARGEST, panel=DATA, show_default="a tenth, at least 2")
]
Crop = Annotated[
    str | None,
    _option(
        "Images: centre, celeba (148/178 of the width) or none.",
        DATA,
        metavar="HOW",
        show_default="centre",
        autocompletion=words("centre", "celeba", "none"),
    ),
]
Grey = Annotated[bool, typer.Option("--grey", help="Images: grey instead of colour.", rich_help_panel=DATA)]
Flip = Annotated[
    bool | None,
    typer.Option("--flip/--no-flip", help="Images: mirror at random.", show_default="flip", rich_help_panel=TRAINING),
]
Size = Annotated[
    str | None,
    _option(
        "Images: edge of the square in pixels, or height x width (64x48).",
        NETWORK,
        metavar="PIXELS",
        show_default="96",
    ),
]
Filters = Annotated[
    str | None,
    _option(
        "Images, signals: filters of the encoder's layers; the decoder mirrors them.",
        NETWORK,
        metavar="N,N",
        show_default="64,64,128,128; signals: up to 16,32,64,64",
    ),
]
Widths = Annotated[
    str | None,
    _option(
        "Tables, arrays: widths of the hidden layers of the encoder, and of the decoder.",
        NETWORK,
        metavar="N,N",
        show_default="128,128",
    ),
]
LatentDim = Annotated[
    int | None,
    _option(
        "Latent dimension D.",
        NETWORK,
        metavar="N",
        parser=whole_number(1, 65_536),
        show_default="256; signals: half the values, at most 32; tables: two thirds of the features, at most 64",
    ),
]
Activation = Annotated[
    str | None,
    _option(
        "leaky-relu, relu, elu, selu or silu.",
        NETWORK,
        metavar="NAME",
        show_default="leaky-relu; not images: silu",
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
        "lsampler example --what table --out cancer",
        "lsampler train cancer/samples.csv --widths 64,64 --out table",
        "lsampler train cancer/samples.csv --widths 64,64 --out table --resume --epochs 300",
    )
)
def train(
    ctx: typer.Context,
    items: Items,
    *,
    kind: Kind = None,
    dataset: Dataset = None,
    names: Names = None,
    unit: Unit = None,
    held_out: HeldOutCount = None,
    held_out_by: HeldOutBy = None,
    split_seed: SplitSeed = None,
    crop: Crop = None,
    grey: Grey = False,
    strict: Strict = False,
    size: Size = None,
    filters: Filters = None,
    widths: Widths = None,
    latent_dim: LatentDim = None,
    activation: Activation = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    loss: Loss = None,
    learning_rate: Rate = None,
    flip: Flip = None,
    out: Annotated[Path, out_option("Folder for model, checkpoints, curve and pictures.", metavar="FOLDER")],
    resume: Resume = False,
    seed: Seed = 0,
    precision: Precision = "32-true",
    accelerator: Accelerator = "auto",
    devices: Devices = "auto",
    nodes: Nodes = 1,
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
    network = _network({name: settings.pop(name) for name in OF_NETWORK if name in settings})
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
