"""Options of the commands that draw under a condition on labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsampler.cli import common, completion
from lsampler.cli.help import CONDITION
from lsampler.cli.messages import in_options
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from lsampler.samplers.base import LatentSampler
    from lsampler.samplers.conditions.options import Conditions
    from lsampler.scoring.row_cache import Row

Where = Annotated[
    list[str],
    typer.Option(
        "--where",
        metavar="NAME=VALUE",
        help="A wanted value of a label: Smiling=1, 'Age>=40', 'digit=3|8'; may be repeated, and all have to hold.",
        show_default="any",
        rich_help_panel=CONDITION,
    ),
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="WAY",
        help="subset fits to the rows that fulfil --where; shift moves all rows by the average effects of labels.",
        show_default="subset where enough rows fulfil it",
        autocompletion=completion.words("subset", "shift"),
        rich_help_panel=CONDITION,
    ),
]
OtherLabels = Annotated[
    str | None,
    typer.Option(
        "--others",
        metavar="HOW",
        help="Other labels come as they do with --where (observed), or as in all data (independent); for shift.",
        show_default="observed",
        autocompletion=completion.words("observed", "independent"),
        rich_help_panel=CONDITION,
    ),
]
JudgeModel = Annotated[
    str | None,
    typer.Option(
        "--judge-model",
        metavar="MODEL",
        help="Another encoder of the same items, which judges whether decoded samples fulfil --where.",
        show_default="none",
        autocompletion=completion.bundles,
        rich_help_panel=CONDITION,
    ),
]
JudgeStore = Annotated[
    Path | None,
    typer.Option(
        "--judge-store",
        metavar="STORE",
        help="The store of the latents of the same items, with labels, by --judge-model.",
        show_default="none",
        rich_help_panel=CONDITION,
    ),
]
LabelsToo = Annotated[
    bool,
    typer.Option(
        "--labels",
        help="Learn the effects of all labels, so that 'lsampler sample --fitted' takes any --where.",
        rich_help_panel=CONDITION,
    ),
]

JUDGING = "condition-probe"
"""The evaluator that takes a judge."""


def conditions_of(
    where: Sequence[str], by: str | None, others: str | None, *, labels: bool = False
) -> Conditions | None:
    """The condition that a command line names; None without one. Raises LsamplerError for an unknown way."""
    if not where and by is None and others is None and not labels:
        return None
    from lsampler.samplers.conditions.options import Conditions

    ways: Any = {"by": by, "others": others or "observed"}
    return Conditions(list(where) or None, labels=labels, **ways)


def judged(
    settings: Mapping[str, Mapping[str, str]], conditions: Conditions | None, judge: str | None, store: Path | None
) -> dict[str, dict[str, str]]:
    """The settings of evaluators with the judge of a condition. Raises LsamplerError if there is no condition."""
    found = {name: dict(each) for name, each in settings.items()}
    given = {"judge": judge, "judge_store": store and str(store)}
    if judge is None and store is None:
        return found
    if conditions is None or conditions.where is None:
        raise LsamplerError(f"{'--judge-model' if judge else '--judge-store'}: judges a condition; give --where")
    if judge is None:
        raise LsamplerError("--judge-store: holds the latents of a judge; give --judge-model too")
    found.setdefault(JUDGING, {}).update({key: value for key, value in given.items() if value})
    return found


def say_note(sampler: LatentSampler) -> None:
    """Say what was done for a condition, or what else has to be known of a fit."""
    if note := sampler.note():
        common.say(in_options(note, ("param",)))


def say_notes(rows: Iterable[Row], conditions: Conditions | None) -> None:
    """Say what was done for a condition, for each row of scores."""
    for row in rows if conditions else ():
        if row.note:
            common.say(in_options(f"{row.name}: {row.note}", ("param",)))
