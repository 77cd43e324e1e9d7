"""Options of the commands that score: which strategies, which evaluators, which model and store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lsampler.cli import completion
from lsampler.cli.common import say
from lsampler.cli.conditions import JUDGING
from lsampler.cli.help import SCORES, STRATEGY
from lsampler.cli.messages import in_options
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from lsampler.samplers.base import LatentSampler
    from lsampler.scoring.evaluation import Evaluation
    from lsampler.scoring.evaluator import Evaluator
    from lsampler.scoring.row_cache import Row


Plugins = Annotated[
    list[str],
    typer.Option(
        "--plugin",
        "-p",
        metavar="NAME",
        help="A strategy; may be repeated. 'lsampler plugins' lists them.",
        show_default="none",
        autocompletion=completion.plugins(completion.STRATEGY),
        rich_help_panel=STRATEGY,
    ),
]
AllPlugins = Annotated[bool, typer.Option("--all", help="Every installed strategy.", rich_help_panel=STRATEGY)]
Evaluators = Annotated[
    list[str],
    typer.Option(
        "--evaluator",
        "-e",
        metavar="NAME",
        help="Which scores; may be repeated. 'lsampler plugins' lists them.",
        show_default="core-membership",
        autocompletion=completion.plugins(completion.EVALUATOR),
        rich_help_panel=SCORES,
    ),
]


def strategy_names(plugin: Sequence[str], *, all_plugins: bool) -> list[str]:
    """The strategies that a command line names, each once."""
    from lsampler.plugins.registry import registry

    return list(dict.fromkeys([*plugin, *(registry().of_kind("sampler") if all_plugins else [])]))


def load_strategies(names: Sequence[str], settings: Mapping[str, Mapping[str, str]]) -> list[LatentSampler]:
    """The strategies of these names with their settings, not fitted."""
    from lsampler.plugins.registry import registry

    return [registry().get("sampler", name).from_strings(settings.get(name, {})) for name in names]


def evaluator_names(
    named: Sequence[str], *, where: Sequence[str] = (), store: object = None, judge: str | None = None
) -> list[str]:
    """The evaluators that a command line names, or those that run by default.

    Under a condition those that need one run as well and, where there is no store to compare samples with, alone. One
    that takes the judge of a condition is added.
    """
    from lsampler.plugins.registry import registry

    found = registry().of_kind("evaluator") if not named else {}
    usual = [name for name, one in found.items() if getattr(one.plugin, "by_default", True)]
    conditioned = [name for name, one in found.items() if where and getattr(one.plugin, "needs_condition", False)]
    if conditioned and store is None:
        usual = []
    names = list(named) or [*usual, *conditioned]
    return [*names, JUDGING] if judge and where and JUDGING not in names else names


def load_evaluators(names: Sequence[str], settings: Mapping[str, Mapping[str, str]]) -> list[Evaluator]:
    """The evaluators of these names with their settings."""
    from lsampler.plugins.registry import registry

    return [registry().get("evaluator", name).from_strings(settings.get(name, {})) for name in names]


def require_scores(rows: Iterable[Row], evaluators: Iterable[Evaluator]) -> None:
    """Raise LsamplerError, with a reason, if no row has a score."""
    rows = list(rows)
    if not any(row.scores for row in rows):
        reasons = [reason for row in rows for reason in (*row.problems, *row.caveats)]
        named = ", ".join(evaluator.name for evaluator in evaluators)
        reason = reasons[0] if reasons else f"there is no score from {named}; name another --evaluator"
        raise LsamplerError(f"nothing could be scored: {reason}")


def print_problems(result: Evaluation) -> None:
    """Print what is missing from a table of scores, and why."""
    print_reasons(f"{row.name}: {problem}" for row in result.rows for problem in row.problems)
    print_reasons(result.caveats)


def print_reasons(lines: Iterable[str]) -> None:
    """Print why scores are missing, in the words of the command line."""
    for line in lines:
        say(in_options(line, ("model", "model_param", "store", "plugin", "where", "judge_model", "judge_store")))
