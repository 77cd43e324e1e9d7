"""The commands ``lsampler plugins``, ``lsampler plugins show`` and ``lsampler plugins new``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsampler.cli import completion
from lsampler.cli.common import (
    Force,
    Json,
    cells,
    check_json,
    console,
    examples,
    new_table,
    out_option,
    paragraphs,
    say,
    write_json,
)
from lsampler.cli.messages import Group
from lsampler.cli.values import one_of
from lsampler.errors import LsamplerError, nearest_name

if TYPE_CHECKING:
    from lsampler.plugins.registry import FoundPlugin

STRATEGY = "sampler"
LONGEST_WORDS = {"value": 22, "meaning": 17}

KINDS = {"strategy": "sampler", "core": "core", "evaluator": "evaluator", "loader": "autoencoder loader"}
"""What ``--kind`` calls the kinds of plugins."""
Kind = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        parser=one_of(*KINDS),
        help=f"Only these: {', '.join(KINDS)}.",
        show_default="all",
        autocompletion=completion.words(*KINDS),
    ),
]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The plugin's name.",
        autocompletion=completion.plugins(*completion.KINDS),
    ),
]

app = typer.Typer(
    name="plugins",
    cls=Group,
    invoke_without_command=True,
    epilog=examples(
        "lsampler plugins",
        "lsampler plugins --kind evaluator",
        "lsampler plugins show pca-ellipse",
        "lsampler plugins new my-strategy",
    ),
)


@app.callback()
def plugins(context: typer.Context, kind: Kind = None, json_out: Json = None, force: Force = False) -> None:
    """List all strategies, cores, evaluators and autoencoder loaders, with origin and summary.

    A strategy whose store is 'needed' learns from latent vectors, and so from a --store, unless a bundle carries it
    fitted; the other strategies learn from statistics, which every bundle has.
    """
    if context.invoked_subcommand:
        return
    from lsampler.plugins.registry import registry

    check_json(json_out, force=force)
    known = registry()
    kinds = [KINDS[kind]] if kind else list(KINDS.values())
    listed = {each: list(known.of_kind(each).values()) for each in kinds}
    content = {
        "plugins": [_plain(one) for found in listed.values() for one in found],
        "broken": [asdict(broken) for broken in known.broken],
    }
    if write_json(json_out, content, force=force):
        return
    for each, found in listed.items():
        _print_kind(each, found)
    for broken in known.broken:
        say(f"broken: '{broken.name}' from {broken.origin}: {broken.reason}")


def _plain(found: FoundPlugin) -> dict[str, Any]:
    """What the list says of a plugin, as plain values."""
    plain = {"name": found.name, "kind": found.kind, "origin": found.origin, "summary": found.plugin.summary()}
    return plain | ({"needs_store": _needs_store(found)} if found.kind == STRATEGY else {})


def _needs_store(found: FoundPlugin) -> bool:
    return bool(getattr(found.plugin, "needs_latents", False))


def _print_kind(kind: str, listed: Sequence[FoundPlugin]) -> None:
    """Print the table of the plugins of a kind."""
    from lsampler.bundles.bundle import bundled, load_bundle

    out = console()
    table = new_table(title=f"{kind}s", expand=True)
    table.add_column("name", no_wrap=True, min_width=20)
    table.add_column("from", no_wrap=True, min_width=10)
    if kind == STRATEGY:
        table.add_column("store", no_wrap=True)
    table.add_column("what it does", ratio=1)
    for found in listed:
        store = ["needed" if _needs_store(found) else ""] if kind == STRATEGY else []
        table.add_row(*cells(found.name, found.origin, *store, found.plugin.summary()))
    out.print(table)
    for name in bundled() if kind == STRATEGY else ():
        carried = ", ".join(each.label for each in load_bundle(name).strategies)
        out.print(*cells(f"the bundle {name} carries, so that they need no store: {carried or 'none'}\n"))


@app.command(
    epilog=examples(
        "lsampler plugins show pca-ellipse", "lsampler plugins show faces", "lsampler plugins show flow --json -"
    )
)
def show(name: Name, json_out: Json = None, force: Force = False) -> None:
    """Print what a plugin does, and the type, default, range and meaning of its parameters."""
    from lsampler.plugins.registry import registry

    check_json(json_out, force=force)
    known = registry()
    matches = [found for found in known.found if found.name == name]
    if not matches:
        known.refuse_broken(name)
        raise LsamplerError(f"no plugin '{name}'{nearest_name(name, {found.name for found in known.found})}")
    described = [
        _plain(found)
        | {"help": paragraphs(found.plugin), "parameters": [asdict(each) for each in found.plugin.parameters()]}
        for found in matches
    ]
    if write_json(json_out, described, force=force):
        return
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
    name: Annotated[str, typer.Argument(metavar="NAME", help="The strategy's name, in lower case with hyphens.")],
    out: Annotated[
        Path | None, out_option("The folder to write; without it, lsampler-NAME is written.", metavar="FOLDER")
    ] = None,
) -> None:
    """Write an installable package with a new strategy, which works and passes its tests as it is."""
    from lsampler.plugins.scaffold import new_plugin

    folder = new_plugin(name, out)
    say(f"{folder}: a package with the strategy '{name}'")
    say(f"install it and run its tests: pip install -e '{folder}[test]' && pytest {folder}")
