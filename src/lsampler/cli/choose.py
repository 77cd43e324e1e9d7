"""``lsampler choose``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lsampler.cli import completion
from lsampler.cli.common import (
    Cluster,
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
from lsampler.cli.help import STRATEGY
from lsampler.cli.strategies import load_strategies, print_problems
from lsampler.cli.values import one_of, parameters_of

WISHES = ("balanced", "varied", "clean")
Wish = Annotated[
    Literal["balanced", "varied", "clean"],
    typer.Option(
        metavar="WISH",
        parser=one_of(*WISHES),
        help="What the samples are for: balanced (hardest to tell from real data), varied (as varied as real "
        "data), or clean (as clean as real data).",
        autocompletion=completion.words(*WISHES),
        rich_help_panel=STRATEGY,
    ),
]
Candidates = Annotated[
    list[str],
    typer.Option(
        "--plugin",
        "-p",
        metavar="NAME",
        help="A candidate; may be repeated.",
        show_default="twelve of the installed",
        autocompletion=completion.plugins(completion.STRATEGY),
        rich_help_panel=STRATEGY,
    ),
]
Quick = Annotated[
    bool, typer.Option("--quick", help="Judge by a classifier that takes seconds.", rich_help_panel=STRATEGY)
]

app = typer.Typer()


@app.command(
    epilog=examples(
        "lsampler example --out digits",
        "lsampler choose --store digits/latents.h5 -p elliptical -p gaussian-mixture --quick --out chosen.safetensors",
        "lsampler sample --fitted chosen.safetensors --model digits --out chosen.png",
        "lsampler choose --store digits/latents.h5 --wish clean --json scores.json",
    )
)
def choose(
    wish: Wish = "balanced",
    plugin: Candidates = [],  # noqa: B006
    param: Params = [],  # noqa: B006
    quick: Quick = False,
    model: Model = None,
    model_param: ModelParams = [],  # noqa: B006
    store: Store = None,
    out: Annotated[Path | None, out_option("Write the chosen strategy, fitted, to this file (.safetensors).")] = None,
    json_out: Json = None,
    seed: Seed = 0,
    cluster: Cluster = None,
    force: Force = False,
) -> None:
    """Choose a strategy for your data, and fit it.

    Candidates are fitted to 80 % of the train vectors and judged on the other 20 %; those that copy train vectors are
    left out. The held-out vectors take no part, so that 'lsampler compare' can check the choice. It takes a few minutes
    without --quick. 'lsampler sample --fitted' draws from the file that --out writes.
    """
    from lsampler.choosing import choose as run
    from lsampler.cli.score_table import print_scores
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.files import check_output
    from lsampler.progress import rich_progress
    from lsampler.workspace import open_subject

    if out:
        check_output(out, force=force)
    check_json(json_out, force=force)
    candidates = load_strategies(plugin, parameters_of(param, plugin)) or None
    subject = open_subject(model, store, model_settings(model, model_param))
    with on_cluster(cluster), rich_progress() as progress:
        found = run(subject.reference, wish=wish, candidates=candidates, quick=quick, seed=seed, progress=progress)
    if out:
        found.sampler.save(out, force=force)
    content = {"chosen": found.label, "why": found.why, **found.evaluation.as_dict()}
    if write_json(json_out, content, force=force):
        return
    print_scores(found.evaluation)
    print_problems(found.evaluation)
    say(f"{found.why[0].upper()}{found.why[1:]}.")
