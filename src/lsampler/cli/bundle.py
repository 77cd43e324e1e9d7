"""``lsampler bundle`` and ``lsampler bundles``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsampler.cli.common import Force, cells, console, examples, key_values, new_table, say
from lsampler.errors import LsamplerError, nearest_name

if TYPE_CHECKING:
    from lsampler.bundles.bundle import Bundle
    from lsampler.samplers.base import LatentSampler
    from lsampler.store.latent_store import LatentStore

Plugins = Annotated[
    list[str],
    typer.Option("--plugin", "-p", help="A strategy to carry fitted; may be repeated.", show_default="none"),
]
Params = Annotated[
    list[str],
    typer.Option(metavar="[NAME:]KEY=VALUE", help="A parameter of one of these strategies; may be repeated."),
]
Recommended = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The strategy that 'lsampler sample' takes.", show_default="the first that it carries"
    ),
]
Evaluators = Annotated[
    list[str],
    typer.Option("--evaluator", "-e", help="Scores of held-out vectors to keep.", show_default="core-membership"),
]

app = typer.Typer()
DEFAULT_EVALUATOR = "core-membership"


@app.command(
    epilog=examples(
        "lsampler bundle photos.safetensors --model runs/photos/model.safetensors --store photos.h5",
        "lsampler sample --plugin pca-ellipse --model photos.safetensors",
        "lsampler bundle photos.safetensors --model runs/photos/model.safetensors --store photos.h5 "
        "-p gaussian-mixture -p flow --param flow:layers=3",
        "lsampler bundle more.safetensors --model photos.safetensors --store photos.h5 --add -p gaussian-copula",
    )
)
def bundle(
    out: Annotated[Path, typer.Argument(help="The bundle to write (.safetensors).")],
    model: Annotated[str, typer.Option(help="The autoencoder: of 'lsampler train', or a bundle.")],
    store: Annotated[Path, typer.Option(help="The store of its latents, with a held-out split.")],
    plugin: Plugins = [],  # noqa: B006
    param: Params = [],  # noqa: B006
    recommended: Recommended = None,
    licence: Annotated[str | None, typer.Option(metavar="TEXT", help="Of the weights, in one line.")] = None,
    add: Annotated[bool, typer.Option("--add", help="Keep what the bundle --model holds, and add --plugin.")] = False,
    evaluator: Evaluators = [],  # noqa: B006
    device: Annotated[str, typer.Option(help="Where a network is trained: auto, cpu, cuda or mps.")] = "auto",
    force: Force = False,
) -> None:
    """Make a bundle: weights as float16, statistics, calibrated cores and fitted strategies in one file.

    A bundle holds no image and no single latent vector; a strategy whose fitted state does, such as kde, is refused.
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
    built.add(latents, _fitted(strategies, latents, device), recommended=recommended)
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
    from lsampler.plugins.registry import registry

    settings: dict[str, dict[str, str]] = {name: {} for name in names}
    for text in params:
        named, colon, setting = text.partition(":")
        if not colon or "=" in named:
            named, setting = names[0] if len(settings) == 1 else "", text
        if named not in settings:
            near = nearest_name(named, names)
            raise LsamplerError(f"--param {text}: write it as NAME:KEY=VALUE, NAME being that of a --plugin{near}")
        settings[named].update(key_values([setting]))
    found: list[LatentSampler] = [registry().get("sampler", name).from_strings(own) for name, own in settings.items()]
    for strategy in found:
        require_aggregates(strategy)
    return found


def _fitted(strategies: Sequence[LatentSampler], latents: LatentStore, device: str) -> list[LatentSampler]:
    from lsampler.progress import rich_progress

    with rich_progress() as progress:
        return [strategy.fit(latents, device=device, progress=progress) for strategy in strategies]


@app.command(epilog=examples("lsampler bundles", "lsampler bundles photos.safetensors"))
def bundles(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[BUNDLE]...", help="Names or files.", show_default="those that come with lsampler"),
    ] = None,
) -> None:
    """List the bundles that come with lsampler, or what bundles in files hold."""
    from lsampler.bundles.bundle import bundle_file, bundled, load_bundle

    out = console()
    for name in files or bundled():
        found = load_bundle(name)
        with bundle_file(name) as path:
            size = _size(path.stat().st_size)
        table = new_table(show_header=False)
        table.title = f"{found.name}, {'comes with lsampler' if name in bundled() else 'a file'}, {size}"
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for row in _described(found):
            table.add_row(*cells(*row))
        out.print(table)


def _described(found: Bundle) -> list[tuple[str, str]]:
    statistics = found.reference.statistics()
    carried = [f"{each.label} ({_size(each.nbytes)})" for each in found.strategies]
    return [
        ("D", str(found.dimension)),
        ("items", found.autoencoder.item_words),
        ("statistics", f"of {statistics.count} latent vectors"),
        ("strategies", ", ".join(carried) or "none; those that need statistics only can be fitted"),
        ("recommended", found.recommended),
        ("licence", found.licence or "not stated"),
    ]


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
