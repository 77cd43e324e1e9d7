"""Options that several commands share, and how they are read."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsampler.cli import completion
from lsampler.cli.help import COMPUTING, DATA, OUTPUT, STRATEGY
from lsampler.cli.values import key_values, whole_number
from lsampler.errors import LsamplerError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lsampler.models.encode_ranges import Source
    from lsampler.store.latent_store import LatentStore

Images = Annotated[
    Path, typer.Argument(metavar="IMAGES", help="A folder, a .zip, or a .npy, .npz or .h5 array of images.")
]
Items = Annotated[
    Path,
    typer.Argument(
        metavar="ITEMS",
        help="Images: a folder, a .zip, or an array. Other items: .npy, .npz, .h5, .csv, .tsv, .parquet or .h5ad.",
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which array of an .npz, .h5 or .h5ad (obsm/X_pca), or which columns of a table: names or patterns, with "
        "commas; !NAME leaves one out.",
        show_default="the only array, X, or all columns",
        rich_help_panel=DATA,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Autoencoder: a bundle's name, or what a loader opens; see 'lsampler plugins'.",
        show_default="celeba96",
        autocompletion=completion.bundles,
        rich_help_panel=DATA,
    ),
]
ModelParams = Annotated[
    list[str],
    typer.Option(
        "--model-param",
        metavar="KEY=VALUE",
        help="A parameter of the model's loader; may be repeated.",
        autocompletion=completion.loader_parameters,
        rich_help_panel=DATA,
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(
        metavar="STORE",
        help="Latent store to fit to (.h5, .shards).",
        show_default="the model's own statistics",
        rich_help_panel=DATA,
    ),
]
StoreFile = Annotated[Path, typer.Argument(metavar="STORE", help="A latent store (.h5 or .shards).")]
Plugin = Annotated[
    str | None,
    typer.Option(
        "--plugin",
        "-p",
        metavar="NAME",
        help="The strategy; 'lsampler plugins' lists them.",
        show_default="the recommended one",
        autocompletion=completion.plugins(completion.STRATEGY),
        rich_help_panel=STRATEGY,
    ),
]
Params = Annotated[
    list[str],
    typer.Option(
        "--param",
        metavar="[NAME:]KEY=VALUE",
        help="A parameter of the strategy, or of the plugin NAME where there are several; may be repeated.",
        autocompletion=completion.parameters,
        rich_help_panel=STRATEGY,
    ),
]
Count = Annotated[
    int,
    typer.Option(
        "--n",
        "-n",
        metavar="N",
        parser=whole_number(1),
        help="How many samples, of each strategy.",
        rich_help_panel=STRATEGY,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        metavar="SEED",
        parser=whole_number(),
        help="The same seed gives the same result.",
        rich_help_panel=COMPUTING,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="Where networks run: auto, cpu, cuda or mps.",
        autocompletion=completion.words(*completion.DEVICES),
        rich_help_panel=COMPUTING,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=whole_number(1),
        help="Blocks drawn at once.",
        show_default="one per core",
        rich_help_panel=COMPUTING,
    ),
]
SHARDS, STANDARD_OUTPUT = ".shards", "-"
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="A Dask cluster (extra 'cluster'): local:4 for four processes here, or tcp://host:8786.",
        show_default="this process",
        rich_help_panel=COMPUTING,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that exists.", rich_help_panel=OUTPUT)]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Also write the results as JSON to this file; '-' prints them in place of tables.",
        rich_help_panel=OUTPUT,
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at the first item that cannot be used.", rich_help_panel=DATA)
]
IdColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The column of ids in the table of labels.",
        show_default="id, file or the like, or the first of texts",
        rich_help_panel=DATA,
    ),
]
LabelKinds = Annotated[
    list[str],
    typer.Option(
        "--label-kind",
        metavar="NAME=KIND",
        help="The kind of a label whose values do not tell: binary, categorical or continuous; may be repeated.",
        rich_help_panel=DATA,
    ),
]
HeldOutBy = Annotated[
    str | None,
    typer.Option(
        metavar="HOW",
        help="Which ones: random, last, folder (whole folders), or a regular expression whose first group, or whole "
        "match, names the group of an item: whole groups.",
        show_default="random",
        autocompletion=completion.words("random", "last", "folder"),
        rich_help_panel=DATA,
    ),
]
SplitSeed = Annotated[
    int | None,
    typer.Option(
        metavar="SEED",
        parser=whole_number(),
        help="The same seed holds out the same ones.",
        show_default="0",
        rich_help_panel=DATA,
    ),
]


def out_option(meaning: str, *, metavar: str = "FILE") -> Any:
    """The option ``--out`` of a command that writes."""
    return typer.Option("--out", "-o", metavar=metavar, help=meaning, rich_help_panel=OUTPUT)


def kinds_of(settings: Sequence[str]) -> dict[str, Any]:
    """What ``--label-kind`` says of each label."""
    found = {}
    for setting in settings:
        name, _, kind = setting.rpartition("=")  # a name may itself hold an equals sign
        if not (name and kind):
            raise LsamplerError(f"--label-kind {setting}: write it as NAME=KIND, such as digit=categorical")
        found[name] = kind
    return found


def model_settings(model: str | None, settings: Sequence[str]) -> dict[str, str]:
    """What ``--model-param`` says of ``--model``."""
    if settings and model is None:
        raise LsamplerError(f"--model-param {settings[0]}: belongs to a --model; give one")
    return key_values(settings, "--model-param", "size=64")


def check_shards(out: Path, cluster: str | None) -> None:
    """Raise unless what a cluster is to write is a sharded store."""
    if cluster and out.suffix != SHARDS:
        raise LsamplerError(f"{out}: on a --cluster every worker writes its own files; give a name ending in {SHARDS}")


def examples(*lines: str) -> str:
    """The foot of a command's help: commands, which work in this order in an empty folder."""
    return "\n".join(lines)


def say(text: str, *, flush: bool = False) -> None:
    """Print a line, without what a terminal would act on in the names that it holds."""
    print(printable(text), flush=flush)


def console() -> Console:
    """Standard output for tables."""
    from rich.console import Console

    return Console()


def new_table(*heads: str, **settings: Any) -> Table:
    """A table in the style of all commands."""
    from rich import box
    from rich.table import Table

    return Table(*heads, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", **settings)


def cells(*values: object) -> list[Text]:
    """Values as the cells of a table, without any markup."""
    from rich.text import Text

    return [Text(printable(str(value))) for value in values]


def paragraphs(documented: object) -> str:
    """A docstring whose lines flow, but for indented paragraphs: typer would keep each line break of the source."""
    parts = (inspect.getdoc(documented) or "").split("\n\n")
    return "\n\n".join(part if part.startswith(" ") else " ".join(part.split()) for part in parts)


def check_json(path: Path | None, *, force: bool) -> None:
    """Raise unless ``--json`` names a file that can be written, or standard output."""
    from lsampler.files import check_output

    if path is not None and str(path) != STANDARD_OUTPUT:
        check_output(path, force=force)


def write_json(path: Path | None, content: object, *, force: bool) -> bool:
    """Write results as ``--json`` says; whether they were printed, so that nothing else is."""
    from lsampler.files import new_file

    if path is None:
        return False
    text = json.dumps(content, indent=1)
    if str(path) == STANDARD_OUTPUT:
        print(text)
        return True
    with new_file(path, force=force) as beside:
        beside.write_text(text, encoding="utf-8")
    return False


def print_channels(shape: Iterable[int], count: int, rows: Iterable[Sequence[Any]]) -> None:
    """Print mean, standard deviation and scale of each channel of spatial latents, and how to use them."""
    title = f"channels of latents {'x'.join(map(str, shape))}, over {count} train vectors"
    table = new_table("channel", "mean (shift)", "std", "scale (1 / std)", title=title)
    rows = list(rows)
    for name, *numbers in rows:
        table.add_row(*cells(name, *("-" if number is None else f"{number:.6g}" for number in numbers)))
    console().print(table)
    _, mean, _, scale = rows[-1]
    if scale is not None:
        say(f"unit variance: (z - {mean:.6g}) * {scale:.6g} (shift_factor, scaling_factor), or by channel as above")


def report_left_out(source: Source) -> None:
    """Say how many files of a source were not taken for images."""
    from lsampler.data.image_sources import left_out

    if text := left_out(source):
        say(f"{source.name}: {len(source.ids)} images; {text}")


def report_store(out: Path, store: LatentStore) -> None:
    """Say what a store that was written holds."""
    held_out = store.count("held-out")
    say(f"{out}: {store.count('train')} latent vectors and {held_out} held out, D = {store.dimension}")


def report_skipped(skipped: dict[str, str], most: int = 10) -> None:
    """Say which items were left out, and why."""
    if not skipped:
        return
    say(f"skipped {len(skipped)} items:")
    for identity, reason in list(skipped.items())[:most]:
        say(f"  {identity}: {reason}")
    if len(skipped) > most:
        say(f"  and {len(skipped) - most} more")
