"""``lsampler evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsampler.cli import common
from lsampler.cli.strategies import (
    AllPlugins,
    Evaluators,
    Plugins,
    load_evaluators,
    print_problems,
    require_scores,
    strategy_names,
)
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lsampler.scoring.sample_sets import Drawn, SampleSet


app = typer.Typer()


@app.command(
    epilog=common.examples(
        "lsampler evaluate --all",
        "lsampler evaluate --plugin pca-ellipse --param fact=0.8 --n 2000 --json scores.json",
        "lsampler evaluate --plugin pca-ellipse --evaluator faces",
        "lsampler evaluate vectors.h5 --store latents.h5",
        "lsampler evaluate --all --store latents.h5 --cluster local:4",
    )
)
def evaluate(
    samples: Annotated[
        list[Path] | None, typer.Argument(help="Latent vectors written by 'lsampler sample' (.h5, .shards).")
    ] = None,
    plugin: Plugins = [],  # noqa: B006
    all_plugins: AllPlugins = False,
    param: common.Params = [],  # noqa: B006
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Samples drawn by each strategy.")] = 1000,
    evaluator: Evaluators = [],  # noqa: B006
    model: common.Model = None,
    model_param: common.ModelParams = [],  # noqa: B006
    store: common.Store = None,
    seed: common.Seed = 0,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the scores to this file.")] = None,
    cluster: common.Cluster = None,
    force: common.Force = False,
) -> None:
    """Score samples: the share inside each core, nominal and calibrated, beside real vectors.

    Shares carry 95 % Wilson intervals. The row of real vectors is the yardstick: a share above theirs is no gain,
    since shrinking every sample to the centre would score 100 %. Without --evaluator the scores are core-membership.
    """
    from lsampler.cli.score_table import print_scores
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.files import check_output, new_file
    from lsampler.progress import rich_progress
    from lsampler.scoring.evaluation import evaluate as score
    from lsampler.scoring.sample_sets import Stored
    from lsampler.workspace import open_subject

    if json_out:
        check_output(json_out, force=force)
    names = strategy_names(plugin, all_plugins=all_plugins)
    if not (names or samples):
        raise LsamplerError("nothing to score; give --plugin NAME, --all, or files of samples")
    evaluators = load_evaluators(evaluator)
    drawn = _drawn(names, plugin, param, n)
    subject = open_subject(model, store, common.model_settings(model, model_param))
    sets: list[SampleSet] = [*map(Stored.of, samples or []), *drawn]
    for each in sets:
        each.check(subject)
    with on_cluster(cluster), rich_progress() as progress:
        result = score(sets, subject, evaluators, seed=seed, progress=progress)
    require_scores(result.rows, evaluators)
    if json_out:
        with new_file(json_out, force=force) as beside:
            beside.write_text(json.dumps(result.as_dict(), indent=1))
    print_scores(result)
    print_problems(result)


def _drawn(names: Sequence[str], plugin: Sequence[str], param: Sequence[str], n: int) -> list[Drawn]:
    """What strategies are to draw. Those that the user did not name may fail."""
    from lsampler.plugins.registry import registry
    from lsampler.scoring.entries import Entry
    from lsampler.scoring.sample_sets import Drawn

    if param and len(names) != 1:
        raise LsamplerError("--param goes with exactly one --plugin")
    settings = common.key_values(param)
    strategies = [Entry(registry().get("sampler", name).from_strings(settings), name) for name in names]
    return [Drawn.of(each, n, required=each.label in plugin or len(names) == 1) for each in strategies]
