"""The model of learning curves, on curves that follow it and on others."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import FloatDistribution

from search.samplers.acquisition import log_expected_improvement
from search.samplers.coordinates import UnitCoordinates
from search.samplers.curve_model import CurveModel
from search.samplers.learning_curves import Curve, Scale, excerpt
from search.surrogate import CurvePoints, FeatureLayout, Posterior, fitted
from search.surrogate.kernel import Layout, covariance

LAYOUT = FeatureLayout(parameter=np.array([0, 1, 2, 2]), is_warped=np.array([True, True, False, False]))
HORIZON = 52


def final(x: np.ndarray) -> np.ndarray:
    return -2.0 * (x[:, 0] - 0.6) ** 2 + 0.5 * x[:, 2]


def features(n: int, *, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.hstack([rng.random((n, 2)), np.eye(2)[rng.integers(0, 2, n)] / np.sqrt(2.0)])


def curves(x: np.ndarray, lengths: np.ndarray) -> CurvePoints:
    """Return each configuration's value after its epochs, and half way there."""
    rewards, epochs, index, rows = [], [], [], []
    for number, (row, end, n_epochs) in enumerate(zip(x, final(x), lengths, strict=True)):
        for epoch in {max(1, n_epochs // 2), n_epochs}:
            rewards.append(end - (0.5 + row[1]) * (epoch**-0.6 - HORIZON**-0.6))
            epochs.append(float(epoch))
            index.append(number)
            rows.append(row)
    return CurvePoints(
        features=np.array(rows), epochs=np.array(epochs), curve=np.array(index), rewards=np.array(rewards)
    )


def posterior(points: CurvePoints) -> Posterior:
    return Posterior(LAYOUT, fitted(LAYOUT, points, horizon=HORIZON), points, horizon=HORIZON)


def test_short_curves_make_final_rewards_known() -> None:
    new = features(200, seed=9)
    few = posterior(curves(features(6, seed=0), np.full(6, HORIZON)))
    x = np.vstack([features(6, seed=0), features(30, seed=1)])
    many = posterior(curves(x, np.append(np.full(6, HORIZON), np.full(30, 6))))

    def error(model: Posterior) -> float:
        return float(np.sqrt(np.mean((model.final(new)[0] - final(new)) ** 2)))

    assert error(many) < 0.5 * error(few)
    assert many.final(new)[1].mean() < few.final(new)[1].mean()


def test_a_full_training_is_known_almost_exactly() -> None:
    x = features(12, seed=0)
    mean, deviation = posterior(curves(x, np.full(12, HORIZON))).final(x)
    assert mean == pytest.approx(final(x), abs=0.05)
    assert deviation.max() < 0.1


def test_the_longer_a_training_the_more_it_tells() -> None:
    x = features(16, seed=3)
    theta = fitted(LAYOUT, curves(x, np.full(16, HORIZON)), horizon=HORIZON)
    deviations = []
    for n_epochs in (1, 8, HORIZON):
        points = curves(x, np.append(np.full(15, HORIZON), n_epochs))
        deviations.append(Posterior(LAYOUT, theta, points, horizon=HORIZON).final(x[-1:])[1][0])
    assert deviations == sorted(deviations, reverse=True)
    assert deviations[-1] < 0.9 * deviations[0]


def test_a_trainings_own_way_says_nothing_of_another_one() -> None:
    points = curves(features(6, seed=2), np.full(6, 9))
    layout = Layout(LAYOUT)
    found = covariance(layout, np.zeros(layout.size), points, horizon=HORIZON)
    same = points.curve[:, None] == points.curve[None]
    assert (found.own[same] > 0.0).all()
    assert (found.own[~same] == 0.0).all()
    assert found.total == pytest.approx(found.total.T)
    assert np.linalg.eigvalsh(found.total).min() > 0.0


def test_the_fit_is_a_function_of_the_points() -> None:
    points = curves(features(10, seed=0), np.full(10, 9))
    again = points.at(np.arange(len(points)))
    assert np.array_equal(fitted(LAYOUT, points, horizon=HORIZON), fitted(LAYOUT, again, horizon=HORIZON))


def test_a_horizon_of_one_epoch_is_an_ordinary_process() -> None:
    x = features(20, seed=0)
    points = CurvePoints(features=x, epochs=np.ones(20), curve=np.arange(20), rewards=final(x))
    model = Posterior(LAYOUT, fitted(LAYOUT, points, horizon=1), points, horizon=1)
    assert model.final(x)[0] == pytest.approx(final(x), abs=0.05)


def test_where_a_training_is_under_way_less_is_left_to_learn_and_nothing_else_is_expected() -> None:
    coordinates = UnitCoordinates.of({"x": FloatDistribution(0.0, 1.0)})
    known = [Curve.of({"x": x}, {4: -((x - 0.4) ** 2)}) for x in np.linspace(0.0, 0.6, 8).tolist()]
    place = coordinates.encode([{"x": 0.9}])[0]
    (mean, deviation), (again, less) = (
        CurveModel(coordinates, each, horizon=4).final(place)
        for each in (known, [*known, Curve(params={"x": 0.9}, is_running=True)])
    )
    assert less < 0.5 * deviation
    assert again == pytest.approx(mean, abs=0.1 * float(deviation[0]))


def test_a_disaster_does_not_stretch_the_scale_and_a_unit_is_what_it_says() -> None:
    reached = [*np.linspace(0.5, 0.9, 9).tolist(), -1e9]
    scale = Scale.of([Curve.of({}, {1: value}) for value in reached], np.array(reached))
    good, bad = scale.standardized(np.array([0.9, 0.7])), scale.standardized(np.array([0.5, -1e3, -1e9]))
    assert good[0] - good[1] == pytest.approx(0.2 / scale.unit)
    assert (np.diff([*good, *bad]) < 0.0).all()
    assert good[0] - bad[-1] < 8.0 * (good[0] - bad[0])


@pytest.mark.parametrize("gathered_first", [False, True])
def test_however_many_trials_gather_about_the_best_the_others_differ_by_what_they_did(gathered_first: bool) -> None:
    """Values are a slope; many trials, the last ones or the first, lie within a thousandth of its top."""
    coordinates = UnitCoordinates.of({"x": FloatDistribution(0.0, 1.0)})
    spread = np.random.default_rng(0).permutation(np.linspace(0.0, 1.0, 32)).tolist()
    gathered = np.linspace(0.9990, 0.9999, 10 if gathered_first else 150).tolist()
    places = [*gathered, *spread] if gathered_first else [*spread, *gathered]
    model = CurveModel(coordinates, [Curve.of({"x": x}, {4: x}) for x in places], horizon=4)
    (low, high), _ = model.final(coordinates.encode([{"x": 0.25}, {"x": 0.75}])[0])
    assert (high - low) * model.scale.unit == pytest.approx(0.5, abs=0.05)


def test_disasters_do_not_stretch_the_scale_of_a_long_study_that_began_with_most_of_them() -> None:
    first = [*[-1e5] * 9, *np.linspace(0.2, 0.8, 7).tolist()]
    reached = [*first, *np.linspace(0.5, 0.9, 60).tolist()]
    scale = Scale.of([Curve.of({}, {1: value}) for value in reached], np.array(reached))
    good, bad = scale.standardized(np.array([0.9, 0.5])), scale.standardized(np.array([0.2, -1e5]))
    assert good[0] - bad[1] < 25.0 * (good[0] - good[1])
    assert good[0] - bad[0] == pytest.approx(0.7 / scale.unit, rel=0.1)


def test_what_a_long_study_shows_a_model_has_the_first_trials_too() -> None:
    """The first five are of workers that died: nothing is known of them, and never will be."""
    lost = [Curve(params={"x": number}, is_running=True) for number in range(5)]
    curves = [*lost, *(Curve.of({"x": number}, {1: number % 100}) for number in range(5, 1000))]
    shown = excerpt(curves)
    assert len(shown) == 384 and shown[:21] == list(range(21)) and shown[-50:] == list(range(950, 1000))
    assert {number for number in range(1000) if number % 100 == 99} <= set(shown)


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_who_expects_noise_finds_more_of_it_and_is_not_told_what_others_found(noise: float) -> None:
    rng = np.random.default_rng(4)
    x = rng.random(14)
    values = 0.5 - (x - 0.4) ** 2 + noise * 0.2 * rng.standard_normal(14)
    known = [Curve.of({"x": each}, {4: value}) for each, value in zip(x.tolist(), values.tolist(), strict=True)]
    coordinates = UnitCoordinates.of({"x": FloatDistribution(0.0, 1.0)})
    found = [CurveModel(coordinates, known, horizon=4, expects_noise=each).noise for each in (False, True)]
    assert found[0] < found[1]
    assert (found[1] > 0.8) is (noise > 0.0)


def test_equal_rewards_and_repeated_configurations_are_no_obstacle() -> None:
    x = np.repeat(features(1, seed=0), 8, axis=0)
    points = CurvePoints(features=x, epochs=np.full(8, 4.0), curve=np.arange(8), rewards=np.zeros(8))
    mean, deviation = posterior(points).final(x)
    assert np.isfinite(mean).all()
    assert np.isfinite(deviation).all()


def test_where_a_trial_is_under_way_next_to_nothing_is_gained_again() -> None:
    coordinates = UnitCoordinates.of({name: FloatDistribution(0.0, 1.0) for name in ("a", "b", "c", "d")}, {})

    def reached(point: np.ndarray) -> float:
        return 2.0 - 3.0 * float(np.sum((point - 0.6) ** 2))

    def params(point: np.ndarray) -> dict[str, float]:
        return dict(zip(coordinates.names, point.tolist(), strict=True))

    rng = np.random.default_rng(1)
    known = [Curve.of(params(each), {5: 0.8 * reached(each), 10: reached(each)}) for each in rng.random((24, 4))]

    def gains(model: CurveModel, points: np.ndarray) -> np.ndarray:
        return np.exp(log_expected_improvement(*model.final(points), best=model.best))

    before, points = CurveModel(coordinates, known, horizon=10), rng.random((4000, 4))
    best = points[np.argmax(gains(before, points))][None]
    under_way = Curve.of(params(best[0]), {}, is_running=True)
    after = CurveModel(coordinates, [*known, under_way], horizon=10)
    assert gains(after, best)[0] < 0.1 * gains(before, best)[0]
    assert after.best == pytest.approx(before.final(best)[0][0])
    poor = Curve.of(params(np.zeros(4)), {}, is_running=True)
    assert CurveModel(coordinates, [*known, poor], horizon=10).best == before.best
