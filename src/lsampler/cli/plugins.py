"""The commands ``lsampler plugins``, ``lsampler plugins show`` and ``lsampler plugins new``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsampler.cli.common import cells, console, examples, new_table, paragraphs, say
from lsampler.errors import LsamplerError, nearest_name

app = typer.Typer(
    name="plugins",
    invoke_without_command=True,
    epilog=examples("lsampler plugins", "lsampler plugins show pca-ellipse", "lsampler plugins new my-strategy"),
)


@app.callback()
def plugins(context: typer.Context) -> None:
    """List all strategies, cores, evaluators and autoencoder loaders, with origin and summary."""
    if context.invoked_subcommand:
        return
    from lsampler.plugins.registry import KINDS, registry

    known = registry()
    out = console()
    for kind in KINDS:
        table = new_table(title=f"{kind}s", expand=True)
        table.add_column("name", no_wrap=True, min_width=20)
        table.add_column("from", no_wrap=True, min_width=10)
        table.add_column("what it does", ratio=1)
        for found in known.of_kind(kind).values():
            table.add_row(*cells(found.name, found.origin, found.plugin.summary()))
        out.print(table)
    for broken in known.broken:
        say(f"broken: '{broken.name}' from {broken.origin}: {broken.reason}")


@app.command()
def show(name: Annotated[str, typer.Argument(help="The plugin's name.")]) -> None:
    """Print what a plugin does, and the type, default, range and meaning of its parameters."""
    from lsampler.plugins.registry import registry

    known = registry()
    matches = [found for found in known.found if found.name == name]
    if not matches:
        known.refuse_broken(name)
        raise LsamplerError(f"no plugin '{name}'{nearest_name(name, {found.name for found in known.found})}")
    out = console()
    for found in matches:
        out.print(f"[bold]{found.name}[/bold] ({found.kind}, from {found.origin})\n")
        out.print(*cells(paragraphs(found.plugin).replace("``", "'")), highlight=False)
        table = new_table()
        for head in ("parameter", "type", "default", "range", "meaning"):
            table.add_column(head, no_wrap=head == "parameter")
        for each in found.plugin.parameters():
            table.add_row(*cells(each.name, each.type, each.default, each.range, each.meaning))
        out.print(table if table.row_count else "\nNo parameters.")


@app.command(epilog=examples("lsampler plugins new my-strategy"))
def new(
    name: Annotated[str, typer.Argument(help="The strategy's name, in lower case with hyphens.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder to write.", show_default="lsampler-NAME")
    ] = None,
) -> None:
    """Write an installable package with a new strategy, which works and passes its tests as it is."""
    from lsampler.plugins.scaffold import new_plugin

    folder = new_plugin(name, out)
    say(f"{folder}: a package with the strategy '{name}'")
    say(f"install it and run its tests: pip install -e '{folder}[test]' && pytest {folder}")
