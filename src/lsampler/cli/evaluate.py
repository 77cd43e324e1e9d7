"""``lsampler evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsampler.cli.common import (
    Cluster,
    Force,
    Model,
    ModelParams,
    Params,
    Seed,
    Store,
    console,
    examples,
    key_values,
    model_settings,
)
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from lsampler.scoring.evaluator import Evaluation, Evaluator, Score
    from lsampler.scoring.pipeline import Drawn

NAME_WIDTH = 19
MEASURED_WIDTH = 10_000


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        epilog=examples(
            "lsampler evaluate --all",
            "lsampler evaluate --plugin pca-ellipse --param fact=0.8 --n 2000 --json scores.json",
            "lsampler evaluate --plugin pca-ellipse --evaluator faces",
            "lsampler evaluate vectors.h5 --store latents.h5",
            "lsampler evaluate --all --store latents.h5 --cluster local:4",
        )
    )(evaluate)


def evaluate(
    samples: Annotated[
        list[Path] | None, typer.Argument(help="Latent vectors made earlier by 'lsampler sample' (.h5, .shards).")
    ] = None,
    plugin: Annotated[
        list[str], typer.Option("--plugin", "-p", help="Draw and score this strategy; may be repeated.")
    ] = [],  # noqa: B006
    all_plugins: Annotated[bool, typer.Option("--all", help="Draw and score every strategy.")] = False,
    param: Params = [],  # noqa: B006
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Samples drawn per strategy.")] = 1000,
    evaluator: Annotated[
        list[str],
        typer.Option("--evaluator", "-e", help="Which scores; may be repeated.", show_default="core-membership"),
    ] = [],  # noqa: B006
    model: Model = None,
    model_param: ModelParams = [],  # noqa: B006
    store: Store = None,
    seed: Seed = 0,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the scores to this file.")] = None,
    cluster: Cluster = None,
    force: Force = False,
) -> None:
    """Score samples: the share inside each core, nominal and calibrated, beside real vectors.

    Shares carry 95 % Wilson intervals. The real vectors' row is the yardstick: a share above it is
    no merit, since shrinking every sample to the centre would score 100 %.
    """
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.files import check_output, new_file
    from lsampler.progress import rich_progress
    from lsampler.scoring.pipeline import Stored, score_sets
    from lsampler.workspace import open_workspace

    if json_out:
        check_output(json_out, force=force)
    if not (plugin or all_plugins or samples):
        raise LsamplerError("nothing to score; give --plugin NAME, --all, or files of samples")
    chosen = _evaluators(evaluator)
    drawn = _drawn(plugin, all_plugins, param, n)
    workspace = open_workspace(model, store, model_settings(model, model_param))
    sets: list[Drawn | Stored] = [*(Stored(str(path)) for path in samples or []), *drawn]
    for each in sets:
        each.check(workspace)
    with on_cluster(cluster), rich_progress() as progress:
        result, left_out = score_sets(sets, workspace, chosen, seed=seed, progress=progress)
    if json_out:
        with new_file(json_out, force=force) as beside:
            beside.write_text(json.dumps(result.as_dict(), indent=1))
    _print(result)
    for line in left_out:
        print(f"left out: {line}")


def _evaluators(names: Sequence[str]) -> list[Evaluator]:
    """Those named, or those that run by default."""
    from lsampler.plugins.registry import registry

    known = registry()
    by_default = (
        name for name, found in known.of_kind("evaluator").items() if getattr(found.plugin, "by_default", True)
    )
    return [known.get("evaluator", name)() for name in names or by_default]


def _drawn(plugin: Sequence[str], all_plugins: bool, param: Sequence[str], n: int) -> list[Drawn]:
    """What strategies are to draw. One that was not asked for by its name may fail."""
    from lsampler.plugins.registry import registry
    from lsampler.scoring.pipeline import Drawn

    known = registry()
    names = dict.fromkeys([*plugin, *(known.of_kind("sampler") if all_plugins else [])])
    if param and len(names) != 1:
        raise LsamplerError("--param goes with exactly one --plugin")
    settings = key_values(param)
    return [
        Drawn.of(known.get("sampler", name).from_strings(settings), n, required=name in plugin or len(names) == 1)
        for name in names
    ]


def _print(result: Evaluation) -> None:
    from rich.text import Text

    out = console()
    scores = [score for row in result.rows for score in row.scores]
    for group in dict.fromkeys(score.group for score in scores):
        title = group
        for table in _tables(out, result, group):
            out.print(Text(title, style="bold"))
            out.print(table)
            title = f"{group} (continued)"
    for row in result.rows:
        for problem in row.problems:
            print(f"{row.name}: {problem}")
    for caveat in result.caveats:
        print(caveat)


def _tables(out: Console, result: Evaluation, group: str) -> list[Table]:
    """The columns of a group in as few tables as the console has room for, about equally many in each."""
    from rich.measure import Measurement

    wide = out.options.update(max_width=MEASURED_WIDTH)
    labels = list(dict.fromkeys(score.label for row in result.rows for score in row.scores if score.group == group))
    tables: list[Table] = []
    for size in dict.fromkeys(-(-len(labels) // parts) for parts in range(1, len(labels) + 1)):
        shares = [labels[start : start + size] for start in range(0, len(labels), size)]
        tables = [_table(result, group, share, out.width) for share in shares]
        if all(Measurement.get(out, wide, table).maximum <= out.width for table in tables):
            break
    return tables


def _table(result: Evaluation, group: str, labels: Sequence[str], width: int) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    # Long names, such as those of files, are folded, so that there is room for scores.
    table.add_column("samples", min_width=NAME_WIDTH, max_width=max(NAME_WIDTH, width // 4), overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    for label in labels:
        table.add_column(label, justify="right", no_wrap=True)
    for row in result.rows:
        cells = {score.label: _cell(score) for score in row.scores if score.group == group}
        table.add_row(row.name, str(row.n), *(cells.get(label, "") for label in labels))
    return table


def _cell(score: Score) -> str:
    return f"{score.text}\n[dim]{score.range_text}[/dim]"
