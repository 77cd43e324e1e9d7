"""``lsampler compare``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsampler.cli.common import Cluster, Model, ModelParams, Seed, Store, examples, key_values, model_settings, say
from lsampler.cli.strategies import AllPlugins, Plugins, load_evaluators, print_reasons, require_scores, strategy_names
from lsampler.errors import LsamplerError, nearest_name

if TYPE_CHECKING:
    from lsampler.reports.comparison import Comparison, Entry
    from lsampler.scoring.subject import Subject

Sweeps = Annotated[
    list[str],
    typer.Option(
        metavar="NAME:KEY=LOW:HIGH:STEPS", help="A row for each of STEPS values from LOW to HIGH; may be repeated."
    ),
]

Quick = Annotated[
    bool,
    typer.Option("--quick", help="Without the scores that take minutes, unless they are named; 'auto' is quick, too."),
]

app = typer.Typer()
MOST_STEPS = 1000
CHOOSES = "auto"


@app.command(
    epilog=examples(
        "lsampler compare --all --store latents.h5 --out comparison/",
        "lsampler compare --all --quick --store latents.h5 --out comparison/",
        "lsampler compare -p pca-ellipse -p multivariate-normal --param pca-ellipse:fact=0.8 --out comparison/",
        "lsampler compare --all --param image-distance:features=inception.pt --store latents.h5 --out comparison/",
        "lsampler compare --all --sweep pca-ellipse:fact=0.4:1.2:9 --store latents.h5 --out comparison/",
        "lsampler compare --all --store latents.h5 --out comparison/ --cluster local:4",
    )
)
def compare(
    out: Annotated[Path, typer.Option(help="Folder for the report; a report that is there is completed.")],
    plugin: Plugins = [],  # noqa: B006
    all_plugins: AllPlugins = False,
    param: Annotated[
        list[str],
        typer.Option(metavar="NAME:KEY=VALUE", help="A parameter of one strategy or evaluator; may be repeated."),
    ] = [],  # noqa: B006
    sweep: Sweeps = [],  # noqa: B006
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Samples drawn by each strategy.")] = 2000,
    evaluator: Annotated[
        list[str],
        typer.Option(
            "--evaluator", "-e", help="Which scores; may be repeated.", show_default="all that suit the items"
        ),
    ] = [],  # noqa: B006
    quick: Quick = False,
    model: Model = None,
    model_param: ModelParams = [],  # noqa: B006
    store: Store = None,
    seed: Seed = 0,
    cluster: Cluster = None,
) -> None:
    """Compare strategies on your data, and write a report that says which is best at what.

    Draws and scores every strategy beside real data, and writes a report: index.html, which opens offline, scores.json,
    scores.csv and summary.md. Rerun the command to resume after an interruption, or with more strategies or scores:
    only what is missing is computed. Scores that need real vectors need a --store; a bundle has statistics only.
    """
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.progress import rich_progress
    from lsampler.reports.comparison import Report
    from lsampler.reports.comparison import compare as run
    from lsampler.workspace import open_subject

    names, settings = strategy_names(plugin, all_plugins=all_plugins), _settings(param)
    if quick and CHOOSES in names:  # its own judge takes minutes as well
        settings[CHOOSES] = {"quick": "true"} | settings.get(CHOOSES, {})
    sweeps = [_sweep(text) for text in sweep]
    if not names and not sweeps:
        raise LsamplerError("nothing to compare; give --plugin NAME, --all, or --sweep")
    subject = open_subject(model, store, model_settings(model, model_param))
    scores, left_out = (evaluator, []) if evaluator else _scores(subject, settings, quick=quick)
    entries = _entries(names, settings, sweeps, scores)
    evaluators = load_evaluators(scores, settings)
    report = Report(out, shlex.join(["lsampler", *sys.argv[1:]]), left_out)
    with on_cluster(cluster), rich_progress() as progress:
        comparison = run(subject, entries, report, evaluators=evaluators, n=n, seed=seed, progress=progress)
    require_scores(comparison.rows, evaluators)
    _print(comparison, out)


def _scores(subject: Subject, settings: Iterable[str], *, quick: bool) -> tuple[list[str], list[str]]:
    """The names of the scores that suit the items, and of those that a setting names; and why others are left out."""
    from lsampler.plugins.by_name import evaluators_for, plugin_names

    names, left_out = evaluators_for(subject, quick=quick)
    named = [name for name in settings if name in plugin_names("evaluator")]
    return list(dict.fromkeys([*names, *named])), left_out


def _entries(
    names: Sequence[str],
    settings: dict[str, dict[str, str]],
    sweeps: Sequence[tuple[str, str, list[float]]],
    scores: Sequence[str],
) -> list[Entry]:
    """The rows of strategies and sweeps; every setting must belong to one of them or to a score."""
    from lsampler.plugins.registry import registry
    from lsampler.reports.comparison import Entry, swept

    known = registry()
    for name in settings:
        if name not in [*names, *(entry[0] for entry in sweeps), *scores]:
            raise LsamplerError(f"--param {name}: is not compared{nearest_name(name, names)}; add --plugin {name}")

    def sampler(name: str) -> Any:
        return known.get("sampler", name).from_strings(settings.get(name, {}))

    entries = [Entry.of(sampler(name)) for name in names]
    for name, parameter, values in sweeps:
        entries += swept(sampler(name), parameter, values)
    return entries


def _settings(params: Sequence[str]) -> dict[str, dict[str, str]]:
    settings: dict[str, dict[str, str]] = {}
    for text in params:
        name, _, setting = text.partition(":")
        if not name or "=" not in setting:
            raise LsamplerError(f"--param {text}: write it as NAME:KEY=VALUE, such as pca-ellipse:fact=0.8")
        settings.setdefault(name, {}).update(key_values([setting]))
    return settings


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
