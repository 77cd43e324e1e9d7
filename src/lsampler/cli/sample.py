"""``lsampler sample``, ``lsampler fit`` and ``lsampler decode``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lsampler.cli import common
from lsampler.cli.conditions import By, LabelsToo, OtherLabels, Where, conditions_of, say_note
from lsampler.cli.help import DATA, STRATEGY
from lsampler.cli.strategies import load_strategies
from lsampler.cli.values import parameters_of, whole_number
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from lsampler.models.protocols import Autoencoder
    from lsampler.progress import Progress
    from lsampler.samplers.base import LatentSampler
    from lsampler.samplers.conditions.law import Others
    from lsampler.samplers.conditions.options import ConditionOptions, Conditions
    from lsampler.store.reference import Reference


@dataclass(frozen=True)
class Drawn:
    """What latent vectors belong to: how to get their decoder, the name of their origin, and the real ones."""

    decoder: Callable[[], Autoencoder]
    origin: str
    reference: Reference | None = None


VECTORS = (".h5", common.SHARDS)
MOST_REAL = 2000
OUT = (
    "Images: a .png or .jpg with all of them, or a folder with one file each. Other items: a .png, .svg or .pdf plot. "
    "Any items as numbers: .npy or .npz; the rows of a table also .csv, .tsv or .parquet."
)
Out = Annotated[Path, common.out_option(f"{OUT} Latent vectors: .h5, .shards.", metavar="PATH")]
DecodedOut = Annotated[Path, common.out_option(OUT, metavar="PATH")]
FirstOnly = Annotated[
    int | None,
    typer.Option(
        "--n",
        "-n",
        metavar="N",
        parser=whole_number(1),
        help="Only the first N.",
        show_default="all",
        rich_help_panel=DATA,
    ),
]
FittedOut = Annotated[Path, common.out_option("The fitted strategy (.safetensors).")]
FittedBefore = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A strategy fitted before by 'lsampler fit' or 'lsampler choose', in place of --plugin.",
        rich_help_panel=STRATEGY,
    ),
]

app = typer.Typer()


@app.command(
    epilog=common.examples(
        "lsampler sample --out faces.png",
        "lsampler sample --plugin pca-ellipse --param fact=0.8 --param components=120 --seed 7 --out more.png",
        "lsampler sample --plugin gaussian --n 10000 --out vectors.h5",
        "lsampler sample --model digits --out digits.png",
        "lsampler example --out digits",
        "lsampler sample --plugin line-path --model digits --store digits/latents.h5 --out walk",
        "lsampler fit --plugin elliptical --store digits/latents.h5 --out fitted.safetensors",
        "lsampler sample --fitted fitted.safetensors --model digits --out fitted.png",
        "lsampler sample --plugin gaussian --n 100000 --out vectors.shards --cluster local:4",
    )
)
def sample(
    plugin: common.Plugin = None,
    param: common.Params = [],  # noqa: B006
    fitted: FittedBefore = None,
    n: common.Count = 64,
    where: Where = [],  # noqa: B006
    by: By = None,
    others: OtherLabels = None,
    model: common.Model = None,
    model_param: common.ModelParams = [],  # noqa: B006
    store: common.Store = None,
    out: Out = Path("samples.png"),
    seed: common.Seed = 0,
    device: common.Device = "auto",
    threads: common.Threads = None,
    cluster: common.Cluster = None,
    force: common.Force = False,
) -> None:
    """Draw latent vectors with a strategy and decode them to images.

    Without --plugin and --fitted the strategy is the one that the bundle recommends, or for a --store gaussian-mixture;
    the command prints which one, and why. 'lsampler choose' judges the strategies on your own data. Latent vectors are
    drawn on the CPU unless --device names another device.
    """
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.compute.seeded_blocks import resolve_device
    from lsampler.files import check_output
    from lsampler.progress import rich_progress
    from lsampler.samplers.base import under_condition

    check_output(_checked_kind(out), force=force)
    common.check_shards(out, cluster)
    settings, conditions = common.model_settings(model, model_param), conditions_of(where, by, others)
    # Devices differ in their random numbers: drawing moves to one only when the user names it.
    drawn_on, target = resolve_device("cpu" if device == "auto" else device), resolve_device(device)
    with on_cluster(cluster), rich_progress() as progress:
        if fitted is not None:
            unused = {"--plugin": plugin, "--param": param, "--store": store, "--by": by}
            sampler, source = _fitted_before(fitted, unused, model, settings)
            if where or others:
                sampler = under_condition(sampler, where or None, cast("Others", others))
            say_note(sampler)
        else:
            sampler, source = _fitted_now(plugin, param, (model, store, settings), device, progress, conditions)
        if out.suffix in VECTORS:
            from lsampler.samplers.sample_store import DrawOptions, sample_store

            options = DrawOptions(device=drawn_on, threads=threads, reference=source.origin)
            sample_store(sampler, n, out, seed=seed, options=options, force=force, progress=progress)
    if out.suffix not in VECTORS:
        rows = sampler.stream(n, seed=seed, device=drawn_on, threads=threads)
        _write(source, rows, n, out, device=target, force=force)
    common.say(f"{n} samples of {sampler.name} (seed {seed}, fitted to {source.origin}): {out}")


@app.command(
    epilog=common.examples(
        "lsampler fit --plugin pca-ellipse --param fact=0.8 --out fitted.safetensors",
        "lsampler sample --fitted fitted.safetensors --out faces.png",
        "lsampler example --out digits",
        "lsampler fit --plugin flow --store digits/latents.h5 --out flow.safetensors",
        "lsampler sample --fitted flow.safetensors --model digits --out digits.png",
    )
)
def fit(
    *,
    plugin: common.Plugin = None,
    param: common.Params = [],  # noqa: B006
    where: Where = [],  # noqa: B006
    by: By = None,
    others: OtherLabels = None,
    labels: LabelsToo = False,
    model: common.Model = None,
    model_param: common.ModelParams = [],  # noqa: B006
    store: common.Store = None,
    out: FittedOut,
    device: common.Device = "auto",
    cluster: common.Cluster = None,
    force: common.Force = False,
) -> None:
    """Fit a strategy and save it; 'lsampler sample --fitted' draws from the file."""
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.files import check_output
    from lsampler.progress import rich_progress

    if out.suffix != ".safetensors":
        raise LsamplerError(f"{out}: the name of a fitted strategy must end in .safetensors")
    check_output(out, force=force)
    opened = (model, store, common.model_settings(model, model_param))
    conditions = conditions_of(where, by, others, labels=labels)
    with on_cluster(cluster), rich_progress() as progress:
        sampler, source = _fitted_now(plugin, param, opened, device, progress, conditions)
    sampler.save(out, force=force)
    common.say(f"{sampler.name}, fitted to {source.origin}: {out}")


def _fitted_now(
    plugin: str | None,
    param: list[str],
    opened: tuple[str | None, Path | None, dict[str, str]],
    device: str,
    progress: Progress,
    conditions: Conditions | None,
) -> tuple[LatentSampler, Drawn]:
    from lsampler.plugins.by_name import recommended_sampler
    from lsampler.workspace import open_subject

    if plugin is None:
        if param:
            raise LsamplerError(f"--param {param[0]}: belongs to a --plugin; give one")
        subject = open_subject(*opened)
        strategy, why = recommended_sampler(subject.reference)
        common.say(f"no --plugin: {strategy.name}, {why}")
    else:
        [strategy] = load_strategies([plugin], parameters_of(param, [plugin]))
        subject = open_subject(*opened)
    given: ConditionOptions = conditions.options if conditions else {}
    fitted = strategy.fit(subject.reference, device=device, progress=progress, **given)
    say_note(fitted)
    return fitted, Drawn(subject.decoder, subject.reference.name, subject.reference)


def _fitted_before(
    path: Path, unused: Mapping[str, object], model: str | None, settings: dict[str, str]
) -> tuple[LatentSampler, Drawn]:
    from lsampler.plugins.by_name import load_fitted

    for option, given in unused.items():
        if given:
            raise LsamplerError(f"{option}: a strategy from --fitted needs none; leave it out")
    sampler = load_fitted(path)
    return sampler, Drawn(lambda: _decoder_for(path, model, sampler.fingerprint, settings), path.name)


def _decoder_for(path: Path, model: str | None, fingerprint: str | None, settings: dict[str, str]) -> Autoencoder:
    """The autoencoder of the latent vectors of a file."""
    from lsampler.workspace import open_model

    autoencoder = open_model(model, fingerprint, settings)
    if autoencoder is None:
        raise LsamplerError(f"{path}: of a model that does not come with lsampler; give that --model")
    return autoencoder


@app.command(
    epilog=common.examples(
        "lsampler sample --plugin pca-ellipse --n 100 --out vectors.h5",
        "lsampler decode vectors.h5 --n 64 --out vectors.png",
        "lsampler decode vectors.h5 --out pictures",
        "lsampler decode vectors.h5 --out pictures.npy",
    )
)
def decode(
    samples: Annotated[
        Path,
        typer.Argument(
            metavar="VECTORS", help="Latent vectors made by 'lsampler sample' or 'lsampler encode' (.h5, .shards)."
        ),
    ],
    n: FirstOnly = None,
    model: common.Model = None,
    model_param: common.ModelParams = [],  # noqa: B006
    out: DecodedOut = Path("decoded.png"),
    device: common.Device = "auto",
    force: common.Force = False,
) -> None:
    """Decode latent vectors of a file to images, or to the items that the model makes."""
    import torch

    from lsampler.compute.seeded_blocks import resolve_device
    from lsampler.files import check_output
    from lsampler.store.opening import open_store

    check_output(_checked_kind(out), force=force)
    if out.suffix in VECTORS:
        raise LsamplerError(f"{out}: decoding gives items, not latent vectors; choose a .png, a folder or a .npy")
    stored = open_store(samples)
    autoencoder = _decoder_for(samples, model, stored.fingerprint, common.model_settings(model, model_param))
    if autoencoder.dimension != stored.dimension:
        raise LsamplerError(f"{samples}: D = {stored.dimension}, the decoder takes {autoencoder.dimension}")
    total = min(n or len(stored), len(stored))
    step = 1024
    rows = (torch.from_numpy(stored.read(at, min(at + step, total))) for at in range(0, total, step))
    what = _write(
        Drawn(lambda: autoencoder, str(samples), stored), rows, total, out, device=resolve_device(device), force=force
    )
    common.say(f"{total} {what}: {out}")


def _checked_kind(out: Path) -> Path:
    """Raise LsamplerError for a name that says nothing that can be written; what the items allow is known later."""
    from lsampler.models.writing import NUMBERS, PICTURES, PLOTS

    known = (*VECTORS, *PICTURES, *PLOTS, *NUMBERS)
    if out.suffix.lower() not in ("", *known) and not out.is_dir():
        raise LsamplerError(
            f"{out}: give a .png for a grid or a plot, a folder for single images, .npy, .npz, .csv or .parquet for "
            "the items as numbers, or .h5 or .shards for latent vectors"
        )
    return out


def _write(source: Drawn, rows: Iterable[Tensor], n: int, out: Path, *, device: Any, force: bool) -> str:
    """Decode latent vectors and write the items; returns what they are called."""
    from lsampler.models.decoding import item_stream
    from lsampler.models.protocols import item_of
    from lsampler.models.writing import PLOTS, check_item_output, write_items
    from lsampler.progress import rich_progress

    autoencoder = source.decoder()
    item = item_of(autoencoder)
    check_item_output(out, item, n)
    decoder = autoencoder.to(device)
    plotted = not item.is_image and out.suffix.lower() in PLOTS
    real = _real_items(source, decoder) if plotted else None
    with rich_progress() as progress:
        batches = item_stream(decoder, rows, source.origin)
        write_items(batches, item, n, out, real=real, force=force, progress=progress)
    return item.plural


def _real_items(source: Drawn, decoder: Autoencoder) -> NDArray[Any] | None:
    """Some real items as the model decodes them, for a plot to compare with; None without latent vectors."""
    from lsampler.models.decoding import decode_rows

    reference = source.reference
    if reference is None or not reference.has_latents:
        return None
    rows = next(iter(reference.chunks()), None)
    return None if rows is None else decode_rows(decoder, rows[:MOST_REAL])
