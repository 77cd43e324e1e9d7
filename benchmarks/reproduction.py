"""Writes docs/reproduction.md from a report: the posts' statements, judged for the bundled encoder.

    make reproduction DATA=img_align_celeba.zip

encodes the images by ``celeba96``, analyses the latents (t-SNE included, so that it takes some
minutes), and runs this on the report. Only figures of aggregates are taken: none shows single
images or their latent vectors.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lsampler.reports.analysis.sections.principal import POST_ALL, POST_SURVIVORS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reproduction.md"
IMAGES = ROOT / "docs" / "images" / "reproduction"
FIGURES = (
    ("Component distributions", "components", "densities", "Number density of every component over intervals of 0.25"),
    ("Component distributions", "components", "radius", "Density of the radius |z|"),
    ("Correlations", "correlations", "counts", "Share of pairs with |r| above a limit, beside post III"),
    ("Naive cubes", "cubes", "radii", "Radii of uniform cubes beside the data's"),
    ("Gaussian or not", "gaussianity", "fits", "Densities of components with fitted Gaussians"),
    ("Gaussian or not", "gaussianity", "contours", "Contours of pair densities with confidence ellipses"),
    ("Gaussian or not", "gaussianity", "mahalanobis", "Mahalanobis distances beside those of a normal"),
    ("After PCA", "principal", "variance", "Explained variance"),
    ("After PCA", "principal", "contours", "Contours of leading pairs of principal components"),
    ("After PCA", "principal", "trimming", "Pair (2, 3) and the worst pair over the trims"),
)
"""Title and name of a section, its figures in order, and what each shows."""
HEAD = """# What the posts found, and what holds here

*Written by `make reproduction DATA=img_align_celeba.zip`, not by hand.*

The posts analyse the latent space of one convolutional autoencoder, trained on 170,000 CelebA images. This page repeats
every analysis for the bundled `celeba96`, on {vectors:,} images of the same dataset, and says for each statement
whether it holds. `lsampler analyze latents.h5 --out report/` does the same for any autoencoder.

**What is different here.** The layers are the posts' (four convolutions with 64, 64, 128 and 128 filters, leaky ReLU,
96 x 96 pixels, D = 256). But `celeba96` was trained on 9,000 images instead of 170,000, with random flips, another
optimiser schedule and initialisation, and in another framework; the {vectors:,} latents here are those of its training
images. Its latent space also has another unit: it was scaled so that the root mean square spread of a component is 1.
A statement that differs means that the finding depends on the encoder, not that the post was wrong.
"""
READING = """## How to read it

- What the posts build on is confirmed: one coherent region off the origin, Gaussian densities on every axis, and
  elliptic contours in every plane, before and after a PCA. Their trimming table is reproduced to within
  {trimming:.1f} points.
- How the encoder spreads its variance does not carry over: here fewer principal components carry more of it, and many
  more components correlate.
- The conclusion "multivariate normal" needs one more test than the posts made, of all components at once. Mahalanobis
  radii run from {q05:.1f} to {q95:.1f} (5 and 95 %), where a normal in 256 dimensions stays within {n05:.1f} and
  {n95:.1f}. Each axis and each plane looks normal; the whole is elliptical with heavy tails.
- Confidence ellipses do not bound the data jointly: a 2-sigma ellipse holds {two:.0f} % in a plane, and all ellipses at
  once hold {joint:.1f} %. That is why lsampler calibrates its cores on held-out vectors.
- The author of the posts later withdrew the filaments. Zoomed to a quarter of a sigma, nearest neighbours are
  {clark:.0f} % as far apart as in a normal sample, which has no filaments.
"""


# The judgements that the text above relies on; if one changes, the text has to be rewritten.
READ = {
    "one-region": "holds",
    "off-centre": "holds",
    "gaussian-components": "holds",
    "elliptic-contours": "holds",
    "gaussian-principal": "holds",
    "upright-ellipses": "holds",
    "trimming-survivors": "holds",
    "variance-80": "differs",
    "weak-pairs": "differs",
    "multivariate-normal": "differs",
    "joint-ellipses": "differs",
    "filaments": "differs",
}


def main() -> None:
    """Read the report, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("report", type=Path, help="folder written by 'lsampler analyze'")
    report = parser.parse_args().report
    analysis = json.loads((report / "analysis.json").read_text(encoding="utf-8"))
    changed = [j["key"] for j in analysis["judgements"] if READ.get(j["key"], j["status"]) != j["status"]]
    if changed:
        sys.exit(f"the judgements of {', '.join(changed)} are not what the text says; rewrite READING and READ")
    shutil.rmtree(IMAGES, ignore_errors=True)
    IMAGES.mkdir(parents=True)
    PAGE.write_text(page(analysis, report), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")


def page(analysis: Mapping[str, Any], report: Path) -> str:
    """The page as Markdown; copies the figures."""
    sections = analysis["sections"]
    parts = [
        HEAD.format(vectors=sections["components"]["vectors"]),
        statement_table(analysis["judgements"]),
        reading(sections),
    ]
    for (title, section), figures in itertools.groupby(FIGURES, key=lambda row: row[:2]):
        parts += [f"## {title}\n", findings_of(report / section)]
        for *_, name, caption in figures:
            target = IMAGES / f"{section}-{name}.svg"
            shutil.copyfile(report / section / f"{name}.svg", target)
            parts.append(f"![{caption}](images/reproduction/{target.name})\n\n*{caption}.*\n")
    parts += ["## Filaments\n", findings_of(report / "filaments"), findings_of(report / "tsne")]
    parts.append(
        "Scatter plots of single vectors are in the report only: no latent vector of an image is published here.\n"
    )
    return "\n".join(parts)


def statement_table(judgements: Sequence[Mapping[str, str]]) -> str:
    """All statements and whether they hold, as a Markdown table."""
    tally = Counter(judgement["status"] for judgement in judgements)
    rows = [
        "## The posts' statements\n",
        f"Of {len(judgements)} statements, {tally['holds']} hold and {tally['differs']} differ; "
        f"{tally['not applicable']} do not apply.\n",
        "| statement | post | the post's value | here | | why |",
        "|---|---|---|---|---|---|",
    ]
    for row in judgements:
        status = "**differs**" if row["status"] == "differs" else row["status"]
        cells = (row["statement"], row["post"], row["theirs"], row["here"] or "-", status, row["why"])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def reading(sections: Mapping[str, Any]) -> str:
    """What the table says, with the measured numbers."""
    radii = sections["gaussianity"]["mahalanobis"]
    ellipses = sections["gaussianity"]["ellipses"]
    windows = [row for row in sections["filaments"]["planes"] if row["half_side_sigma"] == 0.25]
    rows = sections["principal"]["trimming"]
    return READING.format(
        trimming=100 * max(abs(row["share"] - POST_SURVIVORS[row["trim"]] / POST_ALL) for row in rows),
        q05=radii["q05"],
        q95=radii["q95"],
        n05=radii["normal_q05"],
        n95=radii["normal_q95"],
        two=100 * ellipses["mean"][1],
        joint=100 * ellipses["joint"][1],
        clark=100 * min(row["clark_evans"] / row["normal_clark_evans"] for row in windows),
    )


def findings_of(folder: Path) -> str:
    """A section's findings as a list."""
    record = json.loads((folder / "section.json").read_text(encoding="utf-8"))
    return "\n".join(f"- {line}" for line in record["findings"]) + "\n"


if __name__ == "__main__":
    main()
