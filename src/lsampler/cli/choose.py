"""``lsampler choose``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from lsampler.cli.common import Cluster, Force, Model, ModelParams, Seed, Store, examples, model_settings, say
from lsampler.cli.strategies import print_problems

app = typer.Typer()


@app.command(
    epilog=examples(
        "lsampler choose --store latents.h5",
        "lsampler choose --store latents.h5 --wish clean --out chosen.safetensors",
        "lsampler choose --store latents.h5 -p elliptical -p gaussian-mixture --quick",
        "lsampler sample --plugin auto --store latents.h5 --model my.safetensors --out new.png",
    )
)
def choose(
    wish: Annotated[
        Literal["balanced", "varied", "clean"],
        typer.Option(help="What the samples are for: told least from real data, as varied as it, or as clean as it."),
    ] = "balanced",
    plugin: Annotated[
        list[str],
        typer.Option("--plugin", "-p", help="A candidate; may be repeated.", show_default="ten of the installed"),
    ] = [],  # noqa: B006
    quick: Annotated[bool, typer.Option("--quick", help="Judge by a classifier that takes seconds.")] = False,
    model: Model = None,
    model_param: ModelParams = [],  # noqa: B006
    store: Store = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the chosen strategy, fitted, to this file (.safetensors).")
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the scores to this file.")] = None,
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
    from lsampler.files import check_output, new_file
    from lsampler.plugins.by_name import load_sampler
    from lsampler.progress import rich_progress
    from lsampler.workspace import open_subject

    for path in filter(None, (out, json_out)):
        check_output(path, force=force)
    candidates = [load_sampler(name) for name in plugin] or None
    subject = open_subject(model, store, model_settings(model, model_param))
    with on_cluster(cluster), rich_progress() as progress:
        found = run(subject.reference, wish=wish, candidates=candidates, quick=quick, seed=seed, progress=progress)
    if out:
        found.sampler.save(out, force=force)
    if json_out:
        content = {"chosen": found.label, "why": found.why, **found.evaluation.as_dict()}
        with new_file(json_out, force=force) as beside:
            beside.write_text(json.dumps(content, indent=1), encoding="utf-8")
    print_scores(found.evaluation)
    print_problems(found.evaluation)
    say(f"{found.why[0].upper()}{found.why[1:]}.")
