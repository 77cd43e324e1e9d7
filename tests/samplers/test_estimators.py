"""Strategies as estimators of scikit-learn: its own checks, pipelines, grid searches, and what users see of them."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

from lsampler import LsamplerError, load_sampler
from lsampler.plugins import load_core, load_evaluator, load_fitted, plugin_names

SMALL: dict[str, dict[str, Any]] = {
    "flow": {"max_epochs": 1, "hidden": 4, "layers": 1},
    "auto": {"candidates": "gaussian", "quick": True},
    "refined": {"base": "multivariate-normal", "steps": 5, "networks": 1, "stages": 1},
}
"""Parameters with which a strategy takes no time."""

AT_CONSTRUCTION = (
    "lsampler checks parameters when they are given, so that a wrong one is reported in its own line and not in a fit "
    "that may come hours later; scikit-learn wants them checked in fit()."
)
TOO_FEW = (
    "auto judges its candidates on vectors that they were not fitted to and needs 250 for that; the data of this check "
    "are fewer, and a choice without a judgement would mislead."
)
EXPECTED: dict[str, dict[str, str]] = {
    name: {"check_do_not_raise_errors_in_init_or_set_params": AT_CONSTRUCTION} for name in plugin_names("sampler")
}
"""The checks of scikit-learn that a strategy fails, and why it has to."""
EXPECTED["auto"] |= dict.fromkeys(
    [
        "check_fit_score_takes_y",
        "check_estimators_overwrite_params",
        "check_dont_overwrite_parameters",
        "check_estimators_fit_returns_self",
        "check_readonly_memmap_input",
        "check_n_features_in_after_fitting",
        "check_positive_only_tag_during_fit",
        "check_estimators_dtypes",
        "check_dtype_object",
        "check_pipeline_consistency",
        "check_estimators_nan_inf",
        "check_estimators_pickle",
        "check_f_contiguous_array_estimator",
        "check_methods_sample_order_invariance",
        "check_methods_subset_invariance",
        "check_fit2d_1sample",
        "check_fit2d_1feature",
        "check_dict_unchanged",
        "check_fit_idempotent",
        "check_fit_check_is_fitted",
        "check_n_features_in",
        "check_fit2d_predict1d",
    ],
    TOO_FEW,
)

DEFAULTS = {name: load_sampler(name, **SMALL.get(name, {})) for name in plugin_names("sampler")}


@pytest.fixture
def rows() -> NDArray[np.float64]:
    rng = np.random.default_rng(7)
    return rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + 2.0


@pytest.fixture
def clusters() -> NDArray[np.float64]:
    """Three clusters in two dimensions, far apart."""
    rng = np.random.default_rng(8)
    centres = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 30.0]])
    return centres[rng.integers(3, size=600)] + rng.normal(size=(600, 2))


@pytest.mark.parametrize("name", DEFAULTS)
def test_scikit_learn_s_checks(name: str) -> None:
    """All pass but those in EXPECTED, and each of these fails: the list is as short as it can be."""
    if name == "flow":
        pytest.importorskip("zuko")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not inherit from `sklearn.base.BaseEstimator`")
        warnings.filterwarnings("ignore", message=".*occurred during set_params of param")
        warnings.filterwarnings("error", message="Estimator's parameters changed after set_params raised")
        results = check_estimator(DEFAULTS[name], expected_failed_checks=EXPECTED[name], on_skip=None, on_fail=None)
    failed = {each["check_name"]: each["exception"] for each in results if each["status"] == "failed"}
    assert not failed, failed
    assert {each["check_name"] for each in results if each["status"] == "xfail"} == set(EXPECTED[name])
    assert {each["check_name"] for each in results if each["status"] == "skipped"} <= {"check_array_api_input"}
    assert len(results) > 35


def test_every_reason_is_one_sentence() -> None:
    for reason in (AT_CONSTRUCTION, TOO_FEW):
        assert reason.endswith(".")
        assert reason.count(". ") == 0


def test_score_is_the_mean_log_density(rows: NDArray[np.float64]) -> None:
    train, test = rows[:200], rows[200:]
    sampler = load_sampler("multivariate-normal").fit(train.astype(np.float32))
    single = train.astype(np.float32).astype(np.float64)
    expected = stats.multivariate_normal(single.mean(axis=0), np.cov(single.T)).logpdf(test)
    found = sampler.score_samples(test)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(found, sampler.log_prob(test))
    assert sampler.score(test, y=np.zeros(100)) == pytest.approx(expected.mean(), rel=1e-5)
    assert type(sampler.score(test)) is float
    for form in (test.tolist(), torch.from_numpy(test), test.astype(object)):
        np.testing.assert_allclose(sampler.score_samples(form), found, rtol=1e-12)
    with pytest.raises(LsamplerError, match="X holds no vectors to score"):
        sampler.score(test[:0])


def test_the_last_step_of_a_pipeline(rows: NDArray[np.float64]) -> None:
    pipeline = make_pipeline(PCA(4), load_sampler("gaussian-mixture")).fit(rows)
    projected = PCA(4).fit_transform(rows)
    alone = load_sampler("gaussian-mixture").fit(projected)
    assert pipeline.score(rows) == pytest.approx(alone.score(projected))
    np.testing.assert_allclose(pipeline.score_samples(rows), alone.score_samples(projected))
    assert torch.equal(pipeline[-1].sample(9, seed=1), alone.sample(9, seed=1))
    assert "gaussianmixture" in repr(pipeline)
    assert "GaussianMixture" in pipeline._repr_html_()
    pipeline.set_params(gaussianmixture__components=2).fit(rows)
    assert pipeline[-1].components == 2
    progress_and_device = {"gaussianmixture__device": "cpu", "gaussianmixture__progress": None}
    assert pipeline.fit(rows, **progress_and_device)[-1].n_features_in_ == 4


def test_a_grid_search_finds_the_number_of_clusters(clusters: NDArray[np.float64]) -> None:
    grid = {"components": np.arange(1, 5), "covariance": ["full"]}
    search = GridSearchCV(load_sampler("gaussian-mixture"), grid, cv=KFold(3)).fit(clusters)
    assert search.best_params_["components"] == 3
    expected = []
    for train, test in KFold(3).split(clusters):
        fitted = load_sampler("gaussian-mixture", components=3, covariance="full").fit(clusters[train])
        expected.append(fitted.log_prob(clusters[test]).mean())
    assert search.best_score_ == pytest.approx(np.mean(expected))
    assert search.best_estimator_.sample(5, seed=0).shape == (5, 2)
    scores = cross_val_score(load_sampler("gaussian"), clusters, cv=3, n_jobs=2)  # in other processes
    assert np.isfinite(scores).all()


def test_a_clone_has_the_parameters_and_no_fit(rows: NDArray[np.float64]) -> None:
    sampler = load_sampler("pca-ellipse", fact=1, components=3).fit(rows)
    copy = clone(sampler)
    assert copy.get_params() == sampler.get_params()
    assert copy.key() == sampler.key()
    assert type(copy) is type(sampler)
    assert copy.dimension == 0
    assert sampler.dimension == 6


def test_parameters_are_read_as_they_were_given() -> None:
    given: dict[str, Any] = {"temperature": 1, "half_width": "moments"}
    assert load_sampler("gaussian", **given).get_params() == given
    assert type(load_sampler("gaussian", **given).get_params(deep=False)["temperature"]) is int
    assert load_sampler("gaussian", **given).key() == load_sampler("gaussian", temperature=1.0).key()
    assert load_sampler("gaussian-mixture", components=np.int64(3)).components == 3
    assert load_sampler("gaussian", temperature=np.float32(0.5)).settings()["temperature"] == 0.5


def test_set_params_checks_and_forgets_the_fit(rows: NDArray[np.float64]) -> None:
    sampler = load_sampler("gaussian").fit(rows)
    before = sampler.sample(5, seed=1)
    for wrong in ({"temperature": -1}, {"temperature": 0.5, "half_width": "guessed"}, {"temprature": 2}):
        with pytest.raises(LsamplerError, match=r"^gaussian: ") as refused:
            sampler.set_params(**wrong)
        assert "\n" not in str(refused.value)
        assert torch.equal(sampler.sample(5, seed=1), before)
        assert sampler.temperature == 1.0
    assert sampler.set_params(temperature=1.0) is sampler
    assert sampler.set_params() is sampler
    assert torch.equal(sampler.sample(5, seed=1), before)  # the same values: the fit stays
    assert sampler.set_params(temperature=0.5).temperature == 0.5
    with pytest.raises(NotFittedError, match=r"gaussian: not fitted; call fit"):
        sampler.sample(5)
    centre = sampler.fit(rows).sample(4000, seed=1).numpy()
    np.testing.assert_allclose(centre.std(axis=0) / rows.std(axis=0), 0.5, rtol=0.05)


def test_a_parameter_cannot_be_assigned_to(rows: NDArray[np.float64]) -> None:
    sampler = load_sampler("gaussian").fit(rows)
    with pytest.raises(LsamplerError, match=r"^gaussian: `temperature` cannot be assigned to.*set_params") as refused:
        sampler.temperature = 0.5
    assert "\n" not in str(refused.value)
    assert sampler.temperature == 1.0


@pytest.mark.parametrize("name", DEFAULTS)
def test_before_the_fit_it_is_not_fitted(name: str) -> None:
    sampler = load_sampler(name)
    uses = [lambda: sampler.sample(), lambda: sampler.state]
    uses += [lambda: sampler.score(np.zeros((2, 2)))] if sampler.has_density() else []
    for use in uses:
        with pytest.raises(NotFittedError, match=f"^{name}: not fitted; call fit") as refused:
            use()
        assert isinstance(refused.value, LsamplerError)
    with pytest.raises(NotFittedError):
        check_is_fitted(sampler)
    assert not {"n_features_in_", "feature_names_in_"} & set(dir(sampler))
    assert not hasattr(sampler, "n_features_in_")
    tags = get_tags(sampler)
    assert (tags.estimator_type, tags.target_tags.required, tags.input_tags.allow_nan) == (
        "density_estimator",
        False,
        False,
    )


def test_without_a_density_there_is_no_score(rows: NDArray[np.float64]) -> None:
    sampler = load_sampler("neighbour-interpolation").fit(rows)
    assert not {"score", "score_samples"} & set(dir(sampler))
    for name in ("score", "score_samples"):
        assert not hasattr(sampler, name)
        with pytest.raises(LsamplerError, match=r"^neighbour-interpolation has no density"):
            getattr(sampler, name)(rows)
    with pytest.raises(TypeError, match="should have a 'score' method"):  # before hours of fits
        GridSearchCV(sampler, {"k": [2, 3]}).fit(rows)
    flat = load_sampler("multivariate-normal", components=2).fit(rows)
    with pytest.raises(LsamplerError, match=r"^multivariate-normal draws in 2 of 6 dimensions"):
        flat.score(rows)


def test_columns_are_checked_by_number_and_name(rows: NDArray[np.float64], tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    names = [f"z{k}" for k in range(6)]
    table = pandas.DataFrame(rows, columns=names)
    sampler = load_sampler("gaussian").fit(table)
    assert sampler.n_features_in_ == 6
    assert sampler.feature_names_in_.dtype == object
    assert list(sampler.feature_names_in_) == names
    sampler.save(tmp_path / "fitted.safetensors")
    for fitted in (sampler, load_fitted(tmp_path / "fitted.safetensors"), pickle.loads(pickle.dumps(sampler))):
        expected = load_sampler("gaussian").fit(rows).score_samples(rows)
        np.testing.assert_allclose(fitted.score_samples(table), expected, rtol=1e-12)  # BLAS sums in its own order
        np.testing.assert_array_equal(fitted.score_samples(rows), fitted.score_samples(table))
        with pytest.raises(LsamplerError, match="The feature names should match those that were passed during fit"):
            fitted.score_samples(table[names[::-1]])
        with pytest.raises(LsamplerError, match="X has 5 features, but Gaussian is expecting 6 features as input"):
            fitted.score(table[names[:5]])
    assert not hasattr(sampler.fit(rows), "feature_names_in_")
    assert not hasattr(sampler.fit(pandas.DataFrame(rows)), "feature_names_in_")
    assert load_core("interval").fit(table).n_features_in_ == 6


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_to_score_are_finite(rows: NDArray[np.float64], bad: float) -> None:
    sampler = load_sampler("gaussian").fit(rows)
    rows[4, 2] = bad
    with pytest.raises(LsamplerError, match=r"^X: row 4, column 2 holds (NaN|an infinite value)"):
        sampler.score_samples(rows)


def test_a_fitted_strategy_survives_a_pickle(rows: NDArray[np.float64]) -> None:
    for name in ("gaussian-mixture", "kde", "elliptical"):
        sampler = load_sampler(name).fit(rows)
        again = pickle.loads(pickle.dumps(sampler))
        assert torch.equal(again.sample(20, seed=2), sampler.sample(20, seed=2))
        assert again.get_params() == sampler.get_params()
        assert again.score(rows) == sampler.score(rows)


PUBLIC_OF_ALL = {
    *("name", "summary", "parameters", "settings", "settings_json", "key", "digest", "depends_on", "from_strings"),
    *("get_params", "set_params"),
}
OF_STRATEGIES = PUBLIC_OF_ALL | {
    *("fit", "sample", "stream", "score_samples", "score", "log_prob", "save", "load", "note", "has_density"),
    *(
        "learn",
        "draw",
        "log_density",
        "moved_log_density",
        "begin",
        "state",
        "dimension",
        "device",
        "fingerprint",
        "seed_",
    ),
    *("needs_latents", "aggregates_only", "autoencoder"),
}


def test_what_is_listed_is_meant_for_users(rows: NDArray[np.float64]) -> None:
    sampler = load_sampler("gaussian")
    listed = {name for name in dir(sampler) if not name.startswith("_")}
    assert listed == OF_STRATEGIES | {"temperature", "half_width"}
    assert {name for name in dir(sampler.fit(rows)) if not name.startswith("_")} == listed | {"n_features_in_"}
    assert {name for name in dir(type(sampler)) if not name.startswith("_")} >= OF_STRATEGIES
    assert all(hasattr(sampler, name) for name in dir(sampler))
    for plugin in (load_core("knn"), load_evaluator("novelty"), sampler):
        for names in (set(dir(plugin)), set(dir(type(plugin)))):
            assert names >= PUBLIC_OF_ALL
            assert not {name for name in names if "pydantic" in name or name.startswith("model_")}
            assert not names & {"copy", "dict", "json", "construct", "parse_obj", "schema", "validate"}


def test_a_parameter_may_have_a_name_of_pydantic_s() -> None:
    with pytest.warns(UserWarning, match="shadows an attribute"):

        class Copies(type(load_sampler("gaussian"))):
            """A parameter that pydantic's models have as a method."""

            name = "copies"
            copy: int = 2

    assert "copy" in dir(Copies(copy=3))
    assert Copies(copy=3).get_params()["copy"] == 3
