"""Effects of labels, what they leave, and draws of labels, against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
from labelled import TRAIN, labelled_store
from scipy import stats
from sklearn.linear_model import LinearRegression, Ridge

from lsampler import LsamplerError, load_sampler
from lsampler.samplers.conditions.condition import Condition
from lsampler.samplers.conditions.design import Design
from lsampler.samplers.conditions.effects import read_out_of
from lsampler.samplers.conditions.labelled import MOST_ROWS, labelled
from lsampler.samplers.conditions.law import LabelLaw
from lsampler.store import MemoryStore


@pytest.fixture(scope="module")
def people() -> MemoryStore:
    return labelled_store()


def test_effects_are_those_of_least_squares(people: MemoryStore) -> None:
    """With a categorical label, whose levels are collinear, fitted values and residuals are the same."""
    rows = people.latents().astype(np.float64)
    plain = Design.of(people.label_columns, ["male", "glasses", "age"], (), "people")
    codes = people.labels.codes[:TRAIN, :3]
    effects = labelled(people, ["male", "glasses", "age"], ()).effects
    assert effects.design == plain
    expected = LinearRegression().fit(codes.astype(np.float64), rows)
    np.testing.assert_allclose(effects.matrix, expected.coef_.T, rtol=1e-6, atol=1e-7)
    with_ones = np.column_stack([np.ones(TRAIN), codes])
    np.testing.assert_allclose(effects.matrix, np.linalg.lstsq(with_ones, rows, rcond=None)[0][1:], atol=1e-6)
    every = labelled(people, None, ())
    matrix = every.effects.design.matrix(people.labels.codes[:TRAIN])
    fitted = LinearRegression().fit(matrix, rows).predict(matrix)
    left = rows - fitted + rows.mean(axis=0)
    np.testing.assert_allclose(every.residuals.latents(), left, atol=2e-6)
    known = every.residuals.statistics()
    np.testing.assert_allclose(known.mean, rows.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(known.covariance, np.cov(left.T), atol=1e-5)
    np.testing.assert_allclose(
        np.corrcoef(matrix.T, every.residuals.latents().T)[: len(matrix.T), len(matrix.T) :], 0, atol=1e-5
    )
    assert len(every.residuals.held_out()) == 200


def test_many_vectors_have_the_same_effects_in_single_precision() -> None:
    rng = np.random.default_rng(0)
    count = (1 << 17) + 50
    labels = {"a": rng.random(count) < 0.2, "year": 2000 + rng.integers(30, size=count) * 1.5}
    rows = rng.normal(size=(count, 2)) + 1000 + np.outer(labels["a"], [1.0, -2.0])
    store = MemoryStore(rows, labels=labels)
    found = labelled(store, None, ())
    design = found.effects.design.matrix(store.labels.codes)
    expected = LinearRegression().fit(design, store.latents().astype(np.float64)).coef_.T
    np.testing.assert_allclose(found.effects.matrix, expected, atol=2e-5)
    assert found.rows is not None
    assert len(found.rows) == -(-count // 2) <= MOST_ROWS
    np.testing.assert_array_equal(found.rows, store.labels.codes[::2])


def test_rows_with_a_missing_label_are_left_out(people: MemoryStore) -> None:
    """They are left out of the fit of the effects, of what the effects leave, and of the rows of labels."""
    rows, age = people.latents(), people.labels["age"][:TRAIN].copy()
    age[5::7] = np.nan
    known = ~np.isnan(age)
    male = people.labels["male"][:TRAIN]
    found = labelled(MemoryStore(rows, labels={"male": male, "age": age}), None, ())
    whole = labelled(MemoryStore(rows[known], labels={"male": male[known], "age": age[known]}), None, ())
    assert (found.effects.count, found.effects.left_out) == (known.sum(), (~known).sum())
    np.testing.assert_allclose(found.effects.matrix, whole.effects.matrix, atol=1e-9)
    np.testing.assert_allclose(found.residuals.latents(), whole.residuals.latents(), atol=1e-6)
    np.testing.assert_array_equal(found.rows, whole.rows)
    with pytest.raises(LsamplerError, match=r"fewer than two train rows have all labels, 1,200 miss 'none'"):
        labelled(MemoryStore(rows, labels={"male": male, "none": np.full(TRAIN, np.nan)}), None, ())


def test_collinear_and_constant_labels_change_nothing(people: MemoryStore) -> None:
    rows, male = people.latents(), people.labels["male"][:TRAIN]
    one = labelled(MemoryStore(rows, labels={"male": male}), None, ())
    doubled = {"male": male, "man": male, "woman": 1 - male, "height": 170 + 10.5 * male, "born": np.full(TRAIN, 0.1)}
    five = labelled(MemoryStore(rows, labels=doubled), None, ())
    np.testing.assert_allclose(five.residuals.latents(), one.residuals.latents(), atol=1e-5)
    assert np.isfinite(five.effects.matrix).all()
    assert not five.effects.matrix[4].any()


def test_categorical_labels_of_many_levels_are_used_only_if_named(people: MemoryStore) -> None:
    rows = people.latents()
    labels = {"male": people.labels["male"][:TRAIN], "town": [f"t{k % 101}" for k in range(TRAIN)]}
    store = MemoryStore(rows, labels=labels)
    assert [label.name for label in labelled(store, None, ()).effects.design.labels] == ["male"]
    assert labelled(store, ["male", "town"], ()).effects.design.width == 102
    assert labelled(store, None, ["town"]).effects.design.width == 102
    towns = MemoryStore(np.zeros((2001, 1)), labels={"town": [f"t{k}" for k in range(2001)]})
    with pytest.raises(LsamplerError, match=r"have 2,001 levels, at most 2,000 can be used; give .* without 'town'"):
        labelled(towns, ["town"], ())


def law(people: MemoryStore, where: str | list[str], others: str, *, rows: bool) -> tuple[LabelLaw, np.ndarray]:
    """How labels are drawn, and 20,000 draws by name."""
    found = labelled(people, None, ())
    condition = Condition.of(where, found.effects.design.labels)
    made = LabelLaw(found.effects, found.rows if rows else None, condition, others)  # type: ignore[arg-type]
    return made, made.draw(np.random.default_rng(1), 20_000)


@pytest.mark.parametrize("rows", [True, False])
def test_other_labels_come_as_observed_or_as_in_all_data(people: MemoryStore, rows: bool) -> None:
    """Of 20,000 draws a share is known to .0035 (one standard deviation): a difference of .02 would be seen."""
    known = people.labels.codes[:TRAIN]
    wearing = known[:, 1] == 1
    made, observed = law(people, "glasses=1", "observed", rows=rows)
    assert set(np.unique(observed[:, 0])) == {0.0, 1.0}
    assert (observed[:, 1] == 1).all()
    assert set(np.unique(observed[:, 3])) == {0.0, 1.0, 2.0}
    assert known[:, 2].min() <= observed[:, 2].min() <= observed[:, 2].max() <= known[:, 2].max()
    assert observed[:, 0].mean() == pytest.approx(known[wearing, 0].mean(), abs=0.015)
    assert observed[:, 2].mean() == pytest.approx(known[wearing, 2].mean(), abs=0.4)
    shares = np.bincount(known[wearing, 3].astype(int), minlength=3) / wearing.sum()
    np.testing.assert_allclose(np.bincount(observed[:, 3].astype(int)) / 20_000, shares, atol=0.015)
    together = np.corrcoef(observed[:, 0], observed[:, 2])[0, 1]
    assert together == pytest.approx(np.corrcoef(known[wearing, 0], known[wearing, 2])[0, 1], abs=0.15)
    alone, _ = law(people, "glasses=1", "independent", rows=rows)
    columns = alone.columns(np.random.default_rng(1), 20_000)  # glasses stand for themselves, and for being seen
    assert columns[:, 0].mean() == pytest.approx(known[:, 0].mean(), abs=0.015)
    assert columns[:, 2].mean() == pytest.approx(known[:, 2].mean(), abs=0.4)
    read = made.effects.read_out[:, 1]
    both = [(each - made.effects.mean) @ read for each in (made.columns(np.random.default_rng(1), 20_000), columns)]
    np.testing.assert_allclose(both[0], both[1], atol=1e-9)


def test_read_outs_are_those_of_a_ridge_regression(people: MemoryStore) -> None:
    """Its penalty is the mean variance of a component; of many components their own variances stand for all."""
    found = labelled(people, None, ())
    rows, matrix = people.latents().astype(np.float64), found.effects.design.matrix(people.labels.codes[:TRAIN])
    own = np.cov(rows.T)
    ridge = Ridge(alpha=np.trace(own) / 4 * (TRAIN - 1)).fit(rows, matrix)
    np.testing.assert_allclose(found.effects.read_out, found.effects.matrix @ ridge.coef_.T, atol=1e-7)
    square = read_out_of(found.effects.matrix, found.effects.covariance, np.diag(np.diag(own)))
    np.testing.assert_allclose(read_out_of(found.effects.matrix, found.effects.covariance, np.diag(own)), square)
    assert not read_out_of(0 * found.effects.matrix, found.effects.covariance, np.zeros(4)).any()


def test_statistics_of_residuals_come_from_the_same_pass(people: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean and covariance need no further one; extremes and histograms do, as do components that labels explain."""
    fresh = labelled_store()
    view = labelled(fresh, None, ()).residuals
    with monkeypatch.context() as patch:
        patch.setattr("lsampler.samplers.conditions.residual_statistics.gather_moments", None)
        patch.setattr("lsampler.store.views.StoreView._gathered", None)
        known = view.statistics()
        load_sampler("multivariate-normal").fit(fresh, labels=True)
    left = view.latents()
    np.testing.assert_allclose(known.covariance, np.cov(left.T.astype(np.float64)), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal([known.minimum, known.maximum], [left.min(axis=0), left.max(axis=0)])
    assert known.histograms.counts.sum() == TRAIN * 4
    explained = people.latents().copy()
    explained[:, 1] = 3 * people.labels["age"][:TRAIN]
    labels = {name: people.labels[name][:TRAIN] for name in ("age", "male")}
    exact = labelled(MemoryStore(explained, labels=labels), None, ()).residuals.statistics()
    assert exact.std[1] < 1e-4 * exact.std[0]


def test_rare_conditions_draw_from_the_normal_of_the_labels(people: MemoryStore) -> None:
    """Fewer than 20 rows fulfil it: ages above a bound are those of a truncated normal."""
    known = people.labels.codes[:TRAIN]
    asked = known[:, 2] > 56
    assert 0 < asked.sum() < 20
    made, drawn = law(people, ["age>56", "shape=oval|round"], "observed", rows=True)
    assert made.matching is None
    assert drawn[:, 2].min() > 56
    assert set(np.unique(drawn[:, 3])) == {0.0, 1.0}
    ages = known[:, 2].astype(np.float64)
    mean, spread = ages.mean(), ages.std(ddof=1)
    expected = stats.truncnorm((56 - mean) / spread, (ages.max() - mean) / spread, mean, spread)
    one, two = (
        LabelLaw(made.effects, None, c).draw(np.random.default_rng(2), 4000)
        for c in (
            Condition.of("age>56", made.effects.design.labels),
            Condition.of(["age>56", "male=1"], made.effects.design.labels),
        )
    )
    assert stats.kstest(one[:, 2], expected.cdf).pvalue > 0.01  # 4,000 draws see a shift of .03 of the spread
    assert (two[:, 0] == 1).all()
    assert one[:, 0].mean() > known[:, 0].mean() + 0.2  # the old are men more often
    _, strange = law(people, ["shape=oval", "shape!=round", "age<=56", "age>=55.5"], "observed", rows=False)
    assert ((strange[:, 2] >= 55.5) & (strange[:, 2] <= 56)).all()
    assert (strange[:, 3] == 0).all()


def test_atoms_are_all_rows_where_they_are_few(people: MemoryStore) -> None:
    few = MemoryStore(
        people.latents(), labels={"male": people.labels["male"][:TRAIN], "shape": people.labels["shape"][:TRAIN]}
    )
    made, drawn = law(few, "male=1", "observed", rows=True)
    codes, weights = made.atoms()
    assert len(codes) == 3
    assert weights.sum() == pytest.approx(1)
    shares = [(drawn[:, 1] == code).mean() for code in range(3)]
    np.testing.assert_allclose(shares, weights, atol=0.015)
    alone, _ = law(few, "male=1", "independent", rows=True)
    columns, weights = alone.atoms()  # every row of labels, with men's read-outs
    assert len(columns) == 18
    drawn = alone.columns(np.random.default_rng(1), 20_000)
    np.testing.assert_allclose(weights @ columns, drawn.mean(axis=0), atol=0.02)
    many, _ = law(people, "male=1", "independent", rows=True)
    assert len(many.atoms()[0]) == 512
    np.testing.assert_array_equal(many.atoms()[0], many.atoms()[0])


WISHES = [
    ({"male": 1}, "male=1", lambda known: known[:, 0] == 1),
    ({"male": True, "age": ">=40"}, "male=1 and age>=40", lambda known: (known[:, 0] == 1) & (known[:, 2] >= 40)),
    ("age<40", "age<40", lambda known: known[:, 2] < 40),
    (["age>=30.1", "age<=40"], "age>=30.1 and age<=40", lambda known: (known[:, 2] >= 30.05) & (known[:, 2] <= 40)),
    ({"shape": ["oval", "round"]}, "shape=oval|round", lambda known: known[:, 3] <= 1),
    ("shape=oval|round", "shape=oval|round", lambda known: known[:, 3] <= 1),
    ("shape!=oval", "shape!=oval", lambda known: known[:, 3] > 0),
    ({"age": ["<20", ">50"]}, "(age<20 or age>50)", lambda known: (known[:, 2] < 20) | (known[:, 2] > 50)),
]


@pytest.mark.parametrize(("where", "text", "expected"), WISHES, ids=[str(wish[1]) for wish in WISHES])
def test_conditions_are_fulfilled_by_the_rows_that_they_describe(people: MemoryStore, where, text, expected) -> None:  # type: ignore[no-untyped-def]
    condition, known = Condition.of(where, people.label_columns), people.labels.codes
    assert condition.text == text
    np.testing.assert_array_equal(condition.fulfilled(known), expected(known))
    assert 0 < condition.fulfilled(known).sum() < len(known)
    unknown = np.full((2, 4), np.nan, np.float32)
    assert not condition.fulfilled(unknown).any()


def test_names_and_levels_may_hold_signs() -> None:
    labels = {"income": ["<=50K", ">50K", ">50K"], "a=b": [0, 1, 0], "digit": [3, 7, 8], "x>=y": [0.5, 1.5, 2.5]}
    store = MemoryStore(np.zeros((3, 1)), labels=labels)
    for where, rows in {
        "income=>50K": [1, 2],
        "income=<=50K": [0],
        "a=b=1": [1],
        "digit=7": [1],
        "digit>=7": [1, 2],
        "x>=y>=1": [1, 2],
        "x>=y=0.5": [0],
    }.items():
        assert Condition.of(where, store.label_columns).fulfilled(store.labels.codes).nonzero()[0].tolist() == rows
    assert Condition.of({"income": ">50K"}, store.label_columns).text == "income=>50K"
    assert Condition.of({"digit": 7.0}, store.label_columns).fulfilled(store.labels.codes).tolist() == [
        False,
        True,
        False,
    ]
