"""truncated-normal: the law of its radii and its density, against scipy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from distributions import ALPHA
from scipy import stats

from lsampler import LsamplerError, load_sampler


@pytest.mark.parametrize("parameters", [{"share": 0.5}, {"share": 0.999}, {"radius": 0.3}, {"radius": 4.0}])
def test_on_a_line_it_is_scipys(parameters: dict[str, float]) -> None:
    rows = np.random.default_rng(2).normal(3, 2, size=(900, 1))
    sampler = load_sampler("truncated-normal", **parameters).fit(rows)
    mean, sigma = rows.mean(), rows.std(ddof=1)
    reach = parameters.get("radius", stats.norm.ppf((1 + parameters.get("share", 0)) / 2))
    truth = stats.truncnorm(-reach, reach, loc=mean, scale=sigma)
    z = np.linspace(-10, 20, 2001)
    np.testing.assert_allclose(sampler.log_prob(z[:, np.newaxis]), truth.logpdf(z), rtol=1e-5)
    # 20,000 draws see a distribution function 1.4 % off.
    assert stats.kstest(sampler.sample(20_000, seed=1).double().numpy()[:, 0], truth.cdf).pvalue > ALPHA


@pytest.mark.parametrize("q", [1, 3, 12, 256, 2000])
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("share", [1e-9, 0.95, 0.999999])
def test_its_table_is_exact_to_single_precision(q: int, distribution: str, share: float) -> None:
    sampler: Any = load_sampler("truncated-normal", distribution=distribution, share=share)
    state = sampler.learn_white(SimpleNamespace(components=q))
    assert stats.chi2(q).cdf(state["largest"] ** 2) == pytest.approx(share, rel=1e-9)
    x = np.linspace(-5.5, 5.5, 9871)
    found = np.interp(x, state["scores"], state["knots"][:, 0])
    level = stats.norm.cdf(x)
    exact = (
        0.5 * np.log(stats.chi2(q).ppf(level * share))
        if distribution == "normal"
        else (np.log(state["largest"]) + np.log(level) / q)
    )
    np.testing.assert_allclose(found, exact, atol=4e-6)


def test_a_radius_that_holds_nothing_is_refused_unless_uniform() -> None:
    rows = np.random.default_rng(0).normal(size=(700, 600))
    with pytest.raises(LsamplerError, match=r"radius=0\.5` holds too little .* near 24\.5; use a larger one"):
        load_sampler("truncated-normal", radius=0.5).fit(rows)
    sampler = load_sampler("truncated-normal", radius=0.5, distribution="uniform").fit(rows)
    assert np.isfinite(sampler.log_prob(sampler.sample(3))).all()
