"""What ``--help`` shows: panels of options, readable types, and examples that can be pasted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

DATA = "Model and data"
STRATEGY = "Strategy"
CONDITION = "Condition"
PATH = "Path"
SCORES = "Scores"
OUTPUT = "Output"
COMPUTING = "Computation"
OTHER = "Other"
"""The panels of options."""
WIDTH = 78
"""Columns of an example; longer ones are continued on the next line, as a shell reads them."""


def readable(parameters: list[Any]) -> list[Any]:
    """Options and arguments without types that say nothing: a flag takes no value, and an argument's name says it."""
    options = [each for each in parameters if each.param_type_name == "option"]
    grouped = all(each.rich_help_panel for each in options if "--help" not in each.opts)
    for each in parameters:
        if getattr(each, "is_flag", False):
            each.metavar = ""
        if each.param_type_name == "argument":
            each.display_type = lambda ctx: ""
        if "--help" in each.opts and grouped:
            each.rich_help_panel = OTHER
    return parameters


def print_examples(text: str | None) -> None:
    """Print the foot of a help, without the line breaks of a terminal, so that it can be pasted."""
    if text:
        from rich.console import Console

        Console().print("\n [bold]Examples[/bold]\n")
        for line in text.splitlines():
            print(" " + " \\\n     ".join(_continued(line)))


def _continued(command: str) -> Iterator[str]:
    """The parts of a command that fit in a line each; an option keeps its value."""
    words = re.findall(r"(?:'[^']*'|\S)+", command)
    phrases: list[str] = []
    for word in words:
        joins = phrases and (phrases[-1].startswith("-") and " " not in phrases[-1]) and not word.startswith("-")
        phrases = [*phrases[:-1], f"{phrases[-1]} {word}"] if joins else [*phrases, word]
    part = ""
    for phrase in phrases:
        if part and len(part) + len(phrase) + 8 > WIDTH:
            yield part
            part = phrase
        else:
            part = f"{part} {phrase}".strip()
    yield part
