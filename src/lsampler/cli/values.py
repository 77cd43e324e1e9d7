"""How the values of options are read: numbers in a range, choices, and parameters of plugins."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import typer

from lsampler.errors import LsamplerError, nearest_name

LARGEST = 2**63 - 1


def whole_number(low: int = 0, high: int = LARGEST) -> Callable[[Any], int]:
    """The parser of an option that takes a whole number from ``low`` to ``high``."""

    def read(text: Any) -> int:
        try:
            value = int(str(text))
        except ValueError:
            raise typer.BadParameter(f"{text} is not a whole number; give {_range(low, high)}.") from None
        _check(value, low, high)
        return value

    return read


def number(low: float, high: float = LARGEST) -> Callable[[Any], float]:
    """The parser of an option that takes a number from ``low`` to ``high``."""

    def read(text: Any) -> float:
        try:
            value = float(text)
        except ValueError:
            raise typer.BadParameter(f"{text} is not a number; give {_range(low, high)}.") from None
        _check(value, low, high)
        return value

    return read


def _check(value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # a NaN is not
        raise typer.BadParameter(f"{value} is out of range; give {_range(low, high)}.")


def _range(low: float, high: float) -> str:
    return f"{low} or more" if high == LARGEST else f"a number from {low} to {high}"


def one_of(*choices: str) -> Callable[[Any], str]:
    """The parser of an option that takes one of a few words."""

    def read(text: Any) -> str:
        if text not in choices:
            near = nearest_name(text, choices)
            words = near if "did you mean" in near else f"; give {', '.join(choices[:-1])} or {choices[-1]}."
            raise typer.BadParameter(f"'{text}' is not known{words}")
        return str(text)

    return read


def key_values(settings: Sequence[str], option: str = "--param", such_as: str = "fact=0.8") -> dict[str, str]:
    """``key=value`` texts as a mapping."""
    result = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key and equals and value):
            raise LsamplerError(f"{option} {setting}: write it as KEY=VALUE, such as {such_as}")
        result[key.strip().replace("-", "_")] = value.strip()
    return result


def parameters_of(
    params: Sequence[str], strategies: Collection[str], scores: Collection[str] = ()
) -> dict[str, dict[str, str]]:
    """What ``--param`` says, by the name of the plugin that it belongs to.

    Args:
        params: texts ``KEY=VALUE`` or ``NAME:KEY=VALUE``. The name may be left out if there is one strategy.
        strategies: names of the strategies of the command.
        scores: names of its evaluators, whose parameters need the name.

    Raises:
        LsamplerError: a text that is written otherwise, or that names nothing of the command.
    """
    settings: dict[str, dict[str, str]] = {}
    for text in params:
        name, setting = _divided(text)
        if not name:
            if len(strategies) != 1:
                if not strategies:
                    raise LsamplerError(f"--param {text}: belongs to a --plugin; give one")
                such_as = f"{next(iter(strategies))}:{text}"
                raise LsamplerError(
                    f"--param {text}: there are several strategies; write it as NAME:KEY=VALUE, such as {such_as}"
                )
            [name] = strategies
        elif name not in strategies and name not in scores:
            near = nearest_name(name, [*strategies, *scores])
            raise LsamplerError(
                f"--param {text}: '{name}' takes no part{near}; add --plugin {name} or --evaluator {name}"
            )
        settings.setdefault(name, {}).update(key_values([setting]))
    return settings


def _divided(text: str) -> tuple[str, str]:
    """The name before a colon, if there is one, and the rest; a colon in the value divides nothing."""
    name, colon, setting = text.partition(":")
    return (name, setting) if colon and "=" not in name else ("", text)
