"""Help, printed in half the time."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from typer import Context

__all__ = ["Command", "Group"]

UNUSED = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}


class Command(TyperCommand):
    """A command whose help is quick."""

    def format_help(self, ctx: Context, formatter: Any) -> None:  # type: ignore[override]
        """Print it."""
        _import_typer_help()
        super().format_help(ctx, formatter)


class Group(TyperGroup):
    """A group of commands whose help is quick."""

    def format_help(self, ctx: Context, formatter: Any) -> None:  # type: ignore[override]
        """Print it."""
        _import_typer_help()
        super().format_help(ctx, formatter)


def _import_typer_help() -> None:
    """Import what typer prints help with, but not rich.markdown and rich.traceback.

    It uses them for help written in markdown and for pretty tracebacks, and lsampler has neither. With
    markdown-it and pygments behind them they take twice as long as the rest of rich.
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
    """A class in place of another of the same name, which is imported when it is called after all."""

    home: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(cls.home), cls.__name__)(*args, **kwargs)

    def __getattr__(cls, attribute: str) -> Any:
        return getattr(getattr(importlib.import_module(cls.home), cls.__name__), attribute)
