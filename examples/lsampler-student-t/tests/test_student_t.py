"""Check that student-t keeps the promises that every strategy makes, and is a Student t."""

from collections.abc import Callable

import numpy as np
from lsampler_student_t import StudentT, most_likely_freedom
from scipy.stats import multivariate_t

from lsampler.testing import parametrize_with_checks


@parametrize_with_checks([StudentT(), StudentT(freedom=5)])
def test_complies(check: Callable[[], None]) -> None:
    check()


def test_density_is_that_of_scipy() -> None:
    latents = np.random.default_rng(0).normal(size=(2000, 3)) @ np.array([[2, 0, 0], [1, 1, 0], [0, 1, 3]]) + 5
    fitted = StudentT(freedom=7).fit(latents)
    exact = latents.astype(np.float32).astype(np.float64)
    independent = multivariate_t(exact.mean(axis=0), np.cov(exact, rowvar=False) * 5 / 7, df=7)
    np.testing.assert_allclose(fitted.log_prob(latents[:50]), independent.logpdf(exact[:50]), rtol=1e-4)


def test_degrees_of_freedom_are_found_again() -> None:
    # Of 20,000 vectors in 10 dimensions nu is known to about 2 %: 15 % off would be seen.
    latents = multivariate_t(np.zeros(10), np.eye(10) * 6 / 8, df=8, seed=1).rvs(20_000)  # of unit covariance
    drawn = StudentT(freedom=8).fit(latents).sample(20_000, seed=2).numpy().astype(float)
    for rows in (latents, drawn):
        freedom = most_likely_freedom(np.square(rows).sum(axis=1), 10)
        assert abs(freedom / 8 - 1) < 0.15
