"""Maths inside the strategies that no public result shows to enough digits."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from lsampler import load_sampler
from lsampler_plugins.samplers.elliptical import log_radial_integral
from lsampler_plugins.samplers.flow import inverse, inwards, outwards, radial_map


@pytest.mark.parametrize("q", [1, 2, 7, 256])
def test_radial_integral_agrees_with_quadrature(q: int) -> None:
    for beta in (-80.0, -3.0, 0.0, 1.0, 12.0, 90.0):
        mode = (beta + math.sqrt(beta**2 + 4 * q)) / 2

        def relative(t: float, beta: float = beta, mode: float = mode) -> float:
            return math.exp((q - 1) * math.log(t / mode) - (t * t - mode * mode) / 2 + beta * (t - mode))

        width = 1 / math.sqrt(1 + q / mode**2)
        parts = np.maximum(mode + width * np.array([-60, -12, -4, 0, 4, 12, 60]), 1e-300)
        whole = sum(quad(relative, a, b, epsabs=0, epsrel=1e-11)[0] for a, b in pairwise(parts))
        expected = math.log(whole) + (q - 1) * math.log(mode) - mode * mode / 2 + beta * mode
        (found,) = log_radial_integral(torch.tensor([beta], dtype=torch.float64), q)
        assert float(found) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("kind", ["masked-autoregressive", "neural-spline"])
def test_quick_inverse_of_the_flow_is_zukos(kind: str) -> None:
    rng = np.random.default_rng(13)
    rows = rng.normal(size=(500, 5)) / np.sqrt(rng.chisquare(4, (500, 1)) / 4)
    sampler: Any = load_sampler("flow", kind=kind, layers=3, max_epochs=4, learning_rate=0.01).fit(rows)
    network = sampler._restored({key: torch.tensor(value) for key, value in sampler.state.items()})
    x = torch.tensor(rng.normal(size=(500, 5)), dtype=torch.float32)
    with torch.no_grad():
        assert torch.allclose(inverse(network, x), network().transform.inv(x), atol=1e-4)


@given(st.floats(0.2, 1.0), st.floats(-1.0, 1.0), st.floats(0.05, 20.0), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_radial_map_is_undone_and_its_derivative_is_right(s: float, factor: float, radius: float, q: int) -> None:
    radial = torch.tensor([0.0, s, factor], dtype=torch.float64)  # linear below radius 1
    row = torch.tensor(np.random.default_rng(18).normal(size=(1, q)))
    row *= radius / row.norm()
    moved, log_derivative = inwards(row, radial)
    assert torch.allclose(outwards(moved, radial), row, rtol=1e-9)
    slope = torch.autograd.functional.jacobian(lambda v: inwards(v[None], radial)[0][0], row[0])
    if abs(radius - 1) > 1e-9:
        assert float(log_derivative) == pytest.approx(float(torch.linalg.slogdet(slope).logabsdet), abs=1e-9)


def test_radial_map_gives_heavy_tails_the_radius_of_a_normal_and_leaves_a_normal() -> None:
    rng = np.random.default_rng(19)
    normal = np.linalg.norm(rng.normal(size=(20_000, 40)), axis=1)
    heavy = normal * np.exp(0.3 * rng.normal(size=20_000))
    least, exponent, factor = radial_map(heavy, 40)
    moved = factor + exponent * np.log(heavy)
    assert least == pytest.approx(np.log(heavy.min()))
    assert moved.mean() == pytest.approx(np.log(normal).mean(), abs=0.005)
    assert moved.std() == pytest.approx(np.log(normal).std(), rel=0.03)
    assert radial_map(0.5 * normal**0.9, 40).tolist()[1:] == [1, 0]
