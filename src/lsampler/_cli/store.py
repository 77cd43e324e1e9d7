"""``lsampler store``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsampler._cli.common import console, examples
from lsampler._errors import LsamplerError

StoreFile = Annotated[Path, typer.Argument(help="A latent store (.h5).")]


def add_to(app: typer.Typer) -> None:
    """Register the group."""
    group = typer.Typer(
        help="Look into latent stores.",
        no_args_is_help=True,
        epilog=examples("lsampler store info latents.h5", "lsampler store verify latents.h5"),
    )
    group.command()(info)
    group.command()(verify)
    app.add_typer(group, name="store")


def info(path: StoreFile) -> None:
    """Print what a store holds and where it came from."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from lsampler._store import SPLITS, LatentStore

    store = LatentStore(path)
    table = Table(title=str(path), box=box.SIMPLE, show_header=False, title_justify="left")
    table.add_row("latent vectors", f"{len(store)}")
    for split in SPLITS:
        table.add_row(f"  {split}", f"{store.count(split)}")
    table.add_row("latent dimension", f"{store.dimension}")
    for key, value in store.attributes.items():
        table.add_row(key.replace("_", " "), escape(str(value)))
    console().print(table)


def verify(path: StoreFile) -> None:
    """Read every row, check its checksum, and look for NaN and infinite values."""
    from lsampler._store import LatentStore

    store = LatentStore(path)
    problems = store.verify()
    if problems:
        raise LsamplerError(f"{path}: " + "; ".join(problems))
    print(f"{path}: {len(store)} latent vectors, all sound")
