"""Command classes: messages in the words of the command line, and help without what only Markdown needs."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

from lsampler.cli.messages import ARGUMENT, in_options
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from typer import Context

__all__ = ["Command", "Group"]

UNUSED = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}


class Command(TyperCommand):
    """A command that prints help quickly, and names options where the library names arguments."""

    def format_help(self, ctx: Context, formatter: Any) -> None:  # type: ignore[override]
        """Print the help."""
        _import_typer_help()
        super().format_help(ctx, formatter)

    def invoke(self, ctx: Context) -> Any:  # type: ignore[override]
        """Run the command. Raises LsamplerError, with options in place of Python arguments."""
        try:
            return super().invoke(ctx)
        except LsamplerError as error:
            options = {str(parameter.name) for parameter in self.params}
            raise LsamplerError(in_options(str(error), options, _loader_parameters(str(error), options))) from error


class Group(TyperGroup):
    """A group of commands that prints help quickly."""

    def format_help(self, ctx: Context, formatter: Any) -> None:  # type: ignore[override]
        """Print the help."""
        _import_typer_help()
        super().format_help(ctx, formatter)


def _loader_parameters(message: str, options: set[str]) -> set[str]:
    """The parameters of autoencoder loaders, if a message names an argument that may be one."""
    if "model_param" not in options or not ARGUMENT.search(message):
        return set()
    from lsampler.plugins.registry import registry

    return {name for found in registry().of_kind("autoencoder loader").values() for name in found.plugin.model_fields}


def _import_typer_help() -> None:
    """Import what typer prints help with, but not rich.markdown and rich.traceback.

    Typer uses these two for help written in Markdown and for formatted tracebacks; lsampler has neither. Together
    with markdown-it and pygments they take twice as long to import as the rest of rich.
    """
    if "typer.rich_utils" in sys.modules:
        return
    absent = {module: name for module, name in UNUSED.items() if module not in sys.modules}
    for module, name in absent.items():
        sys.modules[module] = ModuleType(module)
        setattr(sys.modules[module], name, _Later(name, (), {"home": module}))
    try:
        importlib.import_module("typer.rich_utils")
    finally:
        for module in absent:
            del sys.modules[module]


class _Later(type):
    """Stands in for a class, which is imported when it is called after all."""

    home: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(cls.home), cls.__name__)(*args, **kwargs)

    def __getattr__(cls, attribute: str) -> Any:
        return getattr(getattr(importlib.import_module(cls.home), cls.__name__), attribute)
