"""``lsampler evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsampler._cli.common import Force, Model, Params, Seed, Store, console, examples, key_values
from lsampler._errors import LsamplerError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from lsampler._evaluator import Evaluation, Samples, Score
    from lsampler._sampler import LatentSampler
    from lsampler._workspace import Workspace


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
    workspace = open_workspace(model, store)
    rows = [_from_file(path, workspace) for path in samples or []]
    rows += [_drawn(strategy, workspace, n, seed) for strategy in strategies]
    result = score(rows, workspace.reference, chosen, decode=_decode(workspace), encode=_encode(workspace), seed=seed)
    if json_out:
        with new_file(json_out, force=force) as beside:
            beside.write_text(json.dumps(result.as_dict(), indent=1))
    _print(result)


def _drawn(strategy: LatentSampler, workspace: Workspace, n: int, seed: int) -> Samples:
    from lsampler._evaluator import Samples

    latents = strategy.fit(workspace.reference).sample(n, seed=seed)
    return Samples(strategy.name, latents.numpy(), _decode(workspace), _encode(workspace))


def _from_file(path: Path, workspace: Workspace) -> Samples:
    from lsampler._evaluator import Samples
    from lsampler._store import LatentStore

    stored = LatentStore(path)
    expected = workspace.reference.fingerprint
    if stored.fingerprint and expected and stored.fingerprint != expected:
        raise LsamplerError(f"{path}: its vectors belong to another encoder than {workspace.reference.name}")
    return Samples(path.name, stored.read(), _decode(workspace), _encode(workspace))


def _decode(workspace: Workspace) -> Callable[[NDArray[np.float32]], NDArray[np.uint8]] | None:
    return workspace.decode if workspace.autoencoder else None


def _encode(workspace: Workspace) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None:
    return workspace.encode if workspace.autoencoder else None


def _print(result: Evaluation) -> None:
    from rich import box
    from rich.table import Table

    out = console()
    scores = [score for row in result.rows for score in row.scores]
    for group in dict.fromkeys(score.group for score in scores):
        labels = list(dict.fromkeys(score.label for score in scores if score.group == group))
        table = Table(
            title=group,
            box=box.SIMPLE_HEAD,
            title_justify="left",
            title_style="bold",
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        table.add_column("samples", min_width=19, overflow="fold")
        table.add_column("n", justify="right")
        for label in labels:
            table.add_column(label, justify="right", no_wrap=True)
        for row in result.rows:
            cells = {score.label: _cell(score) for score in row.scores if score.group == group}
            table.add_row(row.name, str(row.n), *(cells.get(label, "") for label in labels))
        out.print(table)
    for row in result.rows:
        for problem in row.problems:
            print(f"{row.name}: {problem}")
    for caveat in result.caveats:
        print(caveat)


def _cell(score: Score) -> str:
    return f"{score.text}\n[dim]{score.range_text}[/dim]"
