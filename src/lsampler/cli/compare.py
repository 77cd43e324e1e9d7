"""``lsampler compare``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsampler.cli import completion
from lsampler.cli.common import (
    Cluster,
    Count,
    Force,
    Json,
    Model,
    ModelParams,
    Params,
    Seed,
    Store,
    check_json,
    examples,
    model_settings,
    out_option,
    say,
    write_json,
)
from lsampler.cli.conditions import (
    JUDGING,
    By,
    JudgeModel,
    JudgeStore,
    OtherLabels,
    Where,
    conditions_of,
    judged,
    say_notes,
)
from lsampler.cli.help import SCORES, STRATEGY
from lsampler.cli.strategies import (
    AllPlugins,
    Plugins,
    load_evaluators,
    load_strategies,
    print_reasons,
    require_scores,
    strategy_names,
)
from lsampler.cli.values import parameters_of
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from lsampler.reports.comparison import Comparison, Entry
    from lsampler.scoring.subject import Subject

Sweeps = Annotated[
    list[str],
    typer.Option(
        metavar="NAME:KEY=LOW:HIGH:STEPS",
        help="A row for each of STEPS values from LOW to HIGH; may be repeated.",
        rich_help_panel=STRATEGY,
    ),
]
Evaluators = Annotated[
    list[str],
    typer.Option(
        "--evaluator",
        "-e",
        metavar="NAME",
        help="Which scores; may be repeated. 'lsampler plugins' lists them.",
        show_default="all",
        autocompletion=completion.plugins(completion.EVALUATOR),
        rich_help_panel=SCORES,
    ),
]
Quick = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="Without the scores that take minutes, unless they are named; 'auto' is quick, too.",
        rich_help_panel=SCORES,
    ),
]

app = typer.Typer()
MOST_STEPS = 1000
CHOOSES = "auto"


@app.command(
    epilog=examples(
        "lsampler compare -p pca-ellipse -p multivariate-normal --param pca-ellipse:fact=0.8 --quick --out faces",
        "lsampler example --out digits",
        "lsampler compare -p gaussian -p elliptical --quick --store digits/latents.h5 --model digits --out comparison",
        "lsampler compare --all --store digits/latents.h5 --model digits --out comparison",
        "lsampler compare -p gaussian -e novelty --param novelty:splits=5 --store digits/latents.h5 --out short",
        "lsampler compare --sweep pca-ellipse:fact=0.4:1.2:9 --quick --store digits/latents.h5 --out sweep",
        "lsampler compare --all --store digits/latents.h5 --out comparison --cluster local:4",
    )
)
def compare(
    *,
    plugin: Plugins = [],  # noqa: B006
    all_plugins: AllPlugins = False,
    param: Params = [],  # noqa: B006
    sweep: Sweeps = [],  # noqa: B006
    n: Count = 2000,
    evaluator: Evaluators = [],  # noqa: B006
    quick: Quick = False,
    where: Where = [],  # noqa: B006
    by: By = None,
    others: OtherLabels = None,
    judge_model: JudgeModel = None,
    judge_store: JudgeStore = None,
    model: Model = None,
    model_param: ModelParams = [],  # noqa: B006
    store: Store = None,
    out: Annotated[Path, out_option("Folder for the report; a report that is there is completed.", metavar="FOLDER")],
    json_out: Json = None,
    seed: Seed = 0,
    cluster: Cluster = None,
    force: Force = False,
) -> None:
    """Compare strategies on your data, and write a report that says which is best at what.

    Draws and scores every strategy beside real data, and writes a report: index.html, which opens offline, scores.json,
    scores.csv and summary.md. Rerun the command to resume after an interruption, or with more strategies or scores:
    only what is missing is computed. Scores that need real vectors need a --store; a bundle has statistics only.
    """
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.plugins.by_name import plugin_names
    from lsampler.progress import rich_progress
    from lsampler.reports.comparison import Report
    from lsampler.reports.comparison import compare as run
    from lsampler.workspace import open_subject

    check_json(json_out, force=force)
    names = strategy_names(plugin, all_plugins=all_plugins)
    sweeps = [_sweep(text) for text in sweep]
    if not names and not sweeps:
        raise LsamplerError("nothing to compare; give --plugin NAME, --all, or --sweep")
    conditions = conditions_of(where, by, others)
    subject = open_subject(model, store, model_settings(model, model_param), conditions)
    known = evaluator or plugin_names("evaluator")
    settings = parameters_of(param, list(dict.fromkeys([*names, *(each[0] for each in sweeps)])), known)
    settings = judged(settings, conditions, judge_model, judge_store)
    scores, left_out = (list(evaluator), []) if evaluator else _scores(subject, settings, quick=quick)
    scores += [JUDGING] if judge_model and JUDGING not in scores else []
    if quick and CHOOSES in names:  # its own judge takes minutes as well
        settings[CHOOSES] = {"quick": "true"} | settings.get(CHOOSES, {})
    entries = _entries(names, settings, sweeps)
    evaluators = load_evaluators(scores, settings)
    report = Report(out, shlex.join(["lsampler", *sys.argv[1:]]), left_out)
    with on_cluster(cluster), rich_progress() as progress:
        comparison = run(subject, entries, report, evaluators=evaluators, n=n, seed=seed, progress=progress)
    require_scores(comparison.rows, evaluators)
    if not write_json(json_out, comparison.as_dict(), force=force):
        say_notes(comparison.rows, conditions)
        _print(comparison, out)


def _scores(subject: Subject, settings: Iterable[str], *, quick: bool) -> tuple[list[str], list[str]]:
    """The names of the scores that suit the items, and of those that a setting names; and why others are left out."""
    from lsampler.plugins.by_name import evaluators_for, plugin_names

    names, left_out = evaluators_for(subject, quick=quick)
    named = [name for name in settings if name in plugin_names("evaluator")]
    return list(dict.fromkeys([*names, *named])), left_out


def _entries(
    names: Sequence[str], settings: dict[str, dict[str, str]], sweeps: Sequence[tuple[str, str, list[float]]]
) -> list[Entry]:
    """The rows of strategies and sweeps."""
    from lsampler.reports.comparison import Entry, swept

    entries = [Entry.of(strategy) for strategy in load_strategies(names, settings)]
    for name, parameter, values in sweeps:
        entries += swept(load_strategies([name], settings)[0], parameter, values)
    return entries


def _sweep(text: str) -> tuple[str, str, list[float]]:
    import numpy as np

    name, _, setting = text.partition(":")
    key, _, values = setting.partition("=")
    parts = values.split(":")
    try:
        low, high, steps = float(parts[0]), float(parts[1]), int(parts[2])
        if len(parts) != 3 or not 2 <= steps <= MOST_STEPS or not (name and key) or not np.isfinite([low, high]).all():
            raise ValueError
    except (ValueError, IndexError):
        raise LsamplerError(
            f"--sweep {text}: write it as NAME:KEY=LOW:HIGH:STEPS with 2 to {MOST_STEPS} steps, "
            "such as pca-ellipse:fact=0.4:1.2:9"
        ) from None
    return name, key.strip().replace("-", "_"), [float(value) for value in np.linspace(low, high, steps)]


def _print(comparison: Comparison, out: Path) -> None:
    for sentence in comparison.verdict.sentences:
        say(f"- {sentence}")
    print_reasons(f"{row.name}: {problem}" for row in comparison.rows for problem in row.problems)
    print_reasons(comparison.caveats)
    say(f"report: {out / 'index.html'}")
