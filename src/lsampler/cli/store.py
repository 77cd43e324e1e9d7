"""``lsampler store``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsampler.cli import completion
from lsampler.cli.common import (
    Cluster,
    Force,
    HeldOutBy,
    Json,
    ModelParams,
    SplitSeed,
    StoreFile,
    cells,
    check_json,
    console,
    examples,
    model_settings,
    new_table,
    out_option,
    print_channels,
    report_store,
    say,
    write_json,
)
from lsampler.cli.help import DATA, OUTPUT
from lsampler.cli.label import LABEL, label, print_labels
from lsampler.cli.messages import Group, in_options
from lsampler.cli.values import one_of, whole_number
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from lsampler.store.latent_store import LatentStore

MOST_PROBLEMS = 20
FINGERPRINT = 12
"""Characters of a fingerprint that tell models apart."""
CHANNEL = ("channel", "mean", "std", "scale")
SUFFIXES = (".h5", ".shards")
HeldOutCount = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=whole_number(),
        help="How many vectors are held out.",
        show_default="the file's own split, or a tenth",
        rich_help_panel=DATA,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="The autoencoder that encoded them: its D is compared and its fingerprint recorded.",
        show_default="unknown",
        autocompletion=completion.bundles,
        rich_help_panel=DATA,
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which array of an .npz or .h5, or of an .h5ad, such as obsm/X_pca.",
        show_default="latents, or the only one",
        rich_help_panel=DATA,
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Which columns of a .parquet: one of lists, or several of numbers, as names or patterns such as 'z*', "
        "separated by commas.",
        show_default="latent, or the only ones that may be meant",
        rich_help_panel=DATA,
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        metavar="SPLIT",
        parser=one_of("train", "held-out"),
        help="Only train or held-out.",
        show_default="both",
        autocompletion=completion.words("train", "held-out"),
        rich_help_panel=DATA,
    ),
]
Rows = Annotated[
    int,
    typer.Option(metavar="N", parser=whole_number(1), help="Latent vectors per shard.", rich_help_panel=OUTPUT),
]


app = typer.Typer(
    name="store",
    cls=Group,
    help="List, inspect, import, export, shard and merge latent stores.",
    no_args_is_help=True,
    epilog=examples(
        "lsampler example --out digits",
        "lsampler store info digits/latents.h5",
        "lsampler store verify digits/latents.h5",
        "lsampler store export digits/latents.h5 --out latents.npy",
        "lsampler store import latents.npy --out latents.h5",
    ),
)


@app.command("list", epilog=examples("lsampler example --out digits", "lsampler store list digits"))
def list_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to look.", show_default="here")] = Path(),
    json_out: Json = None,
    force: Force = False,
) -> None:
    """List the latent stores in a folder: how many vectors, how many of them held out, and of which model."""
    from lsampler.bundles.bundle import bundle_of

    check_json(json_out, force=force)
    if not folder.is_dir():
        raise LsamplerError(f"{folder}: no such folder; check the path")
    found = [
        {
            "store": path.name,
            "vectors": len(store),
            "held out": store.count("held-out"),
            "D": store.dimension,
            "model": bundle_of(store.fingerprint) or (store.fingerprint or "unknown")[:FINGERPRINT],
        }
        for path, store in _stores_in(folder)
    ]
    if write_json(json_out, found, force=force):
        return
    if not found:
        say(f"{folder}: no latent stores; 'lsampler encode' and 'lsampler store import' make one")
        return
    table = new_table()
    for head in found[0]:
        table.add_column(head, justify="right" if head in ("vectors", "held out", "D") else "left", overflow="fold")
    for each in found:
        table.add_row(*cells(*each.values()))
    console().print(table)


def _stores_in(folder: Path) -> Iterator[tuple[Path, LatentStore]]:
    """The files and folders that are latent stores; other ones have the same suffixes."""
    from lsampler.store.opening import open_store

    for path in sorted(folder.iterdir()):
        if path.suffix in SUFFIXES:
            with contextlib.suppress(LsamplerError):
                yield path, open_store(path)


@app.command(
    epilog=examples(
        "lsampler example --out digits",
        "lsampler store info digits/latents.h5",
        "lsampler store info digits/latents.h5 --json -",
    )
)
def info(path: StoreFile, json_out: Json = None, force: Force = False) -> None:
    """Print what a store holds and where it came from; of spatial latents, also the statistics of their channels."""
    from lsampler.progress import rich_progress
    from lsampler.store.latent_store import SPLITS
    from lsampler.store.opening import open_store
    from lsampler.store.sharded_store import ShardedStore

    check_json(json_out, force=force)
    store = open_store(path)
    rows = {"latent vectors": len(store), **{f"  {split}": store.count(split) for split in SPLITS}}
    rows |= {"shards": len(store.shards)} if isinstance(store, ShardedStore) else {}
    rows |= {"latent dimension": store.dimension, **store.attributes}
    channels = None
    if store.latent_shape is not None and store.count("train"):
        with rich_progress():
            channels = store.channel_statistics()
    plain = {name.strip().replace(" ", "_"): value for name, value in rows.items()}
    measured = (
        {"channel_statistics": [dict(zip(CHANNEL, row, strict=True)) for row in channels.rows()]} if channels else {}
    )
    labels = store.labels.summary()
    named = {"labels": [dict(zip(LABEL, row, strict=True)) for row in labels]} if labels else {}
    if write_json(json_out, {"store": str(path), **plain, **measured, **named}, force=force):
        return
    table = new_table(title=cells(path)[0], show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(*cells(name.replace("_", " "), value))
    console().print(table)
    if channels:
        print_channels(channels.shape, channels.count, channels.rows())
    if labels:
        print_labels(labels)


app.command(
    epilog=examples(
        "lsampler example --out digits",
        "lsampler store label digits/latents.h5 digits/labels.csv --out digits/labelled.h5",
        "lsampler store info digits/labelled.h5",
    )
)(label)


@app.command(epilog=examples("lsampler example --out digits", "lsampler store verify digits/latents.h5"))
def verify(path: StoreFile) -> None:
    """Read every row, check its checksum, and look for NaN and infinite values."""
    from lsampler.progress import rich_progress
    from lsampler.store.opening import open_store

    store = open_store(path)
    with rich_progress() as progress:
        problems = store.verify(progress)
    if problems:
        more = f"; and {len(problems) - MOST_PROBLEMS} more" if len(problems) > MOST_PROBLEMS else ""
        raise LsamplerError(f"{path}: " + "; ".join(problems[:MOST_PROBLEMS]) + more)
    say(f"{path}: {len(store)} latent vectors, all sound")


@app.command(
    "import",
    epilog=examples(
        "lsampler example --out digits",
        "lsampler store export digits/latents.h5 --out latents.npy",
        "lsampler store import latents.npy --out own.h5 --held-out 500",
        "lsampler store import latents.npy --out known.h5 --held-out 500 --held-out-by last --model digits",
        "lsampler store export digits/latents.h5 --out latents.parquet",
        "lsampler store import latents.parquet --columns latent --out table.h5",
    ),
)
def import_(
    *,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A .npy, .npz, .h5, .parquet or .h5ad file.")],
    dataset: Dataset = None,
    columns: Columns = None,
    held_out: HeldOutCount = None,
    held_out_by: HeldOutBy = None,
    split_seed: SplitSeed = None,
    model: Model = None,
    model_param: ModelParams = [],  # noqa: B006
    out: Annotated[Path, out_option("The latent store to write (.h5).")],
    force: Force = False,
) -> None:
    """Make a latent store of latent vectors from elsewhere.

    Arrays are (N, D), or (N, C, h, w), which is flattened row-major to (N, C*h*w). An .npz or .h5 may hold 'ids' and
    'split' (train or held-out, or 0 or 1) beside the latents, and labels: those of an export, or an array 'y'.

    A .parquet holds the latents in a column 'latent' of lists, or a component in each numeric column; and, optionally,
    columns 'id' and 'split'. It needs the extra 'parquet'. What else might be an id, a label or the latents is refused
    until --columns names the columns. Of an .h5ad (extra 'anndata') an array of 'obsm' is taken, with the names of the
    cells as ids.

    All numbers become float32 and must be finite.
    """
    from lsampler.progress import rich_progress
    from lsampler.store.exchange import import_latents
    from lsampler.store.held_out import RANDOM, HeldOut
    from lsampler.workspace import open_any_model

    settings = model_settings(model, model_param)
    autoencoder = open_any_model(model, settings) if model else None
    chosen = dataset if columns is None else columns
    given = held_out, held_out_by, split_seed
    split = None if given == (None, None, None) else HeldOut(held_out, held_out_by or RANDOM, split_seed or 0)
    with rich_progress() as progress, _naming_columns(path):
        result = import_latents(
            path, out, held_out=split, autoencoder=autoencoder, dataset=chosen, force=force, progress=progress
        )
    if result.taken:
        say(f"read: {result.taken}")
    say(in_options(f"held out: {result.held_out}", ("held_out", "held_out_by", "split_seed")))
    report_store(out, result.store)


@contextlib.contextmanager
def _naming_columns(path: Path) -> Iterator[None]:
    """Name ``--columns`` where a message about a table means the argument ``dataset``."""
    try:
        yield
    except LsamplerError as error:
        if path.suffix.lower() != ".parquet":
            raise
        raise LsamplerError(str(error).replace("`dataset=", "`columns=")) from error


@app.command(
    epilog=examples(
        "lsampler example --out digits",
        "lsampler store export digits/latents.h5 --split train --out latents.npy",
        "lsampler store export digits/latents.h5 --out latents.parquet",
    )
)
def export(
    *,
    path: StoreFile,
    split: Split = None,
    out: Annotated[Path, out_option("The file to write: .npy, .npz, .h5 or .parquet.")],
    force: Force = False,
) -> None:
    """Write the latent vectors of a store to a file for other programs.

    A .npy holds the latents alone, (N, D) float32. An .npz or .h5 holds the arrays 'latents', 'ids' (if the store has
    any), 'split', and 'labels/NAME' for each label. A .parquet holds the columns 'id', 'split', 'latent', and one for
    each label; it needs the extra 'parquet'.

    No format keeps the encoder and the source: 'lsampler store import --model' records the encoder again.
    """
    from lsampler.progress import rich_progress
    from lsampler.store.exchange import export_latents

    with rich_progress() as progress:
        rows = export_latents(path, out, split=split, force=force, progress=progress)  # type: ignore[arg-type]
    say(f"{out}: {rows} latent vectors" + (", without their ids, splits and labels" if out.suffix == ".npy" else ""))


@app.command(
    epilog=examples(
        "lsampler example --out digits",
        "lsampler store shard digits/latents.h5 --rows 500 --out digits.shards",
        "lsampler store shard digits/latents.h5 --rows 500 --out again.shards --cluster local:2",
    )
)
def shard(
    *,
    path: StoreFile,
    out: Annotated[Path, out_option("The sharded store to write, a folder (.shards).", metavar="FOLDER")],
    rows: Rows = 1 << 20,
    cluster: Cluster = None,
    force: Force = False,
) -> None:
    """Copy a latent store into a folder of smaller ones with a manifest, which many machines can read at once.

    If it is interrupted, rerun the same command to resume.
    """
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.progress import rich_progress
    from lsampler.store.sharding import shard_store

    with on_cluster(cluster), rich_progress() as progress:
        sharded = shard_store(path, out, shard_rows=rows, force=force, progress=progress)
    say(f"{out}: {len(sharded)} latent vectors in {len(sharded.shards)} shards")


@app.command(
    epilog=examples(
        "lsampler example --out digits",
        "lsampler store shard digits/latents.h5 --rows 500 --out digits.shards",
        "lsampler store merge digits.shards --out merged.h5",
    )
)
def merge(
    path: Annotated[Path, typer.Argument(metavar="STORE", help="A sharded store (.shards).")],
    out: Annotated[Path, out_option("The latent store to write (.h5).")],
    force: Force = False,
) -> None:
    """Copy a sharded store into one file."""
    from lsampler.progress import rich_progress
    from lsampler.store.sharding import merge_store

    with rich_progress() as progress:
        merged = merge_store(path, out, force=force, progress=progress)
    say(f"{out}: {len(merged)} latent vectors")
