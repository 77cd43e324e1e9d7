"""The command line: parses arguments, calls the library and prints. One module per group of commands."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.main import get_group

from lsampler._version import __version__
from lsampler.cli import completion
from lsampler.cli.common import examples, paragraphs
from lsampler.cli.messages import Command, Group
from lsampler.errors import Interrupted, LsamplerError, check_interrupts, one_line, printable, shortened

DRAW, JUDGE, OWN, HOUSE = "Draw samples", "Choose and judge", "Use your own data", "Explore and tidy up"
COMMANDS = {
    "sample": ("sample", DRAW, "Draw latent vectors with a strategy and decode them to images."),
    "fit": ("sample", DRAW, "Fit a strategy and save it; 'lsampler sample --fitted' draws from the file."),
    "decode": ("sample", DRAW, "Decode latent vectors of a file to images, or to the items that the model makes."),
    "edit": ("editing", DRAW, "Edit items: encode them, move them towards wanted labels, and decode each step."),
    "walk": ("editing", DRAW, "Walk through latent space from item to item, and decode each step."),
    "attributes": (
        "editing",
        DRAW,
        "Export attribute vectors: for every label, what an edit adds to a latent vector.",
    ),
    "choose": ("choose", JUDGE, "Choose a strategy for your data, and fit it."),
    "compare": (
        "compare",
        JUDGE,
        "Compare strategies on your data, and write a report that says which is best at what.",
    ),
    "evaluate": (
        "evaluate",
        JUDGE,
        "Score samples: the share inside each core, nominal and calibrated, beside real vectors.",
    ),
    "analyze": (
        "analyze",
        JUDGE,
        "Analyse how the encoder fills its latent space, and check each statement of the posts.",
    ),
    "train": ("train", OWN, "Train an autoencoder on images, signals, tables or other arrays (extra 'train')."),
    "encode": ("encode", OWN, "Encode images, or the rows of an array or a table, into a latent store."),
    "store": ("store", OWN, "List, inspect, import, export, shard and merge latent stores."),
    "bundle": (
        "bundle",
        OWN,
        "Make a bundle: weights as float16, statistics, calibrated cores and fitted strategies in one file.",
    ),
    "bundles": ("bundle", HOUSE, "List the bundles that come with lsampler, or what bundles in files hold."),
    "plugins": (
        "plugins",
        HOUSE,
        "List all strategies, cores, evaluators and autoencoder loaders, with origin and summary.",
    ),
    "example": (
        "example",
        HOUSE,
        "Write a small example, data and their latents under a bundled model, in seconds.",
    ),
    "clean": ("clean", HOUSE, "Remove the hidden files that commands left in a folder when they were killed."),
}
"""The module of every command, its panel, and its summary in the list of commands: the first paragraph of its help."""


LONGEST, LONGEST_WORD = 1500, 300
"""Characters of a message, and of a path or value in it; of longer ones the middle is left out."""
COMPLETION = {"--install-completion", "--show-completion"}
"""Options of typer that end the process themselves."""
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")


class _Commands(Group):
    """The list of commands. The module of a command is imported when the command is used."""

    def __init__(self, *, commands: Any = None, **settings: Any) -> None:
        listed = [Command(name, help=summary, rich_help_panel=panel) for name, (_, panel, summary) in COMMANDS.items()]
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
    if place.registered_callback:
        place.registered_callback.help = paragraphs(place.registered_callback.callback)
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
    epilog=examples(
        "lsampler sample --out faces.png",
        "lsampler example --out digits",
        "lsampler sample --model digits --store digits/latents.h5 --out digits.png",
        "lsampler sample --help",
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"lsampler {__version__}")
        raise typer.Exit()


@app.callback(
    help="Turn any trained autoencoder into a generator, and measure how well that worked.\n\n"
    "New faces from the bundled model need one command, the first of the examples. With your own data, 'train' and "
    "'encode' come first; then give the files that they wrote to 'sample', 'choose' and 'compare' as --model and "
    "--store."
)
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The options of lsampler itself."""


def main() -> None:
    """Entry point: bad input gets one line and exit code 2; Ctrl-C and signals one line and 128 + their number."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may be no text
    if completion.ASKED in os.environ:
        completion.answer_shell(lambda: app(prog_name="lsampler", standalone_mode=False))
    # What other libraries warn of, log, or fail with where nobody can catch it is either harmless, or said by lsampler
    # in words that name the file.
    kept = logging.lastResort, sys.unraisablehook, threading.excepthook
    logging.lastResort = None
    sys.unraisablehook = threading.excepthook = lambda *_: None  # type: ignore[assignment]
    try:
        with warnings.catch_warnings(), _signals_raised():
            warnings.simplefilter("ignore")
            code = _run()
        if sys.stdout is not None:
            sys.stdout.flush()
    except Interrupted as interrupted:
        code = _ended_by(interrupted)
    except OSError as error:
        code = _without_output(error)
    finally:
        logging.lastResort, sys.unraisablehook, threading.excepthook = kept
    sys.exit(code)


def _run() -> int:
    """Run the command that ``sys.argv`` names; returns the exit code."""
    try:
        code = app(prog_name="lsampler", standalone_mode=False)
        check_interrupts()
    except LsamplerError as error:
        return _ended_by(Interrupted.pending) if Interrupted.pending else _complain(str(error))
    except Interrupted as interrupted:
        return _ended_by(interrupted)
    except (typer.Abort, KeyboardInterrupt):
        return _ended_by(Interrupted(signal.SIGINT))
    except (MemoryError, RecursionError, OverflowError) as error:
        return _complain(f"{type(error).__name__}: {error or 'out of memory'}; the input is too large or too deep")
    except BaseException as error:
        message = getattr(error, "format_message", None)  # what typer raises for wrong usage
        if message is not None:
            return _complain(message() or "see --help")
        if isinstance(error, SystemExit) and COMPLETION & set(sys.argv[1:2]):
            return error.code if isinstance(error.code, int) else 0
        cause = (
            error.__context__ if isinstance(error, SystemExit) else error
        )  # rich ends the process where a pipe broke
        if isinstance(cause, OSError) and cause.filename is None:
            return _without_output(cause)
        if sys.flags.dev_mode:
            raise
        reason = one_line(error)
        if "allocate memory" in reason:  # torch's own words
            return _complain(f"{reason}; the input is too large")
        return _complain(f"failed with {reason}; report it with the output of 'python -X dev -m lsampler'")
    return code if isinstance(code, int) else 0


def _without_output(error: OSError) -> int:
    """The exit code where standard output cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the rest of the output fails again when Python ends
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE  # whoever read the output wants no more
    return _complain(f"standard output: could not be written ({error.strerror}); choose another place for it")


@contextlib.contextmanager
def _signals_raised() -> Iterator[None]:
    """Let signals that end the process raise :class:`Interrupted`, unless they are ignored, as nohup does."""
    Interrupted.pending, handlers = None, {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
        handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        for number, handler in handlers.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _interrupted)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        Interrupted.pending = None


def _interrupted(number: int, _: object) -> None:
    Interrupted.pending = Interrupted(number)
    raise Interrupted.pending


def _ended_by(interrupted: Interrupted) -> int:
    print("lsampler: interrupted", file=sys.stderr)
    return 128 + interrupted.signal


def _complain(message: str) -> int:
    line = " ".join(shortened(word, LONGEST_WORD) for word in message.split())
    print("lsampler:", printable(shortened(line, LONGEST)), file=sys.stderr)
    return 2
