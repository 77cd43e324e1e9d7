"""The commands ``lsampler plugins``, ``lsampler plugins show`` and ``lsampler plugins new``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsampler.cli.common import cells, console, examples, new_table, paragraphs, say
from lsampler.errors import LsamplerError, nearest_name

STRATEGY = "sampler"
LONGEST_WORDS = {"value": 22, "meaning": 17}

app = typer.Typer(
    name="plugins",
    invoke_without_command=True,
    epilog=examples("lsampler plugins", "lsampler plugins show pca-ellipse", "lsampler plugins new my-strategy"),
)


@app.callback()
def plugins(context: typer.Context) -> None:
    """List all strategies, cores, evaluators and autoencoder loaders, with origin and summary.

    A strategy whose store is 'needed' learns from latent vectors, and so from a --store, unless a bundle carries it
    fitted; the other strategies learn from statistics, which every bundle has.
    """
    if context.invoked_subcommand:
        return
    from lsampler.bundles.bundle import bundled, load_bundle
    from lsampler.plugins.registry import KINDS, registry

    known = registry()
    out = console()
    for kind in KINDS:
        table = new_table(title=f"{kind}s", expand=True)
        table.add_column("name", no_wrap=True, min_width=20)
        table.add_column("from", no_wrap=True, min_width=10)
        if kind == STRATEGY:
            table.add_column("store", no_wrap=True)
        table.add_column("what it does", ratio=1)
        for found in known.of_kind(kind).values():
            store = ["needed" if getattr(found.plugin, "needs_latents", False) else ""] if kind == STRATEGY else []
            table.add_row(*cells(found.name, found.origin, *store, found.plugin.summary()))
        out.print(table)
        for name in bundled() if kind == STRATEGY else ():
            carried = ", ".join(each.label for each in load_bundle(name).strategies)
            out.print(*cells(f"the bundle {name} carries, so that they need no store: {carried or 'none'}\n"))
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
        for head in ("parameter", "value", "meaning"):  # the longest words must fit into 80 columns
            table.add_column(head, no_wrap=head == "parameter", overflow="fold", min_width=LONGEST_WORDS.get(head))
        for each in found.plugin.parameters():
            kind = f"{each.type}, {each.range}" if each.range else each.type
            table.add_row(*cells(each.name, f"{kind}; default {each.default}", each.meaning))
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
