from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.training.learning_rate_schedules import (
    N_PLATEAUS,
    SHAPES,
    learning_rate_ratio,
    warmed_up_ratio,
)

shapes = st.sampled_from(SHAPES)
falling_shapes = st.sampled_from([shape for shape in SHAPES if shape != "constant"])
shapes_without_restarts = st.sampled_from([shape for shape in SHAPES if shape != "cyclic"])
shares = st.floats(0.0, 1.0)
decays = st.floats(1e-8, 1.0)


@given(shape=shapes, decay=decays)
def test_starts_at_the_initial_learning_rate(shape: str, decay: float) -> None:
    assert learning_rate_ratio(0.0, shape=shape, decay=decay) == 1.0


@given(shape=falling_shapes, decay=decays, beyond=st.floats(1.0, 10.0))
def test_ends_at_decay_exactly_and_stays_there(shape: str, decay: float, beyond: float) -> None:
    assert learning_rate_ratio(1.0, shape=shape, decay=decay) == decay
    assert learning_rate_ratio(beyond, shape=shape, decay=decay) == decay


@given(shape=shapes_without_restarts, decay=decays, one=shares, other=shares)
def test_never_rises_and_stays_within_its_ends(shape: str, decay: float, one: float, other: float) -> None:
    early, late = sorted((one, other))
    high, low = (learning_rate_ratio(progress, shape=shape, decay=decay) for progress in (early, late))
    assert decay <= high <= 1.0
    # Rounding may lift a value by an ulp or two where the curve is flat.
    assert low <= high * (1.0 + 1e-14)


@given(shape=falling_shapes, decay=st.floats(1e-8, 0.99))
def test_has_no_jump_at_the_end(shape: str, decay: float) -> None:
    just_before = learning_rate_ratio(1.0 - 1e-12, shape=shape, decay=decay)
    assert just_before == pytest.approx(decay, rel=1e-3)


@given(n_cycles=st.integers(1, 12), cycle=st.integers(0, 11), decay=decays, one=shares, other=shares)
def test_each_cycle_starts_at_the_initial_rate_falls_and_ends_at_decay(
    n_cycles: int, cycle: int, decay: float, one: float, other: float
) -> None:
    def ratio_within(share: float) -> float:
        progress = (cycle % n_cycles + share) / n_cycles
        return learning_rate_ratio(progress, shape="cyclic", decay=decay, n_cycles=n_cycles)

    early, late = sorted(0.999999 * share for share in (one, other))
    assert ratio_within(0.0) == 1.0
    assert decay <= ratio_within(late) <= ratio_within(early) * (1.0 + 1e-6) <= 1.0 + 1e-6
    assert ratio_within(1.0 - 1e-7) == pytest.approx(decay, abs=1e-9)


@given(n_steps_a_cycle=st.integers(1, 500), n_cycles=st.integers(1, 12))
def test_every_cycle_of_whole_steps_is_the_same(n_steps_a_cycle: int, n_cycles: int) -> None:
    n_steps = n_steps_a_cycle * n_cycles
    ratios = [
        learning_rate_ratio(step / n_steps, shape="cyclic", decay=0.01, n_cycles=n_cycles) for step in range(n_steps)
    ]
    first = ratios[:n_steps_a_cycle]
    assert first == [
        pytest.approx(learning_rate_ratio(step / n_steps_a_cycle, shape="cosine", decay=0.01))
        for step in range(n_steps_a_cycle)
    ]
    assert ratios == pytest.approx(first * n_cycles, abs=1e-9)


@given(shape=shapes, decay=decays, n_warmup_steps=st.integers(1, 50), n_after=st.integers(1, 50))
def test_warm_up_rises_in_equal_steps_to_where_the_schedule_starts(
    shape: str, decay: float, n_warmup_steps: int, n_after: int
) -> None:
    n_steps = n_warmup_steps + n_after

    def ratio(progress: float) -> float:
        return learning_rate_ratio(progress, shape=shape, decay=decay)

    ratios = [
        warmed_up_ratio(step, n_steps=n_steps, n_warmup_steps=n_warmup_steps, ratio=ratio)
        for step in range(n_steps + 1)
    ]
    rise = ratios[: n_warmup_steps + 1]
    assert 0.0 < rise[0] < 1.0 == rise[-1]
    assert [after - before for before, after in zip([0.0, *rise], rise, strict=False)] == pytest.approx(
        [1.0 / (n_warmup_steps + 1)] * (n_warmup_steps + 1)
    )
    assert ratios[n_warmup_steps:] == [ratio(step / n_after) for step in range(n_after + 1)]


@given(shape=shapes, decay=decays, step=st.integers(0, 40))
def test_without_warm_up_steps_the_schedule_is_what_it_was(shape: str, decay: float, step: int) -> None:
    def ratio(progress: float) -> float:
        return learning_rate_ratio(progress, shape=shape, decay=decay)

    assert warmed_up_ratio(step, n_steps=40, n_warmup_steps=0, ratio=ratio) == ratio(step / 40)


@given(progress=shares, decay=decays)
def test_constant_ignores_decay(progress: float, decay: float) -> None:
    assert learning_rate_ratio(progress, shape="constant", decay=decay) == 1.0


@given(shape=shapes, progress=shares)
def test_without_decay_every_shape_is_constant(shape: str, progress: float) -> None:
    assert learning_rate_ratio(progress, shape=shape, decay=1.0) == 1.0


@given(decay=decays, progress=st.floats(0.0, 0.5))
def test_exponential_falls_by_equal_factors_in_equal_times(decay: float, progress: float) -> None:
    first = learning_rate_ratio(progress, shape="exponential", decay=decay)
    second = learning_rate_ratio(2.0 * progress, shape="exponential", decay=decay)
    assert second == pytest.approx(first**2, rel=1e-9)


@given(decay=st.floats(1e-6, 0.999), progress=st.floats(0.0, 0.5))
def test_inverse_of_inverse_time_grows_linearly(decay: float, progress: float) -> None:
    first = 1.0 / learning_rate_ratio(progress, shape="inverse_time", decay=decay) - 1.0
    second = 1.0 / learning_rate_ratio(2.0 * progress, shape="inverse_time", decay=decay) - 1.0
    assert second == pytest.approx(2.0 * first, rel=1e-6, abs=1e-9)


@given(decay=decays, progress=shares)
def test_cosine_is_symmetric_about_its_middle(decay: float, progress: float) -> None:
    one = learning_rate_ratio(progress, shape="cosine", decay=decay)
    other = learning_rate_ratio(1.0 - progress, shape="cosine", decay=decay)
    assert one + other == pytest.approx(1.0 + decay)


@pytest.mark.parametrize("n_steps", [4, 12, 37, 384, 1000])
def test_step_has_plateaus_of_equal_length_and_factor(n_steps: int) -> None:
    ratios = [learning_rate_ratio(step / n_steps, shape="step", decay=1e-3) for step in range(n_steps)]
    levels = sorted(set(ratios), reverse=True)
    assert levels == pytest.approx([1.0, 0.1, 0.01, 0.001])
    lengths = [ratios.count(level) for level in levels]
    assert len(lengths) == N_PLATEAUS
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(
    ("progress", "shape", "decay", "message"),
    [
        (-0.1, "cosine", 0.1, r"`progress` .* but got -0\.1"),
        (math.nan, "cosine", 0.1, "`progress`"),
        (0.5, "cosin", 0.1, "`shape` .* but got 'cosin'.*Did you mean 'cosine'"),
        (0.5, "cosine", 0.0, r"`decay` must be a number in \(0, 1\], but got 0\.0"),
        (0.5, "cosine", 1.1, "`decay`"),
        (0.5, "constant", math.nan, "`decay`"),
    ],
)
def test_refuses_values_out_of_bounds(progress: float, shape: str, decay: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learning_rate_ratio(progress, shape=shape, decay=decay)


@pytest.mark.parametrize("n_cycles", [0, 1.5, True])
def test_refuses_a_number_of_cycles_that_is_none(n_cycles: int) -> None:
    with pytest.raises(ValueError, match="`n_cycles` must be an integer >= 1"):
        learning_rate_ratio(0.5, shape="cyclic", decay=0.1, n_cycles=n_cycles)
