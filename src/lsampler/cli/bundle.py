"""``lsampler bundle``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsampler.cli.common import Force, examples, say
from lsampler.errors import LsamplerError

app = typer.Typer()


@app.command(
    epilog=examples(
        "lsampler bundle photos.safetensors --model runs/photos/model.safetensors --store photos.h5",
        "lsampler sample --plugin pca-ellipse --model photos.safetensors",
    )
)
def bundle(
    out: Annotated[Path, typer.Argument(help="The bundle to write (.safetensors).")],
    model: Annotated[str, typer.Option(help="The autoencoder: of 'lsampler train', or a bundle.")],
    store: Annotated[Path, typer.Option(help="The store of its latents, with a held-out split.")],
    evaluator: Annotated[
        list[str],
        typer.Option(
            "--evaluator", "-e", help="Scores of the held-out vectors to keep.", show_default="core-membership"
        ),
    ] = ["core-membership"],  # noqa: B006
    force: Force = False,
) -> None:
    """Make a bundle: weights as float16, aggregate statistics and calibrated cores in one file.

    A bundle holds no image and no single latent vector.
    """
    from lsampler.bundles.bundle import build_bundle, load_safetensors_autoencoder
    from lsampler.files import check_output
    from lsampler.plugins.by_name import load_core, load_evaluator, plugin_names
    from lsampler.store.opening import open_store

    if out.suffix != ".safetensors":
        raise LsamplerError(f"{out}: a bundle's name must end in .safetensors")
    check_output(out, force=force)
    built = build_bundle(
        out.stem,
        load_safetensors_autoencoder(model),
        open_store(store),
        [load_core(name) for name in plugin_names("core")],
        [load_evaluator(name) for name in evaluator],
    )
    built.save(out, force=force)
    say(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {built.reference.statistics().count} latent vectors summarised")
