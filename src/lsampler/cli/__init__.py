"""The command line: parses arguments, calls the library and prints. One module per group of commands."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from lsampler._version import __version__
from lsampler.cli.common import paragraphs
from lsampler.cli.messages import Command
from lsampler.errors import LsamplerError

COMMANDS = {
    "sample": ("sample", "Draw latent vectors with a strategy and decode them to images."),
    "fit": ("sample", "Fit a strategy and save it; 'lsampler sample --fitted' draws from the file."),
    "decode": ("sample", "Decode latent vectors of a file to images."),
    "evaluate": (
        "evaluate",
        "Score samples: the share inside each core, nominal and calibrated, beside real vectors.",
    ),
    "compare": ("compare", "Compare strategies on your data, and write a report that says which is best at what."),
    "choose": ("choose", "Choose a strategy for your data, and fit it."),
    "analyze": (
        "analyze",
        "Analyse how the encoder fills its latent space, and check each statement of the posts.",
    ),
    "train": ("train", "Train the posts' autoencoder on images (extra 'train')."),
    "encode": ("encode", "Encode images into a latent store. Rerun the command to resume it after an interruption."),
    "bundle": (
        "bundle",
        "Make a bundle: weights as float16, aggregate statistics and calibrated cores in one file.",
    ),
    "example": ("example", "Write a small example: scikit-learn's handwritten digits and their latents, in seconds."),
    "store": ("store", "Inspect, import, export, shard and merge latent stores."),
    "plugins": ("plugins", "List all strategies, cores, evaluators and autoencoder loaders, with origin and summary."),
}
"""The module of every command, and its summary in the list of commands: the first paragraph of its own help."""


INTERRUPTED, TERMINATED = 130, 143
LONGEST = 1500
"""Characters of a message; of a longer one the middle is left out."""


class _Commands(TyperGroup):
    """The list of commands. The module of a command is imported when the command is used."""

    def __init__(self, *, commands: Any = None, **settings: Any) -> None:
        listed = [Command(name, help=summary) for name, (_, summary) in COMMANDS.items()]
        super().__init__(commands=listed, **settings)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the first argument names, and its own arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, _command(name) if name else command, rest


def _command(name: str) -> Any:
    """The command or group of a name, with its options: that of the module's ``app``."""
    place: typer.Typer = importlib.import_module(f"lsampler.cli.{COMMANDS[name][0]}").app
    for command in place.registered_commands:
        command.help, command.cls = paragraphs(command.callback), Command
    place.rich_markup_mode = "rich"
    if place.info.name == name:
        return get_group(place)
    return get_group(place).commands[name]


app = typer.Typer(
    name="lsampler",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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

    Your own images: [bold]train[/bold], [bold]encode[/bold], [bold]analyze[/bold] the latent vectors, then
    [bold]sample[/bold] and [bold]compare[/bold] with --model and --store.
    """


def main() -> None:
    """Entry point: bad input gets one line and exit code 2, Ctrl-C and SIGTERM one line and 130 or 143."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
    try:
        with warnings.catch_warnings():
            # What other libraries warn of is either harmless or said by lsampler in words that name the file.
            warnings.filterwarnings("ignore", module=r"(?!lsampler)")
            code = app(standalone_mode=False)
    except LsamplerError as error:
        code = _complain(str(error))
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except _TerminatedError:
        code = TERMINATED
    except (MemoryError, RecursionError, OverflowError) as error:
        code = _complain(f"{type(error).__name__}: {error or 'out of memory'}; the input is too large or too deep")
    except Exception as error:
        message = getattr(error, "format_message", None)  # what typer raises for wrong usage
        if message is None:
            raise
        code = _complain(message() or "see --help")
    if code in (INTERRUPTED, TERMINATED):
        print("lsampler: interrupted", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


class _TerminatedError(BaseException):
    """SIGTERM ends a command as Ctrl-C does, with everything cleaned up."""


def _terminated(*_: object) -> None:
    raise _TerminatedError


def _complain(message: str) -> int:
    line = " ".join(message.split())
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"
    print("lsampler:", "".join(letter if letter.isprintable() else "?" for letter in line), file=sys.stderr)
    return 2
