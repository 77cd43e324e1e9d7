"""Every strategy with components that are constant, repeated, or in units of very unequal size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from distributions import odd_units

from lsampler import LsamplerError, load_sampler
from lsampler.plugins import plugin_names
from lsampler.store import MemoryStore

pytestmark = pytest.mark.usefixtures("one_torch_thread")
QUICK: dict[str, dict[str, Any]] = {
    "flow": {"max_epochs": 1, "hidden": 8},
    "kde": {"bandwidth": 0.5},
    "refined": {"base": "multivariate-normal", "steps": 5, "networks": 1, "stages": 1},
}
OF_THE_DATA_S_WIDTH = {
    "elliptical", "factor-mixture", "flow", "gaussian", "gaussian-copula", "gaussian-mixture", "kde",
    "multivariate-normal", "neighbour-interpolation", "refined", "truncated-normal",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in plugin_names("sampler") if name != "auto"])  # it chooses among them
@pytest.mark.parametrize("case", odd_units())
def test_constant_components_stay_and_all_others_have_their_spread(name: str, case: str) -> None:
    """Regression: others were drawn with 1 to 5 % of their spread beside a large unit, or refused beside a dead one."""
    rows = odd_units()[case]
    sampler = load_sampler(name, **QUICK.get(name, {})).fit(rows)
    drawn = sampler.sample(3000, seed=1).double().numpy()
    sigma, constant = rows.std(axis=0, dtype=np.float64), np.ptp(rows, axis=0) == 0
    np.testing.assert_array_equal(drawn[:, constant], np.repeat(rows[:1, constant], 3000, axis=0))
    ratio = drawn.std(axis=0)[~constant] / sigma[~constant]
    if name in OF_THE_DATA_S_WIDTH and case != "an outlier":
        # Between neighbours that are near in one component only, the variance of the others is 2/3.
        assert ratio == pytest.approx(1, abs=0.2 if name == "neighbour-interpolation" else 0.15)
        correlations = [np.corrcoef(part[:, ~constant].T) for part in (rows.astype(np.float64), drawn)]
        if name != "gaussian":
            np.testing.assert_allclose(*correlations, atol=0.15)
    if name == "pca-ellipse" and case != "an outlier":
        assert ratio == pytest.approx(0.7, abs=0.1)
    if sampler.has_density() and case not in ("a repeated component", "both"):
        assert np.isfinite(sampler.log_prob(drawn[:300])).all()


@pytest.mark.parametrize("name", ["multivariate-normal", "elliptical", "kde", "gaussian-mixture"])
def test_a_repeated_component_leaves_a_plane_without_a_density(name: str) -> None:
    rows = odd_units()["both"]
    sampler = load_sampler(name).fit(rows)
    drawn = sampler.sample(500).double().numpy()
    np.testing.assert_allclose(drawn[:, 4], drawn[:, 1], atol=1e-5)
    with pytest.raises(LsamplerError, match=f"{name} draws in 4 of 5 dimensions: there is no density"):
        sampler.log_prob(drawn)


@pytest.mark.parametrize("name", ["multivariate-normal", "gaussian", "component-uniform", "gaussian-mixture"])
def test_the_density_beside_dead_units_is_that_without_them(name: str) -> None:
    rows = odd_units()["dead units"]
    kept = np.ptp(rows, axis=0) > 0
    with_dead, without = (load_sampler(name).fit(part).log_prob(part[:50]) for part in (rows, rows[:, kept]))
    np.testing.assert_allclose(with_dead, without, atol=1e-6)


def test_too_few_vectors_are_refused_with_the_number_that_works() -> None:
    with pytest.raises(LsamplerError, match=r"4 vectors has rank 3, 6 components .* or use `components=3`"):
        load_sampler("multivariate-normal").fit(odd_units()["a large unit"][:4])
    with pytest.raises(LsamplerError, match="all 20 vectors are equal"):
        load_sampler("multivariate-normal").fit(MemoryStore(np.ones((20, 3))))
