from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trained_curves import record_of, trained

from search.diagnosis import Verdict, diagnose
from search.study_definition import Direction, Objective
from search.trial import EpochRecord, TrialRecord, TrialState

OBJECTIVE = Objective(monitor="val_acc", direction=Direction.MAXIMIZE, gap_weight=0.0, gap_tolerance=0.02)
CONSTANT = {"lr_schedule": "constant", "optimizer": "adamw"}


def verdict_on(record: TrialRecord, objective: Objective = OBJECTIVE) -> Verdict:
    found = diagnose(record, objective)
    assert found is not None
    return found.verdict


def curves(**by_name: list[float]) -> TrialRecord:
    n = len(next(iter(by_name.values())))
    return record_of(
        [
            EpochRecord(epoch=k + 1, metrics={name: values[k] for name, values in by_name.items()}, time_ms=k)
            for k in range(n)
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expected", "how"),
    [
        (Verdict.HEALTHY, {"learning_rate": 0.1, "dropout": 0.0}),
        (Verdict.RATE_TOO_HIGH, {**CONSTANT, "learning_rate": 3.0}),
        (Verdict.RATE_TOO_LOW, {**CONSTANT, "learning_rate": 1e-6}),
        (Verdict.RATE_TOO_LOW, {**CONSTANT, "learning_rate": 3e-5}),
        (Verdict.UNFINISHED, {**CONSTANT, "learning_rate": 5e-4, "dropout": 0.0}),
        (Verdict.DEAD, {**CONSTANT, "learning_rate": 0.01, "norm": "none", "biases": -100.0}),
        (Verdict.DEAD, {**CONSTANT, "norm": "none", "init_scheme": "normal", "init_gain": 0.001, "widths": (8, 8, 8)}),
        (
            Verdict.DECAYED_TOO_EARLY,
            {"optimizer": "adamw", "learning_rate": 1e-3, "lr_schedule": "exponential", "lr_decay": 1e-8},
        ),
        (Verdict.OVERFITTING, {**CONSTANT, "learning_rate": 0.01, "dropout": 0.0, "val_share": 0.96, "n_epochs": 40}),
        (Verdict.UNDERFITTING, {**CONSTANT, "learning_rate": 0.03, "widths": (1,), "n_epochs": 16}),
    ],
)
def test_names_what_a_training_truly_suffers_from(expected: Verdict, how: dict[str, Any]) -> None:
    record = trained(**how)
    found = diagnose(record, OBJECTIVE)
    assert found is not None
    assert found.verdict is expected, str(found)
    assert any(character.isdigit() for character in found.figures)


@pytest.mark.slow
def test_dropout_that_keeps_a_network_from_learning_is_told_from_a_slow_learning_rate() -> None:
    found = diagnose(trained(**CONSTANT, learning_rate=0.01, dropout=0.9, n_epochs=12), OBJECTIVE)
    assert found is not None
    assert found.verdict is Verdict.UNDERFITTING
    assert "dropout" in found.figures


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.INTERRUPTED, TrialState.FAILED])
def test_says_nothing_of_trials_that_are_not_over_or_failed(state: TrialState) -> None:
    record = replace(curves(train_loss=[1.0] * 5, val_loss=[1.0] * 5), state=state)
    assert diagnose(record, OBJECTIVE) is None


def test_a_diverged_trial_is_told_with_its_last_finite_loss() -> None:
    record = replace(curves(train_loss=[2.3, 40.0, math.nan]), state=TrialState.DIVERGED, reason="train_loss is nan")
    found = diagnose(record, OBJECTIVE)
    assert found is not None
    assert found.verdict is Verdict.DIVERGED
    assert "train_loss is nan" in found.figures
    assert "40" in found.figures


def test_three_epochs_are_too_short() -> None:
    assert verdict_on(curves(train_loss=[3.0, 2.0, 1.0], val_loss=[3.0, 2.0, 1.0])) is Verdict.TOO_SHORT


def test_says_nothing_without_losses() -> None:
    assert diagnose(curves(val_acc=[0.1, 0.2, 0.3, 0.4]), OBJECTIVE) is None
    assert diagnose(curves(train_loss=[4.0, 3.0, 2.0, 1.0]), OBJECTIVE) is None


def test_a_monitored_loss_is_enough() -> None:
    objective = replace(OBJECTIVE, monitor="valid/loss_total", direction=Direction.MINIMIZE)
    train = [1.0, 0.5, 0.3, 0.2, 0.1, 0.05]
    rising = {"valid/loss_total": [1.0, 0.6, 0.5, 0.6, 0.8, 1.0]}
    assert verdict_on(curves(train_loss=train, **rising), objective) is Verdict.OVERFITTING
    falling = {"valid/loss_total": [1.0, 0.6, 0.4, 0.3, 0.2, 0.1]}
    assert verdict_on(curves(train_loss=train, **falling), objective) is Verdict.HEALTHY


losses = st.lists(st.floats(0.0, 1e6) | st.just(math.nan) | st.just(math.inf), min_size=6, max_size=6)
shares = st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6)


@given(losses, losses, losses, shares, shares, losses)
def test_any_curves_give_a_verdict_or_none(
    running: list[float], train: list[float], val: list[float], seen: list[float], held: list[float], rate: list[float]
) -> None:
    record = curves(
        train_loss=running,
        train_eval_loss=train,
        val_loss=val,
        train_eval_acc=seen,
        val_acc=held,
        learning_rate=rate,
    )
    found = diagnose(record, OBJECTIVE)
    assert found is None or (found.verdict in Verdict and found.figures)
