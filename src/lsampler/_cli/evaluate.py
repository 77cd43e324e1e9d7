"""``lsampler evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsampler._cli.common import (
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
from lsampler._errors import LsamplerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.table import Table

    from lsampler._evaluator import Evaluation, Samples, Score
    from lsampler._sampler import LatentSampler
    from lsampler._workspace import Workspace

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
        )
    )(evaluate)


def evaluate(
    samples: Annotated[
        list[Path] | None, typer.Argument(help="Latent vectors made earlier by 'lsampler sample' (.h5).")
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
    force: Force = False,
) -> None:
    """Score samples: the share inside each core, nominal and calibrated, beside real vectors.

    Shares carry 95 % Wilson intervals. The real vectors' row is the yardstick: a share above it is
    no merit, since shrinking every sample to the centre would score 100 %.
    """
    from lsampler._evaluator import evaluate as score
    from lsampler._files import check_output, new_file
    from lsampler._registry import registry
    from lsampler._workspace import open_workspace

    if json_out:
        check_output(json_out, force=force)
    known = registry()
    names = dict.fromkeys([*plugin, *(known.of_kind("sampler") if all_plugins else [])])
    if not names and not samples:
        raise LsamplerError("nothing to score; give --plugin NAME, --all, or files of samples")
    if param and len(names) != 1:
        raise LsamplerError("--param goes with exactly one --plugin")
    evaluators = evaluator or [
        name for name, found in known.of_kind("evaluator").items() if getattr(found.plugin, "by_default", True)
    ]
    chosen = [known.get("evaluator", name)() for name in evaluators]
    strategies = [known.get("sampler", name).from_strings(key_values(param)) for name in names]
    workspace = open_workspace(model, store, model_settings(model, model_param))
    rows = [_from_file(path, workspace) for path in samples or []]
    left_out = []
    for strategy in strategies:
        try:
            rows.append(_drawn(strategy, workspace, n, seed))
        except LsamplerError as error:
            if strategy.name in plugin or len(strategies) == 1:
                raise
            left_out.append(str(error))
    if not rows:
        raise LsamplerError(left_out[0])
    result = score(rows, workspace.reference, chosen, decode=_decode(workspace), encode=_encode(workspace), seed=seed)
    if json_out:
        with new_file(json_out, force=force) as beside:
            beside.write_text(json.dumps(result.as_dict(), indent=1))
    _print(result)
    for line in left_out:
        print(f"left out: {line}")


def _drawn(strategy: LatentSampler, workspace: Workspace, n: int, seed: int) -> Samples:
    from lsampler._evaluator import Samples
    from lsampler._progress import rich_progress

    with rich_progress() as progress:
        fitted = strategy.fit(workspace.reference, progress=progress)
    return Samples.drawn_by(fitted, n, seed=seed, decode=_decode(workspace), encode=_encode(workspace))


def _from_file(path: Path, workspace: Workspace) -> Samples:
    from lsampler._evaluator import Samples
    from lsampler._shards import open_store

    stored = open_store(path)
    expected = workspace.reference.fingerprint
    if stored.fingerprint and expected and stored.fingerprint != expected:
        raise LsamplerError(f"{path}: its vectors belong to another encoder than {workspace.reference.name}")
    return Samples(path.name, stored.read(), _decode(workspace), _encode(workspace))


def _decode(workspace: Workspace) -> Callable[[NDArray[np.float32]], NDArray[np.uint8]] | None:
    return workspace.decode if workspace.autoencoder else None


def _encode(workspace: Workspace) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None:
    return workspace.encode if workspace.autoencoder else None


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
