"""``lsampler encode``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsampler.cli import common
from lsampler.cli.completion import words
from lsampler.cli.help import COMPUTING, DATA, OUTPUT
from lsampler.cli.messages import in_options
from lsampler.cli.values import whole_number

if TYPE_CHECKING:
    from lsampler.models.encode_ranges import EncodeOptions, Source
    from lsampler.models.protocols import Autoencoder
    from lsampler.store.held_out import Division, HeldOut

Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=whole_number(0, 256),
        help="Processes that load images; 0: threads.",
        show_default="one per core for a GPU",
        rich_help_panel=COMPUTING,
    ),
]
HeldOutCount = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=whole_number(),
        help="How many items are held out.",
        show_default="as in training, or a tenth",
        rich_help_panel=DATA,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=whole_number(1, 65_536),
        help="Items per forward pass.",
        show_default="128 images, or more of others",
        rich_help_panel=COMPUTING,
    ),
]
Append = Annotated[bool, typer.Option("--append", help="Add to a store that exists.", rich_help_panel=OUTPUT)]
Crop = Annotated[
    str | None,
    typer.Option(
        metavar="HOW",
        help="centre, celeba (148/178 of the width) or none.",
        show_default="as the model was trained",
        autocompletion=words("centre", "celeba", "none"),
        rich_help_panel=DATA,
    ),
]

Labels = Annotated[
    str | None,
    typer.Option(
        metavar="TABLE",
        help="Labels of the items: a table (.csv, .tsv, .txt, .parquet, .npz, .h5ad) with their ids or file names, "
        "such as CelebA's list_attr_celeba.txt; or 'folders', for the folder of each.",
        show_default="none",
        rich_help_panel=DATA,
    ),
]

app = typer.Typer()
# A model reconstructs images like those it was trained on about as well as those held out.
FAR_ABOVE = 2.0


@app.command(
    epilog=common.examples(
        "lsampler example --out digits",
        "lsampler encode digits/images.npy --model digits --out own.h5",
        "lsampler encode digits/images.npy --model digits --held-out 500 --held-out-by last --out last.h5",
        "lsampler encode digits/images.npy --model digits --out own.shards --cluster local:2",
    )
)
def encode(
    *,
    items: common.Items,
    dataset: common.Dataset = None,
    model: common.Model = None,
    model_param: common.ModelParams = [],  # noqa: B006
    crop: Crop = None,
    held_out: HeldOutCount = None,
    held_out_by: common.HeldOutBy = None,
    split_seed: common.SplitSeed = None,
    labels: Labels = None,
    id_column: common.IdColumn = None,
    label_kind: common.LabelKinds = [],  # noqa: B006
    strict: common.Strict = False,
    out: Annotated[Path, common.out_option("The latent store to write (.h5 or .shards).")],
    append: Append = False,
    batch_size: BatchSize = None,
    workers: Workers = None,
    device: common.Device = "auto",
    cluster: common.Cluster = None,
    force: common.Force = False,
) -> None:
    """Encode images, or the rows of an array or a table, into a latent store.

    Rerun the command to resume it after an interruption. The model knows which kind of items it takes. What its
    training held out of the same items is held out again, unless options say otherwise.
    """
    from lsampler.compute.dask_cluster import on_cluster
    from lsampler.compute.seeded_blocks import resolve_device
    from lsampler.models.encode_ranges import EncodeOptions
    from lsampler.models.encoding import encode_to_store
    from lsampler.models.trained_split import split_for
    from lsampler.progress import rich_progress
    from lsampler.store.label_joining import joined_labels
    from lsampler.workspace import OpenedEncoder, absolute

    common.check_shards(out, cluster)
    settings = tuple(sorted(common.model_settings(model, model_param).items()))
    where = str(items.absolute())
    opened = OpenedEncoder(absolute(model), settings, where, str(resolve_device(device)), dataset)
    autoencoder, source = opened()
    split, why = split_for(autoencoder, source, held_out, held_out_by, split_seed)
    joined = None
    if labels is not None:
        joined = joined_labels(labels, source.ids, source.name, id_column=id_column, kinds=common.kinds_of(label_kind))
    here = {"opened": opened if cluster else None, "crop": crop, "labels": joined and joined.labels}
    options = EncodeOptions(batch_size, strict, append, workers, **here)  # type: ignore[arg-type]
    _report(autoencoder, source, options, split, why)
    for line in joined.said if joined else ():
        common.say(line)
    with on_cluster(cluster), rich_progress() as progress:
        result = encode_to_store(
            autoencoder, source, out, held_out=split, options=options, force=force, progress=progress
        )
    if result.resumed:
        common.say(f"resumed after {result.resumed} items of an interrupted run")
    common.report_skipped(result.skipped)
    common.report_store(out, result.store)


def _report(autoencoder: Autoencoder, source: Source, options: EncodeOptions, split: HeldOut, why: str) -> None:
    """Say how the items are prepared and divided. Raises LsamplerError, before anything is said, if they cannot be."""
    from lsampler.models.protocols import item_of

    division = split.divide(source.ids, source.name, item_of(autoencoder).plural)
    _report_preparation(autoencoder, source, options)
    _report_division(autoencoder, source, division, why)


def _report_division(autoencoder: Autoencoder, source: Source, division: Division, why: str) -> None:
    """Say what is held out, and warn of images that the model was trained on."""
    from lsampler.models.trained_split import leak

    said = [f"held out: {division.words}" + (f" ({why})" if why else "")]
    if warning := leak(autoencoder, source, division):
        said.append(f"warning: {warning}")
    for line in said:
        common.say(in_options(line, {"held_out", "held_out_by", "split_seed"}))


def _report_preparation(autoencoder: Autoencoder, source: Source, options: EncodeOptions) -> None:
    """Say what is left out and how images are cropped, and warn if they are unlike those of the training."""
    from lsampler.data.item_rows import ItemRows
    from lsampler.models.encode_ranges import preparation, reconstruction_error
    from lsampler.models.protocols import item_of, preprocess_of

    common.report_left_out(source)
    item, record = item_of(autoencoder), getattr(autoencoder, "training_record", {})
    if item.is_image and not isinstance(source, ItemRows):
        used = preparation(autoencoder, options)
        said = f"crop {used.crop}, size {used.size_text}"
    else:
        said = f"{len(source.ids)} {item.plural}; the model takes {item.words}"
    own = record.get("held_out_mse")
    error = reconstruction_error(autoencoder, source, options) if isinstance(own, float) else None
    if own is None or error is None:
        common.say(said)
        return
    common.say(f"{said}; mean squared error of reconstructions {error:.5f} (held out in training: {own:.5f})")
    if error > FAR_ABOVE * own:
        where = f"on {item.plural} of {record.get('source')}"
        check = (
            f"--crop: it was trained with {preprocess_of(autoencoder).crop}, {where}"
            if item.is_image
            else (f"that they are in the same units: it was trained {where}")
        )
        common.say(
            f"warning: the model reconstructs these {item.plural} far worse than those of its training; check {check}"
        )
