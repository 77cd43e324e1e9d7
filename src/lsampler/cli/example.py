"""``lsampler example``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsampler.cli.common import examples, out_option, say

app = typer.Typer()


@app.command(
    epilog=examples(
        "lsampler example --out digits",
        "lsampler sample --plugin gaussian-mixture --store digits/latents.h5 --out digits.png",
        "lsampler compare --all --store digits/latents.h5 --out comparison/",
    )
)
def example(out: Annotated[Path, out_option("The folder to write.", metavar="FOLDER")]) -> None:
    """Write a small example: scikit-learn's handwritten digits and their latents, in seconds.

    Ten separate clusters: one normal is wrong here, and a mixture or a flow is right. images.npy holds 1797 images,
    latents.h5 their latent vectors under the bundled model 'digits', the last 597 held out.
    """
    from lsampler.bundles.digits import write_digits
    from lsampler.progress import rich_progress

    with rich_progress() as progress:
        store = write_digits(out, progress=progress)
    say(f"{out}: {len(store)} digits in images.npy, their latents (D = {store.dimension}) in latents.h5")
    say(f"try: lsampler sample --plugin gaussian-mixture --store {out / 'latents.h5'} --out digits.png")
