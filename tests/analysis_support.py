"""Latents for the tests of the analysis, second computations of what it measures, and readers of its report."""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
import shutil
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import cdist, mahalanobis
from sklearn.decomposition import PCA

from lsampler import analyze, load_sampler
from lsampler.reports import Analysis, AnalysisOptions
from lsampler.store import MemoryStore

Rows = NDArray[np.float64]
D, N, HELD_OUT = 6, 3000, 400
PAIRS = [(0, 3), (4, 1)]
EVERY_SECTION = ["components", "correlations", "origin", "cubes", "gaussianity", "principal", "generated", "filaments"]
STRATEGIES = ("uniform-cube", "component-uniform", "gaussian", "multivariate-normal", "pca-ellipse")
FWHM = 2 * math.sqrt(2 * math.log(2))


def analyzed(
    latents: Any, out: Path | None = None, sections: Any = None, progress: Any = None, **options: Any
) -> Analysis:
    """``analyze`` with the options as arguments."""
    return analyze(latents, out, sections=sections, options=AnalysisOptions(**options), progress=progress)


def latents() -> NDArray[np.float32]:
    """Correlated, off the origin, one component wide and far away, one skewed, outliers; the unit is 2."""
    rng = np.random.default_rng(41)
    base = rng.normal(size=(N + HELD_OUT, D))
    base[:, 5] = rng.exponential(size=len(base))
    base[::20] *= 1.8
    mixing = np.eye(D) + 0.25 * rng.normal(size=(D, D))
    rows = 1.4 * (base @ mixing) + np.array([0.3, -0.2, 0.9, 0.1, -1.6, 0.4])
    rows[:, 2] = 2.5 * rows[:, 2] + 6.0
    return rows.astype(np.float32)


LATENTS = latents()
TRAIN: Rows = LATENTS[:N].astype(np.float64)
CALIBRATING, JUDGING = LATENTS[N::2].astype(np.float64), LATENTS[N + 1 :: 2].astype(np.float64)


def reference() -> MemoryStore:
    return MemoryStore(LATENTS[:N], LATENTS[N:], name="mine")


def histogram(values: Rows, width: float) -> tuple[Rows, NDArray[np.int64]]:
    """Edges at multiples of ``width``, and counts from the first to the last occupied bin."""
    first, last = math.floor(values.min() / width), math.floor(values.max() / width)
    edges = width * np.arange(first, last + 2)
    return edges, np.histogram(values, edges)[0]


def own_width(values: Rows, wanted: float) -> float:
    """The multiple nearest to ``wanted`` of the power of two below sigma / 16."""
    fine = 2.0 ** math.floor(math.log2(values.std() / 16))
    return max(1, round(wanted / fine)) * fine


def principal_axes(rows: Rows) -> PCA:
    """Of scikit-learn, with the sign that lsampler promises: the largest entry of an axis is positive."""
    pca = PCA().fit(rows)
    for axis in pca.components_:
        axis *= np.sign(axis[np.abs(axis).argmax()])
    return pca


def trimmed(trim: float) -> Rows:
    """Rows without any component beyond ``trim`` half-widths from its mean, one by one."""
    mean, width = TRAIN.mean(axis=0), FWHM * TRAIN.std(axis=0, ddof=1)
    return np.array([row for row in TRAIN if all(abs(row[j] - mean[j]) <= trim * width[j] for j in range(D))])


def core_levels(core: str, z: Rows) -> Rows:
    """Levels of the cores from their definitions, fitted to the train rows."""
    mean, sigma = TRAIN.mean(axis=0), TRAIN.std(axis=0, ddof=1)
    if core == "interval":
        return np.abs((z - mean) / (FWHM * sigma)).max(axis=1)
    if core == "ellipsoid":
        inverse = np.linalg.inv(np.cov(TRAIN.T))
        return np.array([mahalanobis(row, mean, inverse) for row in z])
    if core == "knn":
        radii = np.sort(cdist(TRAIN, TRAIN), axis=1)[:, 5]  # the nearest is the vector itself
        return (cdist(z, TRAIN) / radii).min(axis=1)
    rows = TRAIN
    if core == "pca-ellipses":
        pca = PCA().fit(TRAIN)
        z, rows = pca.transform(z), pca.transform(TRAIN)
    x = (z - rows.mean(axis=0)) / rows.std(axis=0, ddof=1)
    r = np.corrcoef(rows.T)
    squares = [
        (x[:, i] ** 2 - 2 * r[i, j] * x[:, i] * x[:, j] + x[:, j] ** 2) / (1 - r[i, j] ** 2)
        for i, j in itertools.combinations(range(z.shape[1]), 2)
    ]
    return np.sqrt(np.max(squares, axis=0))


CORES = ["interval", "pair-ellipses", "pca-ellipses", "ellipsoid", "knn"]
NOMINAL = dict(zip(CORES, (1.7, 2.0, 2.2, math.sqrt(stats.chi2.ppf(0.95, D)), 1.0), strict=True))


@cache
def calibrated(core: str) -> float:
    """The ceil((m + 1) 0.95)-th smallest of the calibrating half."""
    levels = sorted(core_levels(core, CALIBRATING))
    return float(levels[math.ceil((len(levels) + 1) * 0.95) - 1])


def drawn(strategy: str, n: int, **parameters: Any) -> Rows:
    return load_sampler(strategy, **parameters).fit(reference()).sample(n, seed=0).numpy().astype(np.float64)


def own_distances(rows: Rows) -> Rows:
    centred = rows - rows.mean(axis=0)
    return np.sqrt(np.einsum("ni,ij,nj->n", centred, np.linalg.inv(np.cov(rows.T)), centred))


def densest(density: Rows, mass: float) -> NDArray[np.bool_]:
    """The fewest cells that hold ``mass`` of all."""
    order = np.argsort(-density)
    region = np.zeros(len(density), dtype=bool)
    region[order[: int(np.searchsorted(np.cumsum(density[order]), mass * density.sum())) + 1]] = True
    return region


def kernel_density(points: Rows, reach: float = 4.5, cells: int = 90) -> tuple[Rows, Rows]:
    """scipy's kernel density on a grid of its own, upright: places (cells^2, 2), densities."""
    lines = [
        m + s * reach * (2 * (np.arange(cells) + 0.5) / cells - 1)
        for m, s in zip(points.mean(axis=0), points.std(axis=0), strict=True)
    ]
    places = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 2)
    return places, stats.gaussian_kde(points.T)(places.T)


def inner_core(places: Rows, density: Rows, covariance: Rows, mean: Rows) -> dict[str, float]:
    """Moments of the densest half of a density given on a regular grid."""
    inside = densest(density, 0.5)
    centre = np.average(places[inside], axis=0, weights=density[inside])
    spread = np.cov(places[inside].T, aweights=density[inside], bias=True)
    tilt = math.degrees(0.5 * math.atan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1]))
    low, high = np.linalg.eigvalsh(spread)
    return {
        "inner_correlation": float(spread[0, 1] / math.sqrt(spread[0, 0] * spread[1, 1])),
        "tilt_degrees": (tilt + 45) % 90 - 45,
        "axis_ratio": math.sqrt(low / high),
        "offset_sigma": mahalanobis(centre, mean, np.linalg.inv(covariance)),
    }


def brute_clark_evans(points: Rows, area: float) -> float:
    distance = cdist(points, points)
    np.fill_diagonal(distance, np.inf)
    return float(distance.min(axis=1).mean() / (0.5 / math.sqrt(len(points) / area)))


MARK = ".lsampler"
NAME = '<script>alert(1)</script> & <b>"'
SMALL_D = 4
STATUSES = {"holds", "differs", "answered", "not applicable", "not measured"}


def vectors(rows: int = 50, dimension: int = SMALL_D, seed: int = 0) -> NDArray[np.float32]:
    """A correlated normal off the origin."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(dimension, dimension))
    return (rng.normal(size=(rows, dimension)) @ mixing + rng.normal(size=dimension)).astype(np.float32)


def reference_named(name: str = NAME) -> MemoryStore:
    """300 train and 100 held-out vectors."""
    rows = vectors(400)
    return MemoryStore(rows[:300], rows[300:], name=name)


def names(out: Path) -> set[str]:
    """What a report's folder holds, but for the mark that it is one."""
    return {path.name for path in out.iterdir()} - {MARK}


def strict_json(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{path}: {constant} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Page(HTMLParser):
    """A page's tags with their attributes, and its text with single spaces."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._words: list[str] = []
        self.source = (folder / "index.html").read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self._words.append(data)

    @property
    def text(self) -> str:
        return spaced("".join(self._words))

    def values(self, *attributes: str) -> list[str]:
        return [value for _, attrs in self.tags for name, value in attrs.items() if name in attributes and value]

    @property
    def headings(self) -> list[tuple[str, str, str]]:
        """Id, text and post of every section, in order."""
        return re.findall(r'<h2 id="([^"]+)">([^<]+)</h2>\s*<p class="post">after ([^<]+)</p>', self.source)


def spaced(text: str) -> str:
    return " ".join(text.split())


class Bars:
    """Progress that remembers its bars: what each shows, its total, and its steps."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, list[int]]] = []

    def begin(self, what: str, total: int, done: int = 0) -> Callable[[int], None]:
        steps = [0]
        self.begun.append((what, total - done, steps))
        return steps.append

    @property
    def of_sections(self) -> list[str]:
        return [what for what, _, _ in self.begun if not what.startswith("reading")]

    @property
    def complete(self) -> bool:
        return all(sum(steps) == total and min(steps) >= 0 for _, total, steps in self.begun)


class Full(NamedTuple):
    """One report of everything but t-SNE; read it, and copy it before writing."""

    path: Path
    analysis: Analysis
    bars: Bars

    def copy_to(self, path: Path) -> Path:
        shutil.copytree(self.path, path)
        return path

    def records(self) -> dict[str, Any]:
        return {key: strict_json(self.path / key / "section.json") for key in EVERY_SECTION}

    def page(self) -> Page:
        return Page(self.path)
