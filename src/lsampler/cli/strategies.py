"""Options of the commands that score: which strategies, which evaluators, which model and store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lsampler.cli.common import say
from lsampler.cli.messages import in_options
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from lsampler.scoring.evaluation import Evaluation
    from lsampler.scoring.evaluator import Evaluator
    from lsampler.scoring.row_cache import Row


Plugins = Annotated[list[str], typer.Option("--plugin", "-p", help="Draw and score this strategy; may be repeated.")]
AllPlugins = Annotated[bool, typer.Option("--all", help="Draw and score every strategy.")]
Evaluators = Annotated[
    list[str], typer.Option("--evaluator", "-e", help="Which scores; may be repeated.", show_default="core-membership")
]


def strategy_names(plugin: Sequence[str], *, all_plugins: bool) -> list[str]:
    """The strategies that a command line names, each once."""
    from lsampler.plugins.registry import registry

    return list(dict.fromkeys([*plugin, *(registry().of_kind("sampler") if all_plugins else [])]))


def load_evaluators(names: Sequence[str], settings: Mapping[str, Mapping[str, str]] | None = None) -> list[Evaluator]:
    """The evaluators of these names with their settings, or those that run by default."""
    from lsampler.plugins.registry import registry

    known = registry()
    by_default = (
        name for name, found in known.of_kind("evaluator").items() if getattr(found.plugin, "by_default", True)
    )
    settings = settings or {}
    return [known.get("evaluator", name).from_strings(settings.get(name, {})) for name in names or by_default]


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
        say(in_options(line, ("model", "model_param", "store", "plugin")))
