"""``lsampler edit``, ``lsampler walk`` and ``lsampler attributes``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lsampler.cli import common, completion
from lsampler.cli.encode import Crop
from lsampler.cli.help import CONDITION, DATA, OUTPUT, PATH, STRATEGY
from lsampler.cli.messages import in_options
from lsampler.cli.strategies import load_strategies
from lsampler.cli.values import number, one_of, parameters_of, whole_number
from lsampler.errors import LsamplerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lsampler.editing.paths import LatentPaths
    from lsampler.editing.stops import Stops
    from lsampler.scoring.subject import Subject

OUT = (
    "Images: a .png or .jpg, a .gif, or a folder. Signals and tables: a .png, .svg or .pdf plot; tables also .csv, "
    ".tsv. Any items: .npy, .npz. Latent vectors: .h5."
)
WHAT = (
    "Photos, folders of them, files of other items, ids of --store, or latent vectors (.h5). A file that exists is "
    "taken before an id of its name. Without any, --n samples are drawn."
)
ItemNames = Annotated[list[str] | None, typer.Argument(metavar="ITEM", help=WHAT, show_default=False)]
Set = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A wanted value of a label, such as Smiling=1, digit=7 or Age=60; may be repeated, they move together.",
        show_default=False,
        rich_help_panel=CONDITION,
    ),
]
Strength = Annotated[
    float | None,
    typer.Option(
        metavar="SPREADS",
        parser=number(-1000, 1000),
        help="Move all items so far, in standard deviations of the label's reading; away from the value if negative.",
        show_default="until the value is a clear case",
        rich_help_panel=CONDITION,
    ),
]
Keep = Annotated[
    list[str],
    typer.Option(
        "--keep",
        metavar="NAME",
        help="A label whose reading is to stay; may be repeated.",
        show_default="all others",
        rich_help_panel=CONDITION,
    ),
]
Drawn = Annotated[
    int,
    typer.Option(
        "--n", "-n", metavar="N", parser=whole_number(1, 1000), help="Samples to draw.", rich_help_panel=STRATEGY
    ),
]
Duration = Annotated[
    int,
    typer.Option(
        metavar="MS",
        parser=whole_number(20, 60_000),
        help="Of each frame of a .gif, in milliseconds.",
        rich_help_panel=OUTPUT,
    ),
]
LabelledStore = Annotated[
    Path | None,
    typer.Option(
        metavar="STORE",
        help="Latent store with labels and ids (.h5, .shards).",
        show_default="the model's own statistics",
        rich_help_panel=DATA,
    ),
]
PathsOut = Annotated[Path, common.out_option(OUT, metavar="PATH")]
MOST_SHOWN = 20

app = typer.Typer()


@app.command(
    epilog=common.examples(
        "lsampler edit --set Smiling=1 --out smiling.png",
        "lsampler sample --n 2 --out people",
        "lsampler edit people --crop none --set Eyeglasses=1 --set Smiling=0 --steps 5 --out edited.png",
        "lsampler edit people/000000.png --crop none --set Male=1 --strength 3 --out male.gif",
        "lsampler example --out digits",
        "lsampler edit 0003 0004 --model digits --store digits/latents.h5 --set digit=7 --out sevens.png",
    )
)
def edit(
    items: ItemNames = None,
    set: Set = [],  # noqa: A002, B006
    strength: Strength = None,
    steps: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=whole_number(2, 10_000),
            help="Pictures of each item; the first is the item itself.",
            rich_help_panel=PATH,
        ),
    ] = 7,
    keep: Keep = [],  # noqa: B006
    plugin: common.Plugin = None,
    param: common.Params = [],  # noqa: B006
    n: Drawn = 4,
    model: common.Model = None,
    model_param: common.ModelParams = [],  # noqa: B006
    store: LabelledStore = None,
    crop: Crop = None,
    out: PathsOut = Path("edited.png"),
    duration: Duration = 100,
    json_out: common.Json = None,
    seed: common.Seed = 0,
    device: common.Device = "auto",
    force: common.Force = False,
) -> None:
    """Edit items: encode them, move them towards wanted labels, and decode each step.

    Several items give a row each. Of all movements that change the labels as wanted, the one is taken that changes the
    other labels and the item least. The bundled celeba96 knows the effects of 40 attributes; 'lsampler bundles' lists
    them.
    """
    from lsampler.editing.edits import edit as moved
    from lsampler.editing.edits import wanted_values
    from lsampler.progress import rich_progress

    if not set:
        raise LsamplerError("nothing to edit; give --set NAME=VALUE, such as --set Smiling=1")
    opened = model, store, common.model_settings(model, model_param)
    subject = _subject(opened, out, json_out, device, force=force)
    with rich_progress() as progress:
        wanted_values(set, subject.reference)
        stops = _stops(subject, items, crop, (plugin, param, n, seed))
        found = moved(subject, stops, set, strength=strength, steps=steps, keep=keep or None)
        found.save(out, duration=duration, force=force, progress=progress)
    if not common.write_json(json_out, found.as_dict() | {"out": str(out)}, force=force):
        _report(found, out)


@app.command(
    epilog=common.examples(
        "lsampler walk --out walk.png",
        "lsampler sample --n 3 --out people",
        "lsampler walk --through people/000000.png people/000001.png --crop none --kind linear --out between.gif",
        "lsampler example --out digits",
        "lsampler walk --through 0003 0004 0007 --loop --model digits --store digits/latents.h5 --out loop.gif",
    )
)
def walk(
    items: ItemNames = None,
    through: Annotated[
        bool, typer.Option("--through", help="Says that the stops follow; it may be left out.", rich_help_panel=DATA)
    ] = False,
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            parser=one_of("spherical", "linear"),
            help="spherical stays at the data's own distance from the mean, linear goes straight.",
            autocompletion=completion.words("spherical", "linear"),
            rich_help_panel=PATH,
        ),
    ] = "spherical",
    steps: Annotated[
        int,
        typer.Option(
            metavar="N", parser=whole_number(1, 10_000), help="Steps from each stop to the next.", rich_help_panel=PATH
        ),
    ] = 8,
    loop: Annotated[bool, typer.Option("--loop", help="Return to the first stop.", rich_help_panel=PATH)] = False,
    plugin: common.Plugin = None,
    param: common.Params = [],  # noqa: B006
    n: Drawn = 4,
    model: common.Model = None,
    model_param: common.ModelParams = [],  # noqa: B006
    store: LabelledStore = None,
    crop: Crop = None,
    out: PathsOut = Path("walk.png"),
    duration: Duration = 100,
    json_out: common.Json = None,
    seed: common.Seed = 0,
    device: common.Device = "auto",
    force: common.Force = False,
) -> None:
    """Walk through latent space from item to item, and decode each step.

    Both kinds go through whitened coordinates. In a picture each row leads from one stop to the next; a .gif or a
    folder has a frame for each step.
    """
    from lsampler.editing.walks import walk as walked
    from lsampler.progress import rich_progress

    opened = model, store, common.model_settings(model, model_param)
    subject = _subject(opened, out, json_out, device, force=force)
    with rich_progress() as progress:
        stops = _stops(subject, items, crop, (plugin, param, n, seed))
        found = walked(subject, stops, kind=cast("Any", kind), steps=steps, loop=loop)
        found.save(out, duration=duration, force=force, progress=progress)
    if not common.write_json(json_out, found.as_dict() | {"out": str(out)}, force=force):
        _report(found, out)


@app.command(
    epilog=common.examples(
        "lsampler attributes --out attributes.npz",
        "lsampler example --out digits",
        "lsampler attributes --model digits --store digits/latents.h5 --out digits.npz",
    )
)
def attributes(
    keep: Annotated[
        list[str],
        typer.Option(
            "--keep",
            metavar="NAME",
            help="Only this label, and others that are named so.",
            show_default="all",
            rich_help_panel=CONDITION,
        ),
    ] = [],  # noqa: B006
    model: common.Model = None,
    model_param: common.ModelParams = [],  # noqa: B006
    store: LabelledStore = None,
    out: Annotated[Path, common.out_option("The arrays (.npz), which NumPy reads.")] = Path("attributes.npz"),
    force: common.Force = False,
) -> None:
    """Export attribute vectors: for every label, what an edit adds to a latent vector.

    The arrays are names, vectors (P, D) per unit of the label's reading, spread of the readings, readings, mean and
    latent_mean: z + 2 * spread[k] * vectors[k] moves z by two standard deviations.
    """
    from lsampler.editing.attributes import attribute_vectors
    from lsampler.files import check_output
    from lsampler.workspace import open_subject

    check_output(out, force=force)
    subject = open_subject(model, store, common.model_settings(model, model_param))
    found = attribute_vectors(subject, keep=keep or None)
    found.save(out, force=force)
    common.say(f"{len(found.names)} attribute vectors of {found.reference}, D = {found.vectors.shape[1]}: {out}")


def _subject(opened: Any, out: Path, json_out: Path | None, device: str, *, force: bool) -> Subject:
    """The model and the reference, once it is sure that the results can be written."""
    from lsampler.compute.seeded_blocks import resolve_device
    from lsampler.editing.paths import STORES, check_paths_output
    from lsampler.files import check_output
    from lsampler.workspace import open_subject

    check_output(out, force=force)
    common.check_json(json_out, force=force)
    subject = open_subject(*opened)
    if out.suffix.lower() not in STORES:
        autoencoder = subject.decoder()
        assert subject.item is not None  # noqa: S101 - of an autoencoder
        check_paths_output(out, subject.item)
        autoencoder.to(resolve_device(device))
    return subject


def _stops(
    subject: Subject, names: Sequence[str] | None, crop: str | None, drawing: tuple[str | None, list[str], int, int]
) -> Stops:
    """The named items; samples of a strategy where none are named."""
    from lsampler.editing.stops import Stops, stops_of
    from lsampler.plugins.by_name import recommended_sampler

    plugin, param, n, seed = drawing
    if names:
        for option in (f"--plugin {plugin}" if plugin else "", *(f"--param {one}" for one in param)):
            if option:
                raise LsamplerError(f"{option}: belongs to samples, and items are named; leave it out")
        return stops_of(subject, list(names), cast("Any", crop))
    if crop:
        raise LsamplerError(f"--crop {crop}: belongs to photos; name some, or leave it out")
    if plugin is None and param:
        raise LsamplerError(f"--param {param[0]}: belongs to a --plugin; give one")
    if plugin is None:
        strategy, why = recommended_sampler(subject.reference)
        common.say(f"no items named: {n} samples of {strategy.name}, {why}")
    else:
        [strategy] = load_strategies([plugin], parameters_of(param, [plugin]))
    drawn = strategy.fit(subject.reference).sample(n, seed=seed).cpu().numpy()
    return Stops([f"sample {index}" for index in range(n)], drawn)


def _report(found: LatentPaths, out: Path) -> None:
    """Print how far items were moved, and where the paths are."""
    for note in found.notes:
        common.say(in_options(note, ("strength",)))
    if found.moved:
        table = common.new_table("item", "label", "before", "after", "spreads", "distance", title="readings of labels")
        for one in found.moved[:MOST_SHOWN]:
            numbers = f"{one.before:.2f}", f"{one.after:.2f}", f"{one.spreads:+.1f}", f"{one.distance:.1f}"
            table.add_row(*common.cells(one.id, one.label, *numbers))
        common.console().print(table)
        if len(found.moved) > MOST_SHOWN:
            common.say(f"and {len(found.moved) - MOST_SHOWN} more; --json FILE has all")
    paths, steps = found.latents.shape[:2]
    item = "path" if paths == 1 else "paths"
    common.say(f"{found.what}: {paths} {item} of {steps} steps: {out}")
