"""Messages of the library in the words of the command line: Python arguments become options."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

from lsampler.cli.help import print_examples, readable
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from typer import Context

ARGUMENT = re.compile(r"`([a-z_]+)=([^`]*)`")
RENAMED = {
    "reference": "store",
    "latents": "store",
    "autoencoder": "model",
    "address": "cluster",
    "judge": "judge_model",
}


class Command(TyperCommand):
    """A command with readable help, which names options where the library names arguments."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options and arguments, as help shows them."""
        return readable(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, and the examples as they are typed."""
        epilog, self.epilog = self.epilog, None
        super().format_help(ctx, formatter)
        self.epilog = epilog
        print_examples(epilog)

    def invoke(self, ctx: Context) -> Any:  # type: ignore[override]
        """Run the command. Raises LsamplerError, with options in place of Python arguments."""
        try:
            return super().invoke(ctx)
        except LsamplerError as error:
            raise _translated(error, self.params, ctx) from error


class Group(TyperGroup):
    """A group of commands, with readable help and messages as those of a command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options, as help shows them."""
        return readable(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, and the examples as they are typed."""
        epilog, self.epilog = self.epilog, None
        super().format_help(ctx, formatter)
        self.epilog = epilog
        print_examples(epilog)

    def invoke(self, ctx: Context) -> Any:  # type: ignore[override]
        """Run the group or its command. Raises LsamplerError, with options in place of Python arguments."""
        try:
            return super().invoke(ctx)
        except LsamplerError as error:
            if ctx.invoked_subcommand:  # whose messages are translated already
                raise
            raise _translated(error, self.params, ctx) from error


def _translated(error: LsamplerError, parameters: Sequence[Any], ctx: Context) -> LsamplerError:
    options = {str(parameter.name) for parameter in parameters}
    given = ARGUMENT.finditer(" ".join(map(str, ctx.params.values())))
    return LsamplerError(in_options(str(error), options, {found[0] for found in given}))


def in_options(message: str, options: Collection[str], given: Collection[str] = ()) -> str:
    """Translate arguments such as ```held_out=100``` into options such as ``--held-out 100``.

    Args:
        message: of the library; it names arguments in backticks, with ``...`` for a value that the user chooses.
        options: names of the parameters of the command that failed, such as ``held_out``.
        given: what the user wrote that looks like an argument, such as the name of a file; it stays.
    """

    def translated(found: re.Match[str]) -> str:
        if found[0] in given:
            return found[0]
        name, value = found.groups()
        option = name if name in options else RENAMED.get(name, name)
        if option in options:
            flag = "--" + option.replace("_", "-")
            return flag if value in ("...", "True") else f"{flag} {value}"
        setting = f"{name}={value}"
        if "model_param" in options and name in _loader_parameters():
            return f"--model-param {setting}"
        return f"--param {setting}" if "param" in options else setting

    return ARGUMENT.sub(translated, message)


def _loader_parameters() -> set[str]:
    """The names of the parameters of all autoencoder loaders."""
    from lsampler.plugins.registry import registry

    return {name for found in registry().of_kind("autoencoder loader").values() for name in found.plugin.model_fields}
