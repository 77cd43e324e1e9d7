"""Writes docs/reproduction.md from a report: the posts' statements, judged for the bundled encoder.

    make reproduction DATA=img_align_celeba.zip

encodes the images by ``celeba96``, analyses the latents (t-SNE included, so that it takes some
minutes), and runs this on the report. Only figures of aggregates are taken: none shows single
images or their latent vectors.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reproduction.md"
IMAGES = ROOT / "docs" / "images" / "reproduction"
FIGURES: dict[str, Sequence[tuple[str, str]]] = {
    "Component distributions": (
        ("components/densities", "Number density of every component over intervals of 0.25"),
        ("components/radius", "Density of the radius |z|"),
    ),
    "Correlations": (("correlations/counts", "Share of pairs with |r| above a limit, beside post III"),),
    "Naive cubes": (("cubes/radii", "Radii of uniform cubes beside the data's"),),
    "Gaussian or not": (
        ("gaussianity/fits", "Densities of components with fitted Gaussians"),
        ("gaussianity/contours", "Contours of pair densities with confidence ellipses"),
        ("gaussianity/mahalanobis", "Mahalanobis distances beside those of a normal"),
    ),
    "After PCA": (
        ("principal/variance", "Explained variance"),
        ("principal/contours", "Contours of leading pairs of principal components"),
        ("principal/trimming", "Pair (2, 3) and the worst pair over the trims"),
    ),
}
SECTIONS = {
    "Component distributions": "components",
    "Correlations": "correlations",
    "Naive cubes": "cubes",
    "Gaussian or not": "gaussianity",
    "After PCA": "principal",
}
HEAD = """# What the posts found, and what holds here

*Written by `make reproduction DATA=img_align_celeba.zip`, not by hand.*

The posts analyse the latent space of one convolutional autoencoder, trained on 170,000 CelebA images. This page repeats
every analysis for the bundled `celeba96`, on {vectors:,} images of the same dataset, and says for each statement
whether it holds. The same for any autoencoder: `lsampler analyze latents.h5 --out report/`.

**What is different here.** The layers are the posts' (four convolutions with 64, 64, 128 and 128 filters, leaky ReLU,
96 x 96 pixels, D = 256). But `celeba96` was trained on 9,000 images instead of 170,000, with random flips, another
optimiser schedule and initialisation, in another framework; its {vectors:,} latents here are those of its training
images. And its latent space has another unit: it was scaled so that the root mean square spread of a component is 1. A
statement that differs says that the finding depends on the encoder, not that the post was wrong.
"""
READING = """## How to read it

- What the posts build on is confirmed: one coherent region off the origin, Gaussian densities on every axis, elliptic
  contours in every plane, before and after a PCA. Their trimming table is met to within {trimming:.1f} points.
- What does not carry over is how the encoder spreads its variance: here fewer principal components carry more of it,
  and many more components correlate.
- The conclusion "multivariate normal" needs one test more than the posts made, of all components at once. Mahalanobis
  radii run from {q05:.1f} to {q95:.1f} (5 and 95 %), where a normal in 256 dimensions stays within {n05:.1f} and
  {n95:.1f}. Each axis and each plane looks normal; the whole is elliptical with heavy tails.
- Nor do confidence ellipses bound the data jointly: a 2-sigma ellipse holds {two:.0f} % in a plane, and all ellipses at
  once hold {joint:.1f} %. That is why lsampler calibrates its cores on held-out vectors.
- Filaments, which the posts' author later took back: zoomed to a quarter of a sigma, nearest neighbours are
  {clark:.0f} % as far apart as in a normal sample, which has no filaments.
"""


# What the text above says of the verdicts; where one changes, the text has to be thought over.
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
    changed = [v["key"] for v in analysis["verdicts"] if READ.get(v["key"], v["status"]) != v["status"]]
    if changed:
        sys.exit(f"the verdicts on {', '.join(changed)} are not what the text says; rewrite READING and READ")
    shutil.rmtree(IMAGES, ignore_errors=True)
    IMAGES.mkdir(parents=True)
    PAGE.write_text(page(analysis, report), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")


def page(analysis: Mapping[str, Any], report: Path) -> str:
    """The page as Markdown; copies the figures."""
    sections = analysis["sections"]
    parts = [
        HEAD.format(vectors=sections["components"]["vectors"]),
        verdict_table(analysis["verdicts"]),
        reading(sections),
    ]
    for title, figures in FIGURES.items():
        parts += [f"## {title}\n", findings_of(report / SECTIONS[title])]
        for name, caption in figures:
            target = IMAGES / f"{name.replace('/', '-')}.svg"
            shutil.copyfile(report / f"{name}.svg", target)
            parts.append(f"![{caption}](images/reproduction/{target.name})\n\n*{caption}.*\n")
    parts += ["## Filaments\n", findings_of(report / "filaments"), findings_of(report / "tsne")]
    parts.append(
        "Scatter plots of single vectors are in the report only: no latent vector of an image is published here.\n"
    )
    return "\n".join(parts)


def verdict_table(verdicts: Sequence[Mapping[str, str]]) -> str:
    """All verdicts as a Markdown table."""
    tally = {status: sum(v["status"] == status for v in verdicts) for status in ("holds", "differs")}
    rows = [
        f"## Verdicts\n\nOf {len(verdicts)} statements {tally['holds']} hold and {tally['differs']} differ.\n",
        "| statement | post | the post's value | here | | why |",
        "|---|---|---|---|---|---|",
    ]
    for v in verdicts:
        status = {"holds": "holds", "differs": "**differs**"}.get(v["status"], v["status"])
        cells = (v["statement"], v["post"], v["theirs"], v["here"] or "-", status, v["why"])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def reading(sections: Mapping[str, Any]) -> str:
    """What the table says, with the measured numbers."""
    radii = sections["gaussianity"]["mahalanobis"]
    ellipses = sections["gaussianity"]["ellipses"]
    windows = [row for row in sections["filaments"]["planes"] if row["half_side_sigma"] == 0.25]
    post = {1.35: 0.72, 1.45: 0.81, 1.55: 0.88, 1.7: 0.94, 1.8: 0.96}
    rows = sections["principal"]["trimming"]
    return READING.format(
        trimming=100 * max(abs(row["share"] - post[row["trim"]]) for row in rows),
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
