"""Messages of the library in the words of the command line: Python arguments become options."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from typer import Context

ARGUMENT = re.compile(r"`([a-z_]+)=([^`]*)`")
RENAMED = {"reference": "store", "latents": "store", "autoencoder": "model", "address": "cluster"}


class Command(TyperCommand):
    """A command that names options where the library names arguments."""

    def invoke(self, ctx: Context) -> Any:  # type: ignore[override]
        """Run the command. Raises LsamplerError, with options in place of Python arguments."""
        try:
            return super().invoke(ctx)
        except LsamplerError as error:
            # What looks like an argument in the name of a file that the user gave is none.
            names = [str(value) for value in ctx.params.values() if "`" in str(value)]
            parts = re.split(f"({'|'.join(map(re.escape, names))})", str(error)) if names else [str(error)]
            options = {str(parameter.name) for parameter in self.params}
            said = (part if part in names else in_options(part, options) for part in parts)
            raise LsamplerError("".join(said)) from error


def in_options(message: str, options: Collection[str]) -> str:
    """Translate arguments such as ```held_out=100``` into options such as ``--held-out 100``.

    Args:
        message: of the library; it names arguments in backticks, with ``...`` for a value that the user chooses.
        options: names of the parameters of the command that failed, such as ``held_out``.
    """

    def translated(found: re.Match[str]) -> str:
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
