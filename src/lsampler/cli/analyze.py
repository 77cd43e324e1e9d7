"""``lsampler analyze``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsampler.cli.common import Cluster, Seed, cells, console, examples, new_table, print_channels, say
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from lsampler.reports.analysis import Analysis
    from lsampler.store.reference import Reference


Latents = Annotated[
    str,
    typer.Argument(
        help="A latent store (.h5, .shards), or a bundle: its name or .safetensors file.", metavar="LATENTS"
    ),
]
Sections = Annotated[
    list[str],
    typer.Option(
        "--section",
        "-s",
        help="Only this section; may be repeated: components, correlations, origin, cubes, gaussianity, principal, "
        "generated, filaments, tsne.",
        show_default="all but tsne",
    ),
]
Shown = Annotated[
    list[str],
    typer.Option(
        "--plugin",
        "-p",
        help="Show vectors of this strategy; may be repeated.",
        show_default="uniform-cube, component-uniform, gaussian, multivariate-normal, pca-ellipse",
    ),
]
Pairs = Annotated[
    list[str],
    typer.Option(
        metavar="I,J", help="A plane around the origin; may be repeated.", show_default="the strongest and farthest"
    ),
]
BinWidth = Annotated[
    float | None,
    typer.Option(help="Bin width of the number densities, in latent units.", show_default="0.25 for a unit spread"),
]
Trim = Annotated[
    float | None, typer.Option(help="Before the PCA, leave out vectors beyond this many half-widths; 0 keeps all.")
]
Tsne = Annotated[
    int | None, typer.Option(metavar="N", help="Also map N vectors by t-SNE (extra 'tsne'; takes minutes).")
]

app = typer.Typer()


@app.command(
    epilog=examples(
        "lsampler analyze latents.h5 --out report/",
        "lsampler analyze latents.h5 --out report/ --section components --section correlations",
        "lsampler analyze latents.h5 --out report/ --tsne 20000",
        "lsampler analyze celeba96 --out report/",
        "lsampler analyze photos.shards --out report/ --cluster local:4",
    )
)
def analyze(
    latents: Latents,
    out: Annotated[Path, typer.Option(help="Folder for the report; an existing report is completed.")],
    section: Sections = [],  # noqa: B006
    plugin: Shown = [],  # noqa: B006
    pair: Pairs = [],  # noqa: B006
    threshold: Annotated[
        float, typer.Option(help="List pairs whose correlation exceeds this in absolute value.")
    ] = 0.5,
    bin_width: BinWidth = None,
    trim: Trim = 1.7,
    tsne: Tsne = None,
    seed: Seed = 0,
    cluster: Cluster = None,
) -> None:
    """Analyse how the encoder fills its latent space, and check each statement of the posts.

    Writes index.html, which opens offline, analysis.json, and a folder of figures (SVG) and tables (CSV) for each
    section. After an interruption, or with other options, rerun it: only what is missing or has changed is done.
    """
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.progress import rich_progress
    from lsampler.reports.analysis import AnalysisOptions
    from lsampler.reports.analysis import analyze as run

    options = AnalysisOptions(
        bin_width=bin_width,
        threshold=threshold,
        pairs=[_pair(text) for text in pair],
        strategies=plugin or AnalysisOptions.strategies,
        trim=trim or None,
        tsne=tsne,
        seed=seed,
    )
    with rich_progress() as progress, on_cluster(cluster):
        analysis = run(_open(latents), out, sections=section or None, options=options, progress=progress)
    _print(analysis, out)


def _open(latents: str) -> Reference:
    from lsampler.bundles.bundle import bundled, load_bundle
    from lsampler.store.opening import open_store

    if latents in bundled() or latents.endswith(".safetensors"):
        return load_bundle(latents).reference
    return open_store(latents)


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
    styles = {"holds": "green", "differs": "yellow", "not applicable": "dim", "not measured": "dim"}
    for row in analysis.judgements:
        *shown, status = cells(row.statement, row.theirs, row.here, row.status)
        status.stylize(styles[row.status])
        table.add_row(*shown, status)
    console().print(table)
    for key, problem in analysis.problems.items():
        say(f"section {key}: {problem}")
    if analysis.reused:
        say(f"kept from an earlier run: {', '.join(analysis.reused)}")
    say(f"report: {out / 'index.html'}")
