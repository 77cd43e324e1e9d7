"""``lsampler bundle`` and ``lsampler bundles``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsampler.cli import completion
from lsampler.cli.common import (
    Device,
    Force,
    Json,
    Params,
    cells,
    check_json,
    console,
    examples,
    new_table,
    out_option,
    say,
    write_json,
)
from lsampler.cli.help import DATA, STRATEGY
from lsampler.cli.strategies import Evaluators, Plugins, load_strategies
from lsampler.cli.values import parameters_of
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from lsampler.bundles.bundle import Bundle
    from lsampler.samplers.base import LatentSampler
    from lsampler.scoring.probes import Probe
    from lsampler.store.latent_store import LatentStore

Model = Annotated[
    str,
    typer.Option(
        metavar="MODEL",
        help="The autoencoder: of 'lsampler train', or a bundle.",
        autocompletion=completion.bundles,
        rich_help_panel=DATA,
    ),
]
Store = Annotated[
    Path,
    typer.Option(metavar="STORE", help="The store of its latents, with a held-out split.", rich_help_panel=DATA),
]
Recommended = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The strategy that 'lsampler sample' takes.",
        show_default="the first that it carries",
        autocompletion=completion.plugins(completion.STRATEGY),
        rich_help_panel=STRATEGY,
    ),
]
Licence = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="The licence of the weights, in one line.", rich_help_panel=DATA),
]
Add = Annotated[
    bool,
    typer.Option("--add", help="Keep what the bundle --model holds, and add each --plugin.", rich_help_panel=STRATEGY),
]
Labels = Annotated[
    bool,
    typer.Option(
        "--labels",
        help="Also carry the average effects of the store's labels, so that 'lsampler sample --where' works, and "
        "probes that read labels; no label of an item.",
        rich_help_panel=DATA,
    ),
]

app = typer.Typer()
DEFAULT_EVALUATOR = "core-membership"
MEASURES = {"auc": "AUC", "r2": "R2"}


@app.command(
    epilog=examples(
        "lsampler example --out digits",
        "lsampler bundle --model digits --store digits/latents.h5 --out own.safetensors",
        "lsampler sample --plugin pca-ellipse --model own.safetensors --out new.png",
        "lsampler bundle --model digits --store digits/latents.h5 -p gaussian-mixture -p elliptical "
        "--param gaussian-mixture:components=5 --out carrying.safetensors",
        "lsampler bundle --model own.safetensors --store digits/latents.h5 --add -p gaussian-copula "
        "--out more.safetensors",
    )
)
def bundle(
    *,
    model: Model,
    store: Store,
    licence: Licence = None,
    labels: Labels = False,
    plugin: Plugins = [],  # noqa: B006
    param: Params = [],  # noqa: B006
    recommended: Recommended = None,
    add: Add = False,
    evaluator: Evaluators = [],  # noqa: B006
    out: Annotated[Path, out_option("The bundle to write (.safetensors).")],
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Make a bundle: weights as float16, statistics, calibrated cores and fitted strategies in one file.

    With --plugin it carries strategies, fitted to the store. The scores of held-out vectors that --evaluator names are
    kept as a yardstick. A bundle holds no image and no single latent vector; a strategy whose fitted state does, such
    as kde, is refused.
    """
    from lsampler.files import check_output
    from lsampler.store.opening import open_store

    if out.suffix != ".safetensors":
        raise LsamplerError(f"{out}: a bundle's name must end in .safetensors")
    check_output(out, force=force)
    latents, strategies = open_store(store), _strategies(plugin, param)
    if add:
        built = _bundle_to_extend(model, evaluator)
    else:
        built = _built(out.stem, model, latents, evaluator or [DEFAULT_EVALUATOR])
    built.add(latents, _fitted(strategies, latents, device), recommended=recommended, labels=labels)
    built.licence = licence or built.licence
    built.save(out, force=force)
    for each in built.strategies:
        say(f"{each.label}: {_size(each.nbytes)}{', recommended' if each.name == built.recommended else ''}")
    say(f"{out}: {_size(out.stat().st_size)}, {built.reference.statistics().count} latent vectors summarised")


def _built(name: str, model: str, latents: LatentStore, evaluators: Sequence[str]) -> Bundle:
    from lsampler.bundles.bundle import build_bundle, load_safetensors_autoencoder
    from lsampler.plugins.by_name import load_core, load_evaluator, plugin_names

    cores, scores = map(load_core, plugin_names("core")), map(load_evaluator, evaluators)
    return build_bundle(name, load_safetensors_autoencoder(model), latents, list(cores), list(scores))


def _bundle_to_extend(model: str, evaluators: Sequence[str]) -> Bundle:
    from lsampler.bundles.bundle import find_bundle

    if evaluators:
        raise LsamplerError(f"--evaluator {evaluators[0]}: --add keeps the scores that are there; leave it out")
    found = find_bundle(model)
    if found is None:
        raise LsamplerError(f"{model}: is no bundle that --add could add to; leave out --add")
    return found


def _strategies(names: Sequence[str], params: Sequence[str]) -> list[LatentSampler]:
    """The strategies that are to be carried, not fitted, all of which may be."""
    from lsampler.bundles.strategies import require_aggregates

    names = list(dict.fromkeys(names))
    found = load_strategies(names, parameters_of(params, names))
    for strategy in found:
        require_aggregates(strategy)
    return found


def _fitted(strategies: Sequence[LatentSampler], latents: LatentStore, device: str) -> list[LatentSampler]:
    from lsampler.progress import rich_progress

    with rich_progress() as progress:
        return [strategy.fit(latents, device=device, progress=progress) for strategy in strategies]


@app.command(epilog=examples("lsampler bundles", "lsampler bundles digits", "lsampler bundles --json -"))
def bundles(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="BUNDLE",
            help="Names or files.",
            show_default="those that come with lsampler",
            autocompletion=completion.bundles,
        ),
    ] = None,
    json_out: Json = None,
    force: Force = False,
) -> None:
    """List the bundles that come with lsampler, or what bundles in files hold."""
    from lsampler.bundles.bundle import bundle_file, bundled, load_bundle

    check_json(json_out, force=force)
    described = []
    for name in files or bundled():
        found = load_bundle(name)
        with bundle_file(name) as path:
            size = path.stat().st_size
        origin = "comes with lsampler" if name in bundled() else "a file"
        described.append({"name": found.name, "origin": origin, "size": size, **_described(found)})
    if write_json(json_out, described, force=force):
        return
    out = console()
    for each in described:
        table = new_table(show_header=False)
        table.title = "{}, {}, {}".format(each.pop("name"), each.pop("origin"), _size(each.pop("size")))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in each.items():
            table.add_row(*cells(name, _in_words(name, value)))
        out.print(table)


def _described(found: Bundle) -> dict[str, Any]:
    """What a bundle holds, as plain values."""
    return {
        "D": found.dimension,
        "items": found.autoencoder.item_words,
        "statistics": f"of {found.reference.statistics().count} latent vectors",
        "labels": [label.name for label in found.labels],
        "probes": {name: _calibration(probe) for name, probe in found.probes.items()},
        "strategies": [{"strategy": each.label, "size": each.nbytes} for each in found.strategies],
        "recommended": found.recommended,
        "licence": found.licence or "not stated",
    }


def _calibration(probe: Probe) -> dict[str, Any]:
    """What a probe reads on held-out rows, as plain values."""
    return asdict(probe.calibration) if probe.calibration else {}


def _areas(probes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The probes, with the measure of how well each reads its label on held-out rows."""
    for name, known in probes.items():
        measured = [f"{words} {known[key]:.2f}" for key, words in MEASURES.items() if known.get(key) is not None]
        yield f"{name} ({measured[0]})" if measured else name


def _in_words(name: str, value: Any) -> str | int:
    """An entry of what a bundle holds."""
    if name == "labels":
        return ", ".join(value) or "none"
    if name == "probes":
        return ", ".join(_areas(value)) or "none"
    return value if isinstance(value, str | int) else _carried(value)


def _carried(strategies: Sequence[dict[str, Any]]) -> str:
    """The strategies that a bundle carries, in words."""
    named = [f"{each['strategy']} ({_size(each['size'])})" for each in strategies]
    return ", ".join(named) or "none; those that need statistics only can be fitted"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
