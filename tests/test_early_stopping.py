from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.early_stopping import divergence_reason, flat_reason
from search.study_definition import Direction, EarlyStopping

NAN = math.nan


def reason(
    curve: list[float], *, patience: int = 2, min_delta: float = 0.0, direction: Direction = Direction.MAXIMIZE
) -> str:
    rule = EarlyStopping(patience_epochs=patience, min_delta=min_delta)
    return flat_reason(curve, direction=direction, rule=rule)


@pytest.mark.parametrize(
    ("curve", "min_delta", "stops"),
    [
        ([], 0.0, False),
        ([0.5], 0.0, False),
        ([0.5, 0.5], 0.0, False),
        ([0.5, 0.5, 0.5], 0.0, True),
        ([0.5, 0.4, 0.3], 0.0, True),
        ([0.5, 0.4, 0.6], 0.0, False),
        ([0.50, 0.51, 0.52], 0.0, False),
        ([0.50, 0.51, 0.515], 0.02, True),  # creeping slower than min_delta counts as flat
        ([0.50, 0.51, 0.525], 0.02, False),  # but measured from the last improvement, not from the last epoch
        ([0.5, NAN, NAN], 0.0, True),
        ([NAN, NAN], 0.0, True),
        ([NAN, math.inf, 0.1], 0.0, False),
    ],
)
def test_patience_counts_epochs_since_the_last_improvement(
    curve: list[float], min_delta: float, *, stops: bool
) -> None:
    assert bool(reason(curve, min_delta=min_delta)) is stops
    assert bool(reason([-value for value in curve], min_delta=min_delta, direction=Direction.MINIMIZE)) is stops


def test_the_reason_names_its_figures() -> None:
    text = reason([0.5, 0.75, 0.7, 0.7], min_delta=0.01)
    for figure in ("0.01", "2 epochs", "patience 2", "0.75", "epoch 2"):
        assert figure in text


@given(st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=20), st.integers(1, 5))
def test_a_steadily_better_curve_is_never_flat(curve: list[float], patience: int) -> None:
    rising = sorted(set(curve))
    assert reason(rising, patience=patience) == ""
    assert reason([*rising, *[rising[-1]] * patience], patience=patience) != ""


@given(metrics=st.dictionaries(st.sampled_from(["train_loss", "val_acc", "val_loss", "gap_acc"]), st.floats()))
def test_divergence_is_a_function_of_train_loss_and_monitor_alone(metrics: dict[str, float]) -> None:
    watched = {name: metrics[name] for name in ("train_loss", "val_acc") if name in metrics}
    reason = divergence_reason(metrics, monitor="val_acc", epoch=3)
    assert bool(reason) == any(math.isnan(each) or math.isinf(each) for each in watched.values())
    assert not reason or any(reason == f"{name} is {value} after epoch 3" for name, value in watched.items())
