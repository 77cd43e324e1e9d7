"""``lsampler store``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from lsampler.cli.common import (
    Cluster,
    Force,
    HeldOutBy,
    ModelParams,
    SplitSeed,
    cells,
    console,
    examples,
    model_settings,
    new_table,
    print_channels,
    report_store,
    say,
)
from lsampler.cli.messages import in_options
from lsampler.errors import LsamplerError

MOST_PROBLEMS = 20
StoreFile = Annotated[Path, typer.Argument(help="A latent store (.h5 or .shards).")]
HeldOutCount = Annotated[
    int | None,
    typer.Option(min=0, help="How many vectors are held out.", show_default="the file's own split, or a tenth"),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="The autoencoder that encoded them: its D is compared and its fingerprint recorded.",
        show_default="unknown",
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="Which array of an .npz or .h5, or of an .h5ad, such as obsm/X_pca.",
        show_default="latents, or the only one",
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Which columns of a .parquet: one of lists, or several of numbers, as names or patterns such as 'z*', "
        "separated by commas.",
        show_default="latent, or the only ones that may be meant",
    ),
]


app = typer.Typer(
    name="store",
    help="Inspect, import, export, shard and merge latent stores.",
    no_args_is_help=True,
    epilog=examples(
        "lsampler store info latents.h5",
        "lsampler store verify latents.h5",
        "lsampler store import latents.npy --out latents.h5",
        "lsampler store export latents.h5 latents.parquet",
        "lsampler store shard latents.h5 latents.shards",
    ),
)


@app.command()
def info(path: StoreFile) -> None:
    """Print what a store holds and where it came from; of spatial latents, also the statistics of their channels."""
    from lsampler.progress import rich_progress
    from lsampler.store.latent_store import SPLITS
    from lsampler.store.opening import open_store
    from lsampler.store.sharded_store import ShardedStore

    store = open_store(path)
    table = new_table(title=cells(path)[0], show_header=False)
    rows = {"latent vectors": len(store), **{f"  {split}": store.count(split) for split in SPLITS}}
    rows |= {"shards": len(store.shards)} if isinstance(store, ShardedStore) else {}
    rows |= {"latent dimension": store.dimension, **store.attributes}
    for name, value in rows.items():
        table.add_row(*cells(name.replace("_", " "), value))
    console().print(table)
    if store.latent_shape is not None and store.count("train"):
        with rich_progress():
            channels = store.channel_statistics()
        print_channels(channels.shape, channels.count, channels.rows())


@app.command()
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
        "lsampler store import latents.npy --out latents.h5 --held-out 1000",
        "lsampler store import results.npz --dataset z --model my.safetensors --out latents.h5",
        "lsampler store import latents.npz --held-out 1000 --held-out-by folder --out latents.h5",
        "lsampler store import cells.h5ad --dataset obsm/X_pca --out cells.h5",
        "lsampler store import latents.parquet --columns 'z*' --out latents.h5",
    ),
)
def import_(
    path: Annotated[Path, typer.Argument(help="A .npy, .npz, .h5, .parquet or .h5ad file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The latent store to write (.h5).")],
    held_out: HeldOutCount = None,
    held_out_by: HeldOutBy = None,
    split_seed: SplitSeed = None,
    model: Model = None,
    model_param: ModelParams = [],  # noqa: B006
    dataset: Dataset = None,
    columns: Columns = None,
    force: Force = False,
) -> None:
    """Make a latent store of latent vectors from elsewhere.

    Arrays are (N, D), or (N, C, h, w), which is flattened row-major to (N, C*h*w). An .npz or .h5 may hold 'ids' and
    'split' (train or held-out, or 0 or 1) beside the latents.

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
        "lsampler store export latents.h5 latents.npy --split train",
        "lsampler store export latents.h5 latents.parquet",
    )
)
def export(
    path: StoreFile,
    out: Annotated[Path, typer.Argument(help="The file to write: .npy, .npz, .h5 or .parquet.")],
    split: Annotated[str | None, typer.Option(help="Only train or held-out.", show_default="both")] = None,
    force: Force = False,
) -> None:
    """Write the latent vectors of a store to a file for other programs.

    A .npy holds the latents alone, (N, D) float32. An .npz or .h5 holds the arrays 'latents', 'ids' (if the store has
    any) and 'split'. A .parquet holds the columns 'id', 'split' and 'latent'; it needs the extra 'parquet'.

    No format keeps the encoder and the source: 'lsampler store import --model' records the encoder again.
    """
    from lsampler.progress import rich_progress
    from lsampler.store.exchange import export_latents

    with rich_progress() as progress:
        rows = export_latents(path, out, split=split, force=force, progress=progress)  # type: ignore[arg-type]
    say(f"{out}: {rows} latent vectors" + (", without their ids and splits" if out.suffix == ".npy" else ""))


@app.command(
    epilog=examples(
        "lsampler store shard latents.h5 latents.shards --rows 1000000",
        "lsampler store shard latents.h5 latents.shards --cluster local:4",
    )
)
def shard(
    path: StoreFile,
    out: Annotated[Path, typer.Argument(help="The sharded store to write, a folder (.shards).")],
    rows: Annotated[int, typer.Option(min=1, help="Latent vectors per shard.")] = 1 << 20,
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


@app.command(epilog=examples("lsampler store merge latents.shards latents.h5"))
def merge(
    path: Annotated[Path, typer.Argument(help="A sharded store (.shards).")],
    out: Annotated[Path, typer.Argument(help="The latent store to write (.h5).")],
    force: Force = False,
) -> None:
    """Copy a sharded store into one file."""
    from lsampler.progress import rich_progress
    from lsampler.store.sharding import merge_store

    with rich_progress() as progress:
        merged = merge_store(path, out, force=force, progress=progress)
    say(f"{out}: {len(merged)} latent vectors")
