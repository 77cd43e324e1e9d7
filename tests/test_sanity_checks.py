"""The checks of the scores: their criteria on made-up curves, their data sets, and their page."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def sanity(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.sanity import checks, criteria, datasets, kept, page, power, scoring, verdicts

    modules: list[ModuleType] = [checks, criteria, datasets, kept, page, power, scoring, verdicts]
    return SimpleNamespace(**{module.__name__.rpartition(".")[2]: module for module in modules})


X = np.linspace(-1, 1, 11)
CURVES = {
    "falling": (1 - X) / 2,
    "rising": (1 + X) / 2,
    "bell": 1 - np.abs(X),
    "flat": np.full(11, 0.97),
    "flat from the middle": np.where(X < 0, 0.5, 0.97),
    "falls at the end": np.where(X < 0.9, 1.0, 0.0),
    "falls a little": 0.97 - 0.05 * (X + 1),
    "falls, with a hump": np.where(np.abs(X + 0.6) < 0.1, 1.2, (1 - X) / 2),
    "bell beside the middle": 1 - np.abs(X - 0.6),
    "bell with one high end": np.where(X < 0, 1 + X, 1 - 0.6 * X),
    "bell with two high ends": np.where(np.abs(X) > 0.9, 0.5, 1 - np.abs(X)),
}


@pytest.mark.parametrize(
    ("criterion", "arguments", "passed"),
    [
        ("Near", (1.0, "first"), {"falling", "flat", "falls at the end", "falls a little", "falls, with a hump"}),
        ("Near", (0.0, "last"), {"falling", "bell", "falls at the end", "falls, with a hump"}),
        ("Falling", (), {"falling", "falls at the end"}),
        ("Falling", (0.5,), {"falling"}),
        ("Rising", (), {"rising", "flat from the middle"}),
        ("Bell", (0.0,), {"bell", "bell with one high end"}),
        ("Flat", (), {"flat"}),
        ("Flat", (True,), {"flat", "flat from the middle", "falls a little"}),
    ],
)
def test_a_criterion_passes_the_right_curves(
    sanity: SimpleNamespace, criterion: str, arguments: tuple[float | str, ...], passed: set[str]
) -> None:
    judged = {name: getattr(sanity.criteria, criterion)(*arguments).judge(X, y) for name, y in CURVES.items()}
    assert {name for name, verdict in judged.items() if verdict == "T"} == passed
    assert set(judged.values()) <= {"T", "F"}


def test_diversity_of_wide_samples_may_be_low_or_high(sanity: SimpleNamespace) -> None:
    either = sanity.criteria.Either(sanity.criteria.Bell(0.0), sanity.criteria.Rising())
    assert [either.judge(X, CURVES[name]) for name in ("bell", "rising", "falling")] == ["L", "H", "F"]
    at_end = sanity.criteria.ZeroOrOne("last")
    assert [at_end.judge(X, CURVES[name]) for name in ("bell", "rising", "flat", "bell beside the middle")] == [
        "L", "H", "H", "F",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verdicts", "together"), [("TT", "T"), ("TF", "F"), ("TL", "L"), ("HTH", "H"), ("LH", "F"), ("LF", "F")]
)
def test_verdicts_are_joined(sanity: SimpleNamespace, verdicts: str, together: str) -> None:
    assert sanity.criteria.together(verdicts) == together


def test_data_sets_have_their_shapes_and_moments(sanity: SimpleNamespace) -> None:
    """Means of 20,000 numbers of deviation s are within 5 s / sqrt(20,000), 0.035 s, of their expectation."""
    sets, rng, n = sanity.datasets, np.random.default_rng(0), 20_000
    normal = sets.normal(rng, n, 3, 2.0, 0.5)
    assert normal.shape == (n, 3)
    assert np.allclose(normal.mean(axis=0), 2.0, atol=0.018)
    assert np.allclose(normal.std(axis=0), 0.5, atol=0.018)
    mixture = sets.mixture(rng, n, sets.on_diagonal([0.0, 10.0], 2), 0.1, [3, 1])
    assert np.allclose(mixture.mean(axis=0), 2.5, atol=0.16)
    assert (np.abs(mixture[:, 0] - mixture[:, 1]) < 1).all()
    cube = sets.cube(rng, n, 4, 0.3)
    assert 0.3 <= cube.min() < 0.301 < 1.299 < cube.max() <= 1.3
    assert np.allclose(np.linalg.norm(sets.sphere(rng, n, 5, 0.7), axis=1), 0.7)
    radii = np.linalg.norm(sets.ball(rng, n, 3, 0.8), axis=1)
    assert radii.max() <= 0.8
    assert np.isclose((radii**3).mean(), 0.8**3 / 2, atol=0.006)
    torus = sets.torus(rng, n)
    assert np.hypot(np.hypot(torus[:, 0], torus[:, 1]) - 1, torus[:, 2]).max() <= 0.1
    assert np.allclose(torus.mean(axis=0), 0, atol=0.026)
    tail = sets.heavy_tailed(rng, n, 1.5)
    assert np.isclose(tail[:, 0].mean(), 1.5, atol=0.035)
    assert tail[:, 1].min() >= 1
    assert np.isclose(np.median(tail[:, 1]), 2 ** (1 / 1.01), atol=0.07)


def test_standardised_in_units_of_the_real_vectors(sanity: SimpleNamespace) -> None:
    rng = np.random.default_rng(1)
    real = np.column_stack([rng.normal(5, 3, 500), np.ones(500)])
    first, second = (sanity.datasets.standardised(real, rows) for rows in (real, real + np.array([3, 1])))
    assert np.allclose(first.mean(axis=0), 0)
    assert np.allclose(first.std(axis=0), [1, 0])
    assert np.allclose(second - first, [3 / real[:, 0].std(), 1])


def test_every_check_has_panels_of_growing_positions(sanity: SimpleNamespace) -> None:
    """The first and the last point of each; sets of 1,000 vectors unless the check varies their number."""
    assert len(sanity.checks.CHECKS) == 15
    for name, check in sanity.checks.CHECKS.items():
        for panel, points in check.panels.items():
            assert any(demand.concerns("fidelity", panel) for demand in check.demands)
            assert any(demand.concerns("diversity", panel) for demand in check.demands)
            found = points(np.random.default_rng(0))
            first, second = next(found), next(found)
            assert first.x < second.x
            assert first.real.shape[1] == first.drawn.shape[1]
            sizes = {len(first.real), len(first.drawn)}
            assert sizes <= ({100, 1000} if name in ("cube-size", "cube-samples", "torus") else {1000, 1001})


def test_all_vectors_are_compared_and_the_control_agrees(sanity: SimpleNamespace) -> None:
    rng = np.random.default_rng(2)
    real, drawn = (rng.standard_normal((n, 3)).astype(np.float32) for n in (60, 150))
    evaluator = sanity.scoring.load_evaluator("fidelity-diversity")
    evaluator.prepare(sanity.scoring.AllVectors(real))
    found, control = sanity.scoring.scores_of(evaluator, drawn), sanity.scoring.by_prdc(real, drawn, evaluator.k)
    assert set(found) == set(sanity.scoring.METRICS)
    assert control == pytest.approx({metric: found[metric] for metric in sanity.scoring.CONTROLLED})


def test_the_page_is_what_was_measured(sanity: SimpleNamespace) -> None:
    assert sanity.page.PAGE.read_text() == sanity.page.document(sanity.kept.load())


def test_a_cell_is_kept_and_read_again(sanity: SimpleNamespace, tmp_path: Path) -> None:
    scores = {metric: [0.5, 1.0] for metric in sanity.scoring.METRICS}
    control = {metric: [0.0, 0.25] for metric in sanity.scoring.CONTROLLED}
    cell = {"points": {"x": [1.0, 2.0]}, "prdc": control}
    cell |= {f"{whose}{scaling}": scores for whose in ("", "real ") for scaling in sanity.scoring.SCALINGS}
    place = tmp_path / "sanity.json"
    found = sanity.kept.load(place)
    found["cells"]["mean/D = 1/0"] = sanity.kept.compact(cell)
    sanity.kept.write(found, place)
    assert sanity.kept.load(place) == found == json.loads(place.read_text())
    (again,) = sanity.kept.repeats_of(found["cells"], "mean", "D = 1")
    assert again["scaled"] == scores
    assert again["prdc"]["differ"]["recall"] == 1


def test_shifts_have_their_moments_and_densities(sanity: SimpleNamespace) -> None:
    rng, real = np.random.default_rng(3), sanity.power.REAL
    covariance = np.cov(real.draw(rng, 20_000).T)
    assert covariance[0, 1] == pytest.approx(0.5, abs=0.03)
    assert np.diag(covariance) == pytest.approx(np.ones(32), abs=0.06)
    for name, shift in sanity.power.SHIFTS.items():
        rows = shift.draw(rng, 20_000)
        assert rows.var(axis=0).mean() == pytest.approx(shift.scale**2, rel=0.03), name
        ratio = np.exp(real.log_density(rows) - shift.log_density(rows))
        if shift.scale < 1.1:  # wider ones give means of few large terms
            assert ratio.mean() == pytest.approx(1, abs=0.1), name


def test_no_judge_surpasses_the_ratio_of_the_densities(sanity: SimpleNamespace) -> None:
    """The area of two normals d standard deviations apart is Phi(d / sqrt(2)): 0.638 for d = 0.5."""
    found = sanity.kept.load()
    assert found["best"]["mean of one component, 0.5 sigma"] == pytest.approx(0.638, abs=0.005)
    assert found["best"]["nothing: new draws"] == 0.5
    for name, best in found["best"].items():
        for size in sanity.power.SIZES:
            for repeat in range(sanity.power.REPEATS):
                assert found["power"][sanity.power.key_of(name, size, repeat)]["low"] < best + 0.01


def test_the_judge_sees_a_large_shift_of_few_vectors(sanity: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanity.power, "HELD_OUT", 200)
    monkeypatch.setitem(sanity.power.SHIFTS, "far", sanity.power.Distribution(mean=3.0))
    assert sanity.power.area("far", 300, 0)["low"] > 0.8
    name = "copies of train vectors, noise 0.01 sigma"
    found = sanity.power.area(name, 300, 0)
    assert found["low"] < found["value"] < found["high"] < 0.75


def test_a_rule_is_the_smaller_score_relative_to_real_vectors(sanity: SimpleNamespace) -> None:
    one = {"scaled": {"precision": [0.2, 0.6, 0.9], "clipped-density": [0.5, 0.7, 1.0]}}
    one["real scaled"] = {"precision": [0.8]}
    rules = {column.label: column for column in sanity.verdicts.COLUMNS if column.kind == "fidelity" and column.is_rule}
    assert rules["R2"].values(one, "scaled").tolist() == [0.2, 0.6, 0.9]
    assert rules["R6"].values(one, "scaled") == pytest.approx([0.25, 0.7, 1.0])


def test_verdicts_of_made_up_scores(sanity: SimpleNamespace) -> None:
    """Scores of 0 wherever the sets are disjoint pass; one that jumps in one repeat of two is not steady."""
    cell = {key: {metric: [0.0, 0.0, 0.0] for metric in sanity.scoring.METRICS} for key in ("scaled", "real scaled")}
    other = cell | {"scaled": cell["scaled"] | {"recall": [0.0, 0.09, 0.0], "precision": [0.0, 0.2, 0.0]}}
    cells = {f"unit/D = 2/{i}": one | {"x": [0.1, 1.0, 10.0]} for i, one in enumerate((cell, other))}
    row, found = sanity.verdicts.Row("unit", "invariance"), {}
    for column in sanity.verdicts.COLUMNS:
        found[column.kind, column.label] = sanity.verdicts.verdict(cells, row, column, "scaled")
    assert found["diversity", "coverage"] == ("T", True)
    assert found["diversity", "recall"] == ("T", False)
    assert found["fidelity", "precision"] == ("F", False)
    assert found["fidelity", "R2"] == ("T", True)
