"""The table and the signal of ``lsampler example``: how well decoded samples of each strategy pass for real items.

``python -m benchmarks.other_data`` writes the two tables of docs/other-data.md and its figures anew. Everything learns
from the training items alone. A classifier is cross-validated on the held-out real items and as many samples; its area
under the ROC curve (AUC) is 0.5 for samples that it cannot tell from real items, and 1 for those that it always can.
The first is that of the score ``item-classifier``, the others are scikit-learn's alone.
The peer is scikit-learn's ``GaussianMixture``, fitted to the items themselves.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import lsampler
from lsampler import decode, load_bundle, load_sampler
from lsampler.bundles import Bundle
from lsampler.bundles.examples import EXAMPLES
from lsampler.data import open_items
from lsampler.data.item_plots import figure_of
from lsampler.models import EncodedStore
from lsampler.plots import house_style
from lsampler.plugins import load_evaluator
from lsampler.scoring import Evaluator, RealData, Samples, Subject

PAGE = Path(__file__).parents[1] / "docs" / "other-data.md"
IMAGES = PAGE.parent / "images"
STRATEGIES = ("gaussian-mixture", "gaussian-copula", "elliptical", "multivariate-normal", "pca-ellipse")
COMPONENTS = (1, 2, 3, 5, 8, 12)
DRAWS, FOLDS = 3, 5
EVERY = {"table": 1, "signal": 3}
"""The classifiers see every value of a row, and every third step of a signal: the others say nothing new."""
Rows = NDArray[np.float32]


def mixture_of(train: NDArray[Any]) -> Callable[[int, int], Rows]:
    """Draws n rows with a seed from scikit-learn's mixture, of the number of components that suits a fifth best."""
    train = train.astype(np.float64)
    scaler = StandardScaler().fit(train)
    scaled = scaler.transform(train)
    learning, judging = train_test_split(scaled, test_size=0.2, random_state=0)
    fitted = [GaussianMixture(k, random_state=0, reg_covar=1e-4).fit(learning) for k in COMPONENTS]
    best = COMPONENTS[int(np.argmax([mixture.score(judging) for mixture in fitted]))]
    mixture = GaussianMixture(best, random_state=0, reg_covar=1e-4).fit(scaled)

    def draw(n: int, seed: int) -> Rows:
        mixture.random_state = seed
        rows = scaler.inverse_transform(mixture.sample(n)[0]).astype(np.float32)
        return np.asarray(np.random.default_rng(seed).permutation(rows))  # it gives them in the order of components

    return draw


def aucs(real: Rows, drawn: Rows, seed: int) -> tuple[float, float]:
    """The AUC of boosted trees and of a logistic regression, cross-validated."""
    x, y = np.concatenate([real, drawn]), np.repeat([0, 1], [len(real), len(drawn)])
    judges: tuple[Any, ...] = (
        HistGradientBoostingClassifier(random_state=seed, max_iter=40),
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, C=0.1)),
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    found = [cross_val_predict(judge, x, y, cv=folds, method="predict_proba")[:, 1] for judge in judges]
    trees, linear = (float(roc_auc_score(y, each)) for each in found)
    return trees, linear


def drawers(bundle: Bundle, train: Rows) -> Iterator[tuple[str, Callable[[int, int], Rows]]]:
    """The name of each kind of samples, and what draws n of them with a seed."""
    model = bundle.autoencoder
    latents = _latents(bundle, train)

    def some(n: int, seed: int) -> Rows:
        return train[np.random.default_rng(seed).choice(len(train), n, replace=False)]

    yield "*training items*", some
    yield "*training items, encoded and decoded*", lambda n, seed: _flat(decode(model, _latents(bundle, some(n, seed))))
    for name in STRATEGIES:
        fitted = load_sampler(name).fit(latents)
        yield f"`{name}`, decoded", lambda n, seed, of=fitted: _flat(decode(model, of.sample(n, seed=seed)))  # type: ignore[misc]
    yield "scikit-learn's `GaussianMixture` of the items", mixture_of(train)


def _flat(items: Rows) -> Rows:
    return items.reshape(len(items), -1)


def _latents(bundle: Bundle, rows: Rows) -> Rows:
    import torch

    items = torch.from_numpy(rows.reshape(-1, *bundle.autoencoder.item.shape))
    return np.asarray(bundle.autoencoder.encode(items).numpy())


def measured(what: str) -> list[str]:
    """The lines of the table of an example."""
    example = EXAMPLES[what]
    bundle = load_bundle(example.bundle)
    path = Path(f"runs/{example.bundle}") / example.file
    source = open_items(path, bundle.autoencoder.item)
    held = example.held_out.divide(source.ids, source.name).held_out
    rows = _flat(source.rows(0, len(source.ids)))
    train, real = rows[~held], rows[held]
    store = lsampler.encode(bundle.autoencoder, path, held_out=example.held_out, progress=False)
    judges = _judges(store)
    lines = ["| samples | `item-auc` | AUC, boosted trees | AUC, logistic regression |", "|---|---|---|---|"]
    for name, draw in drawers(bundle, train):
        drawn = [draw(len(real), seed) for seed in range(DRAWS)]
        judged = [_item_auc(judge, rows, bundle) for judge, rows in zip(judges, drawn, strict=True)]
        others = [aucs(real[:, :: EVERY[what]], rows[:, :: EVERY[what]], seed) for seed, rows in enumerate(drawn)]
        found = np.column_stack([judged, others])
        cells = [f"{mean:.2f} ± {spread:.2f}" for mean, spread in zip(found.mean(0), found.std(0, ddof=1), strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    if what == "signal":
        _draw(bundle, train, real, IMAGES / f"{example.bundle}.png")
    return lines


def _judges(store: EncodedStore) -> list[Evaluator]:
    """For each draw, the score of lsampler's reports, prepared."""
    judges = [load_evaluator("item-classifier") for _ in range(DRAWS)]
    for seed, judge in enumerate(judges):
        judge.prepare(RealData(Subject.of(store), seed=seed, rows=store.count("held-out")))
    return judges


def _item_auc(judge: Evaluator, rows: Rows, bundle: Bundle) -> float:
    items = rows.reshape(-1, *bundle.autoencoder.item.shape)
    return judge.score(Samples.of_items("samples", items, bundle.autoencoder))[0].value


def _draw(bundle: Bundle, train: Rows, real: Rows, path: Path) -> None:
    """Four real signals, and eight samples below them."""
    item = bundle.autoencoder.item
    sampler = load_sampler("gaussian-mixture").fit(_latents(bundle, train))
    drawn = decode(bundle.autoencoder, sampler.sample(8, seed=1))
    with house_style():
        figure = figure_of(np.concatenate([real[:4].reshape(-1, *item.shape), drawn]), item)
        figure.savefig(path, dpi=90)


def main() -> None:
    """Write the tables of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("table", "signal"), action="append", help="default: both")
    for what in parser.parse_args().what or ("table", "signal"):
        lines = "\n".join(measured(what))
        mark = f"<!-- measured: {what} -->"
        text = re.sub(rf"(?s){mark}\n(.*?\n)??{mark}", lambda _, m=mark, t=lines: f"{m}\n{t}\n{m}", PAGE.read_text())  # type: ignore[misc]
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
