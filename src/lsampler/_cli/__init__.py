"""The command line: it parses, calls the library and prints. One file per group of commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lsampler._cli import analyze, bundle, compare, encode, evaluate, example, plugins, sample, store, train
from lsampler._cli.common import paragraphs
from lsampler._errors import LsamplerError
from lsampler._version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    name="lsampler",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (sample, evaluate, compare, analyze, train, encode, store, bundle, example, plugins):
    group.add_to(app)
for place in (app, *(found.typer_instance for found in app.registered_groups if found.typer_instance)):
    for command in place.registered_commands:
        command.help = paragraphs(command.callback)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"lsampler {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn any trained autoencoder into a generator, and measure how well that worked.

    New faces from the bundled model: [bold]lsampler sample --plugin pca-ellipse --out faces.png[/bold]

    Your own images: [bold]train[/bold], [bold]encode[/bold], then [bold]analyze[/bold] the latents, and
    [bold]sample[/bold] and [bold]evaluate[/bold] with --model and --store.
    """


def main() -> None:
    """Entry point: bad input gets one line and exit code 2, Ctrl-C one line and 130."""
    try:
        code = app(standalone_mode=False)
    except LsamplerError as error:
        code = _complain(str(error))
    except typer.Abort:
        code = 130
    except Exception as error:
        message = getattr(error, "format_message", None)  # what typer raises for wrong usage
        if message is None:
            raise
        code = _complain(message() or "see --help")
    if code == 130:
        print("lsampler: interrupted", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str) -> int:
    print("lsampler:", " ".join(message.split()), file=sys.stderr)
    return 2
