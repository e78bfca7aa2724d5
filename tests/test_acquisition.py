"""What `staged_gp` looks for, and which of many trials its model is shown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import erfcx

from search.samplers.acquisition import first_new, log_expected_improvement
from search.samplers.learning_curves import Curve, excerpt

KNOWN = np.array([[0.5, 0.25], [0.9, 0.75]])
IS_CHOICE = np.array([False, True])


@pytest.mark.parametrize("deviation", [0.1, 2.0])
def test_the_expected_improvement_is_that_of_a_normal_distribution_however_small(deviation: float) -> None:
    u = np.array([-100.0, -10.0, -6.0, -4.9, -2.0, 0.0])
    share = 1.0 + u * math.sqrt(math.pi / 2.0) * erfcx(-u / math.sqrt(2.0))
    expected = np.log(deviation * share) - 0.5 * u**2 - 0.5 * math.log(2.0 * math.pi)
    found = log_expected_improvement(3.0 + u * deviation, np.full(6, deviation), best=3.0)
    assert found[3:] == pytest.approx(expected[3:], abs=1e-6)
    assert found[:3] == pytest.approx(expected[:3], abs=0.1)  # its leading term
    assert log_expected_improvement(np.array([4.0]), np.array([1e-9]), best=3.0) == pytest.approx(0.0, abs=1e-6)


def test_a_point_is_new_where_a_number_is_far_or_a_choice_another_one() -> None:
    near, far, other = [0.51, 0.25], [0.6, 0.25], [0.51, 0.27]  # of fifty choices, the next one
    for points, expected in (([near], None), ([near, far], far), ([near, other], other)):
        found = first_new(np.array(points), KNOWN, is_choice=IS_CHOICE, distance=0.05)
        assert found is expected if expected is None else found is not None and found.tolist() == expected
    lacking = np.array([[math.nan, 0.75]])
    assert first_new(np.array([[0.3, 0.75]]), lacking, is_choice=IS_CHOICE, distance=0.05) is None


def test_of_many_curves_the_model_is_shown_the_running_the_best_and_the_latest() -> None:
    curves = [Curve(params={"x": n}, best={1: -float(n)}) for n in range(900)]
    running = [Curve(params={"x": n}, is_running=True) for n in range(400, 420)]
    known = [*curves[:400], *running, *curves[420:]]
    shown = [known[index].params["x"] for index in excerpt(known)]
    assert shown == sorted(shown)
    assert set(range(400, 420)) <= set(shown), "those that are running"
    assert set(range(150)) <= set(shown), "the best"
    assert set(range(750, 900)) <= set(shown), "the latest"
    assert len(shown) == 384
