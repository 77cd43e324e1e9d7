"""``lsampler evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsampler.cli import common
from lsampler.cli.conditions import By, JudgeModel, JudgeStore, OtherLabels, Where, conditions_of, judged, say_notes
from lsampler.cli.strategies import (
    AllPlugins,
    Evaluators,
    Plugins,
    evaluator_names,
    load_evaluators,
    load_strategies,
    print_problems,
    require_scores,
    strategy_names,
)
from lsampler.cli.values import parameters_of
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lsampler.scoring.sample_sets import Drawn, SampleSet


app = typer.Typer()
Settings = Mapping[str, Mapping[str, str]]


@app.command(
    epilog=common.examples(
        "lsampler evaluate --plugin pca-ellipse --param fact=0.8 --n 500 --json scores.json",
        "lsampler evaluate -p gaussian -p pca-ellipse --param pca-ellipse:fact=0.8 --n 500",
        "lsampler example --out digits",
        "lsampler evaluate -p elliptical -p kde -e novelty --store digits/latents.h5",
        "lsampler sample --plugin elliptical --store digits/latents.h5 --n 500 --out vectors.h5",
        "lsampler evaluate vectors.h5 --store digits/latents.h5 --json -",
        "lsampler evaluate --all --store digits/latents.h5 --cluster local:4",
    )
)
def evaluate(
    samples: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SAMPLES", help="Latent vectors written by 'lsampler sample' (.h5, .shards)."),
    ] = None,
    plugin: Plugins = [],  # noqa: B006
    all_plugins: AllPlugins = False,
    param: common.Params = [],  # noqa: B006
    n: common.Count = 1000,
    evaluator: Evaluators = [],  # noqa: B006
    where: Where = [],  # noqa: B006
    by: By = None,
    others: OtherLabels = None,
    judge_model: JudgeModel = None,
    judge_store: JudgeStore = None,
    model: common.Model = None,
    model_param: common.ModelParams = [],  # noqa: B006
    store: common.Store = None,
    json_out: common.Json = None,
    seed: common.Seed = 0,
    cluster: common.Cluster = None,
    force: common.Force = False,
) -> None:
    """Score samples: the share inside each core, nominal and calibrated, beside real vectors.

    Shares carry 95 % Wilson intervals. The row of real vectors is the yardstick: a share above theirs is no gain,
    since shrinking every sample to the centre would score 100 %. Without --evaluator the scores are core-membership,
    and under a condition (--where) also condition-probe: whether samples have what was asked for. A bundle without a
    store holds no real vectors with it, and has the latter alone.
    """
    from lsampler.cli.score_table import print_scores
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.progress import rich_progress
    from lsampler.scoring.evaluation import evaluate as score
    from lsampler.scoring.sample_sets import Stored
    from lsampler.workspace import open_subject

    common.check_json(json_out, force=force)
    names = strategy_names(plugin, all_plugins=all_plugins)
    if not (names or samples):
        raise LsamplerError("nothing to score; give --plugin NAME, --all, or files of samples")
    conditions = conditions_of(where, by, others)
    scores = evaluator_names(evaluator, where=where, store=store, judge=judge_model)
    settings = judged(parameters_of(param, names, scores), conditions, judge_model, judge_store)
    evaluators = load_evaluators(scores, settings)
    drawn = _drawn(names, plugin, settings, n)
    subject = open_subject(model, store, common.model_settings(model, model_param), conditions)
    sets: list[SampleSet] = [*map(Stored.of, samples or []), *drawn]
    for each in sets:
        each.check(subject)
    with on_cluster(cluster), rich_progress() as progress:
        result = score(sets, subject, evaluators, seed=seed, progress=progress)
    require_scores(result.rows, evaluators)
    if not common.write_json(json_out, result.as_dict(), force=force):
        say_notes(result.rows, conditions)
        print_scores(result)
        print_problems(result)


def _drawn(names: Sequence[str], plugin: Sequence[str], settings: Settings, n: int) -> list[Drawn]:
    """What strategies are to draw. Those that the user did not name may fail."""
    from lsampler.scoring.entries import Entry
    from lsampler.scoring.sample_sets import Drawn

    strategies = [Entry(strategy, strategy.name) for strategy in load_strategies(names, settings)]
    return [Drawn.of(each, n, required=each.label in plugin or len(names) == 1) for each in strategies]
