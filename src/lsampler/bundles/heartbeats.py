"""Heartbeats: simulated electrocardiograms of two leads, from a published model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

LEADS = ("I", "II")
UNIT = "mV"
COUNT, SEED = 2500, 0
RATE, BEFORE, AFTER = 200, 0.35, 0.55
"""Samples per second, and how many seconds of a beat lie before and after its R wave."""
AXES = np.radians([0.0, 60.0])
"""The directions of the leads I and II in the frontal plane (Einthoven)."""
PREMATURE = 0.15
"""The share of premature ventricular beats."""
NOISE, SMOOTHED = 0.008, 0.8
"""Standard deviation of the noise in mV, and of the kernel that smooths it to a monitor's band of 40 Hz, in samples."""


class Wave(NamedTuple):
    """One wave at 60 beats per minute: its time after the R wave and width in seconds, height in mV, direction."""

    time: float
    width: float
    height: float
    degrees: float


# Times, widths and heights of McSharry et al. 2003, table I: angle / 2 pi, b / 2 pi, and a b^2 over that of R.
NORMAL = (
    Wave(-0.194, 0.040, 0.25, 55.0),
    Wave(-0.042, 0.016, -0.17, 60.0),
    Wave(0.0, 0.016, 1.0, 50.0),
    Wave(0.042, 0.016, -0.25, 75.0),
    Wave(0.278, 0.064, 0.40, 45.0),
)
VENTRICULAR = (
    Wave(-0.030, 0.030, 0.30, -60.0),
    Wave(0.0, 0.040, 1.45, 15.0),
    Wave(0.090, 0.036, -0.45, 40.0),
    Wave(0.300, 0.070, -0.50, 30.0),
)
"""No P wave, a wide and high QRS complex in another direction, and a T wave that points the other way."""


def heartbeats(count: int = COUNT, seed: int = SEED) -> NDArray[np.float32]:
    """Heartbeats (count, 2, 180) float32 in mV: the leads I and II, 200 samples per second, the R wave at 0.35 s.

    A beat is a sum of Gaussian waves P, Q, R, S and T, the closed form of the model of McSharry, Clifford, Tarassenko
    and Smith (A dynamical model for generating synthetic electrocardiogram signals, IEEE Transactions on Biomedical
    Engineering 50, 2003), at heart rates of 50 to 110 per minute: times grow with the square root of the time between
    beats, as the QT interval does in Bazett's formula. Height, width, time and direction of each wave vary from beat to
    beat, breathing turns the axis of the heart and moves the baseline, and there is some noise. Of all beats, 15 % are
    premature ventricular ones.
    """
    rng = np.random.default_rng(seed)
    times = np.arange(-round(BEFORE * RATE), round(AFTER * RATE)) / RATE
    ventricular = rng.random(count) < PREMATURE
    beats = np.zeros((count, len(LEADS), len(times)))
    for chosen, waves in ((~ventricular, NORMAL), (ventricular, VENTRICULAR)):
        beats[chosen] = _beats(rng, int(chosen.sum()), times, waves)
    noise = gaussian_filter1d(rng.normal(size=beats.shape), SMOOTHED, axis=-1)
    found: NDArray[np.float32] = (beats + noise * (NOISE / noise.std())).astype(np.float32)
    return found


def beat_kinds(count: int = COUNT, seed: int = SEED) -> NDArray[np.object_]:
    """Which of the beats of :func:`heartbeats` are normal, and which ventricular (count,)."""
    return np.where(np.random.default_rng(seed).random(count) < PREMATURE, "ventricular", "normal").astype(object)


def _beats(
    rng: np.random.Generator, count: int, times: NDArray[np.float64], waves: tuple[Wave, ...]
) -> NDArray[np.float64]:
    """Beats of one kind (count, 2, steps)."""
    stretch = np.sqrt(60 / rng.uniform(50, 110, count))
    size = np.exp(rng.normal(0, 0.15, count))
    breath = rng.uniform(0, 2 * np.pi, count)
    axis = rng.normal(0, 12, count) + 8 * np.sin(breath)
    beats = np.zeros((count, len(LEADS), len(times)))
    for wave in waves:
        at = wave.time * stretch * (1 + rng.normal(0, 0.03, count))
        width = wave.width * (1 + rng.normal(0, 0.08, count)) * (stretch if wave.time > 0.1 else 1.0)
        height = wave.height * size * np.exp(rng.normal(0, 0.12, count))
        shape = height[:, None] * np.exp(-((times - at[:, None]) ** 2) / (2 * width[:, None] ** 2))
        towards = np.radians(wave.degrees + axis)[:, None] - AXES
        beats += np.cos(towards)[..., None] * shape[:, None]
    swing = 0.04 * np.sin(breath[:, None] + 2 * np.pi * 0.25 * times)
    beats += swing[:, None] * np.array([0.6, 1.0])[:, None]
    return beats
