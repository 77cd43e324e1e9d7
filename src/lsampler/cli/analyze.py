"""``lsampler analyze``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsampler.cli import completion
from lsampler.cli.common import (
    Cluster,
    Force,
    Json,
    ModelParams,
    Params,
    Seed,
    cells,
    check_json,
    console,
    examples,
    model_settings,
    new_table,
    out_option,
    print_channels,
    say,
    write_json,
)
from lsampler.cli.help import STRATEGY
from lsampler.cli.strategies import load_strategies
from lsampler.cli.values import parameters_of
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lsampler.reports.analysis import Analysis
    from lsampler.scoring.subject import Subject


WHAT = "What is measured"
SECTIONS = (
    "components",
    "correlations",
    "origin",
    "cubes",
    "gaussianity",
    "principal",
    "generated",
    "labels",
    "filaments",
    "tsne",
)
Latents = Annotated[
    str,
    typer.Argument(
        help="A latent store (.h5, .shards), or a bundle: its name or .safetensors file.",
        metavar="LATENTS",
        autocompletion=completion.bundles,
    ),
]
Sections = Annotated[
    list[str],
    typer.Option(
        "--section",
        "-s",
        metavar="NAME",
        help=f"Only this section; may be repeated: {', '.join(SECTIONS)}.",
        show_default="all but tsne; labels where there are any",
        autocompletion=completion.words(*SECTIONS),
        rich_help_panel=WHAT,
    ),
]
Shown = Annotated[
    list[str],
    typer.Option(
        "--plugin",
        "-p",
        metavar="NAME",
        help="Show vectors of this strategy; may be repeated.",
        show_default="uniform-cube, component-uniform, gaussian, multivariate-normal, pca-ellipse",
        autocompletion=completion.plugins(completion.STRATEGY),
        rich_help_panel=STRATEGY,
    ),
]
Pairs = Annotated[
    list[str],
    typer.Option(
        metavar="I,J",
        help="A plane around the origin; may be repeated.",
        show_default="the strongest and farthest",
        rich_help_panel=WHAT,
    ),
]
Threshold = Annotated[
    float,
    typer.Option(
        metavar="NUMBER",
        help="List pairs whose correlation exceeds this in absolute value.",
        rich_help_panel=WHAT,
    ),
]
BinWidth = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER",
        help="Bin width of the number densities, in latent units.",
        show_default="0.25 for a unit spread",
        rich_help_panel=WHAT,
    ),
]
Trim = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER",
        help="Before the PCA, leave out vectors beyond this many half-widths; 0 keeps all.",
        rich_help_panel=WHAT,
    ),
]
Tsne = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Also map N vectors by t-SNE (extra 'tsne'; takes minutes).",
        rich_help_panel=WHAT,
    ),
]
Decoder = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="The autoencoder of these latents, which decodes the means of labels: a bundle's name, or what a loader "
        "opens.",
        show_default="the bundled one that encoded them",
        autocompletion=completion.bundles,
        rich_help_panel=WHAT,
    ),
]

app = typer.Typer()


@app.command(
    epilog=examples(
        "lsampler example --out digits",
        "lsampler analyze digits/latents.h5 --out report",
        "lsampler analyze digits/latents.h5 --out short --section components --section correlations",
        "lsampler analyze digits/latents.h5 --out mapped --section tsne --tsne 1000",
        "lsampler analyze celeba96 --out faces",
        "lsampler analyze digits/latents.h5 --out report --cluster local:4",
    )
)
def analyze(
    *,
    latents: Latents,
    section: Sections = [],  # noqa: B006
    pair: Pairs = [],  # noqa: B006
    threshold: Threshold = 0.5,
    bin_width: BinWidth = None,
    trim: Trim = 1.7,
    tsne: Tsne = None,
    plugin: Shown = [],  # noqa: B006
    param: Params = [],  # noqa: B006
    model: Decoder = None,
    model_param: ModelParams = [],  # noqa: B006
    out: Annotated[Path, out_option("Folder for the report; a report that is there is completed.", metavar="FOLDER")],
    json_out: Json = None,
    seed: Seed = 0,
    cluster: Cluster = None,
    force: Force = False,
) -> None:
    """Analyse how the encoder fills its latent space, and check each statement of the posts.

    Writes index.html, which opens offline, analysis.json, and a folder of figures (SVG) and tables (CSV) for each
    section. Where the latents have labels, --model decodes the means of classes; those of a bundled model need none.
    After an interruption, or with other options, rerun it: only what is missing or has changed is done.
    """
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.progress import rich_progress
    from lsampler.reports.analysis import AnalysisOptions
    from lsampler.reports.analysis import analyze as run

    check_json(json_out, force=force)
    strategies = load_strategies(plugin, parameters_of(param, plugin))
    options = AnalysisOptions(
        bin_width=bin_width,
        threshold=threshold,
        pairs=[_pair(text) for text in pair],
        strategies=strategies or AnalysisOptions.strategies,
        trim=trim or None,
        tsne=tsne,
        seed=seed,
    )
    with rich_progress() as progress, on_cluster(cluster):
        subject = _open(latents, model, model_settings(model, model_param))
        analysis = run(subject, out, sections=section or None, options=options, progress=progress)
    if not write_json(json_out, analysis.as_dict(), force=force):
        _print(analysis, out)


def _open(latents: str, model: str | None, settings: Mapping[str, str]) -> Subject:
    from lsampler.bundles.bundle import bundled, load_bundle
    from lsampler.scoring.subject import Subject
    from lsampler.store.opening import open_store
    from lsampler.workspace import open_model

    if latents in bundled() or latents.endswith(".safetensors"):
        if model is not None:
            raise LsamplerError(f"--model {model}: {latents} is a bundle and has a decoder of its own; leave it out")
        return load_bundle(latents).subject
    store = open_store(latents)
    wanted = model is not None or store.label_columns
    return Subject.of(store, open_model(model, store.fingerprint, settings) if wanted else None)


def _pair(text: str) -> tuple[int, int]:
    first, comma, second = text.partition(",")
    if not (comma and first.strip().isdecimal() and second.strip().isdecimal()):
        raise LsamplerError(f"--pair {text}: write it as two components, such as 118,164")
    return int(first), int(second)


def _print(analysis: Analysis, out: Path) -> None:
    for finding in analysis.findings:
        say(f"- {finding.text} {finding.meaning}")
    for line in analysis.suggestions:
        say(f"- {line}")
    if channels := analysis.measured.get("components", {}).get("channels"):
        print_channels(**channels)
    table = new_table(pad_edge=False, title="What the posts found, and what holds here")
    for head in ("statement", "the posts", "here", "judgement"):
        table.add_column(head, overflow="fold")
    styles = {"holds": "green", "answered": "green", "differs": "yellow"}
    for row in analysis.judgements:
        *shown, status = cells(row.statement, row.theirs, row.here, row.status)
        status.stylize(styles.get(row.status, "dim"))
        table.add_row(*shown, status)
    console().print(table)
    for key, problem in analysis.problems.items():
        say(f"section {key}: {problem}")
    if analysis.reused:
        say(f"kept from an earlier run: {', '.join(analysis.reused)}")
    say(f"report: {out / 'index.html'}")
