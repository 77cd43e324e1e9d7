"""Small autoencoders of tables and signals, from data that the project makes or that scikit-learn ships."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from lsampler import adapt, encode
from lsampler.models import AdaptedAutoencoder, EncodedStore

HELD_OUT = 120
NAMES = tuple(f"x{j}" for j in range(5))


@functools.cache
def cancer() -> tuple[Any, AdaptedAutoencoder, EncodedStore]:
    """569 rows of 30 named features as a DataFrame, a PCA of 6 components, and the store of its latents."""
    rows = load_breast_cancer(as_frame=True).data.astype(np.float32)
    model = adapt(make_pipeline(StandardScaler(), PCA(6)).fit(rows.to_numpy()), example=rows[:4])
    return rows, model, encode(model, rows, held_out=HELD_OUT, progress=False)


@functools.cache
def waves() -> tuple[NDArray[np.float32], AdaptedAutoencoder, EncodedStore]:
    """600 signals (1, 64) in mV, a linear torch pair of D = 8, and the store of their latents."""
    rng = np.random.default_rng(3)
    time, frequency, phase = np.linspace(0, 1, 64), rng.uniform(2, 5, (600, 1)), rng.uniform(0, 6.28, (600, 1))
    signals = np.sin(2 * np.pi * frequency * time + phase)[:, np.newaxis].astype(np.float32)
    pca = PCA(8).fit(signals[:, 0])
    forward, back = nn.Linear(64, 8, bias=False), nn.Linear(8, 64, bias=False)
    with torch.no_grad():
        forward.weight.copy_(torch.from_numpy(pca.components_))
        back.weight.copy_(torch.from_numpy(pca.components_.T))
    halves = nn.Sequential(nn.Flatten(), forward), nn.Sequential(back, nn.Unflatten(1, (1, 64)))
    model = adapt(*halves, example=torch.from_numpy(signals[:4]), unit="mV")
    return signals, model, encode(model, signals, held_out=HELD_OUT, progress=False)


def normals(n: int, seed: int) -> NDArray[np.float32]:
    """Rows of five correlated normal features."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(5) + 0.4 * np.tri(5, k=-1)
    return (rng.normal(size=(n, 5)) @ mixing.T * np.array([1, 2, 3, 4, 5]) + 10).astype(np.float32)


@functools.cache
def same() -> tuple[AdaptedAutoencoder, EncodedStore]:
    """An autoencoder of rows of five features that changes nothing, and 900 rows, of which 300 are held out."""
    rows = normals(900, seed=1)
    model = adapt(lambda x: x, lambda z: z, example=rows[:4], names=NAMES, name="same")
    return model, encode(model, rows, held_out=300, progress=False)
