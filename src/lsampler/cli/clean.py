"""``lsampler clean``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsampler.cli.common import examples, say
from lsampler.errors import LsamplerError

app = typer.Typer()


@app.command(epilog=examples("lsampler clean . --dry-run", "lsampler clean ."))
def clean(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that holds outputs of lsampler.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
) -> None:
    """Remove the hidden files that commands left in a folder when they were killed.

    Nothing of a command that still runs is touched. What a killed command was about to replace is put back. Rerunning
    a command with the same output does the same for that output.
    """
    from lsampler.files import disk_errors, leftovers, remove_leftovers

    if not folder.is_dir():
        raise LsamplerError(f"{folder}: no such folder; check the path")
    with disk_errors(folder):
        found = leftovers(folder)
        size = sum(path.stat().st_size for room in found for path in room.rglob("*") if path.is_file())
    for room in found:
        say(f"  {room}")
    if not dry_run:
        remove_leftovers(folder)
    removed = "to remove" if dry_run else "removed"
    say(f"{folder}: {len(found)} hidden folders {removed}, {size / 1e6:,.1f} MB")
