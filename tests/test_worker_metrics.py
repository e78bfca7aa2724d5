"""What a trial in the worker reports of an epoch: losses, stale metrics, divergence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from small_training import Coordinator, Net, assembly, assignment
from torch import Tensor, nn

from search.messages import Action
from search.worker.training import train


def test_diverged_trial_reports_and_goes_on_until_told_to_stop(tmp_path: Path) -> None:
    made = assembly(model_args={"learning_rate": 1e30})
    coordinator = Coordinator({2: Action.STOP})
    ended = train(assignment(tmp_path, assembly=made), coordinator)
    assert coordinator.diverged() == [True, True]
    assert math.isnan(coordinator.reports[-1].metrics["train_loss"])
    assert (ended.n_epochs, ended.error) == (2, "")


class LogsNaN(Net):
    """Logs a metric that is NaN, as the precision of a class is that no sample has.

    Args:
        name: What it is called.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log(self.name, math.nan)


@pytest.mark.parametrize(("monitor", "diverged"), [("val_acc", False), ("val_precision_class7", True)])
def test_only_the_monitored_metric_can_make_a_trial_diverge(monitor: str, diverged: bool, tmp_path: Path) -> None:
    made = assembly(LogsNaN, model_args={"name": "val_precision_class7"}, monitor=monitor)
    coordinator = Coordinator()
    assert train(assignment(tmp_path, assembly=made, n_epochs=2), coordinator).error == ""
    assert coordinator.diverged(monitor) == [diverged, diverged]
    assert math.isnan(coordinator.reports[0].metrics["val_precision_class7"])


class LogsItsOwnLoss(Net):
    """Logs a ``train_loss`` of 0.25 whatever the loss is.

    Args:
        broken_batch: Index of the batch whose loss is infinite.
    """

    def __init__(self, broken_batch: int | None) -> None:
        super().__init__()
        self.broken_batch = broken_batch

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", 0.25, on_step=False, on_epoch=True)
        return loss / 0.0 if batch_idx == self.broken_batch else loss


@pytest.mark.parametrize("broken_batch", [None, 0, 3])
def test_train_loss_that_a_module_logs_is_kept_unless_a_step_was_not_finite(
    broken_batch: int | None, tmp_path: Path
) -> None:
    made = assembly(LogsItsOwnLoss, model_args={"broken_batch": broken_batch})
    coordinator = Coordinator()
    assert train(assignment(tmp_path, assembly=made, n_epochs=1), coordinator).error == ""
    (report,) = coordinator.reports
    if broken_batch is None:
        assert (report.metrics["train_loss"], coordinator.diverged()) == (0.25, [False])
    else:
        assert (math.isfinite(report.metrics["train_loss"]), coordinator.diverged()) == (False, [True])


class LossOfHalfPrecision(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return (10_000.0 + 0.0 * super().training_step(batch, batch_idx)).half()


def test_sum_of_losses_of_half_precision_does_not_overflow(tmp_path: Path) -> None:
    coordinator = Coordinator()
    assert train(assignment(tmp_path, LossOfHalfPrecision, n_epochs=1), coordinator).error == ""
    assert coordinator.reports[0].metrics["train_loss"] == 10_000.0
    assert coordinator.diverged() == [False]


class LogsSteps(Net):
    """Logs the last batch's loss under the epoch's name, and the accuracy both ways."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", loss)
        self.log("train_acc", (self(batch[0]).argmax(1) == batch[1]).float().mean(), on_step=True, on_epoch=True)
        return loss


def test_train_loss_is_the_epochs_mean_even_if_the_module_logs_the_last_batch(tmp_path: Path) -> None:
    runs = []
    for model in (Net, LogsSteps):
        coordinator = Coordinator()
        train(assignment(tmp_path, model, n_epochs=2), coordinator)
        runs.append(coordinator.comparable)
    assert "train_acc_step" not in runs[1][0]
    assert 0.0 <= runs[1][0]["train_acc"] <= 1.0
    assert runs[1][0]["train_loss"] == pytest.approx(runs[0][0]["train_loss"], rel=0.2)
    options: dict[str, Any] = {"trainer_args": {"accumulate_grad_batches": 4}}
    coordinator = Coordinator()
    train(assignment(tmp_path, assembly=assembly(**options), n_epochs=1), coordinator)
    assert coordinator.comparable[0]["train_loss"] == pytest.approx(runs[0][0]["train_loss"], rel=0.3)


def test_stale_validation_metrics_are_not_reported_again(tmp_path: Path) -> None:
    coordinator = Coordinator()
    made = assembly(trainer_args={"check_val_every_n_epoch": 2})
    train(assignment(tmp_path, assembly=made), coordinator)
    assert ["val_acc" in metrics for metrics in coordinator.comparable] == [False, True, False]
    assert ["gap_acc" in metrics for metrics in coordinator.comparable] == [False, True, False]


class BuildsLate(Net):
    """Builds one of its layers when the strategy is there."""

    def __init__(self) -> None:
        super().__init__()
        self.net[3] = nn.Identity()

    def configure_model(self) -> None:
        self.net[3] = nn.Linear(6, 2)


@pytest.mark.parametrize("model", [Net, BuildsLate])
def test_parameters_are_counted_where_a_study_asks_for_it(model: type, tmp_path: Path) -> None:
    for counts, expected in ((True, [50.0] * 3), (False, [None] * 3)):
        coordinator = Coordinator()
        directory = tmp_path / str(counts)
        directory.mkdir()
        ended = train(assignment(directory, assembly=assembly(model, counts_parameters=counts)), coordinator)
        assert ended.error == ""
        assert [report.metrics.get("n_parameters") for report in coordinator.reports] == expected


def test_gaps_have_the_sign_of_the_declared_direction(tmp_path: Path) -> None:
    gaps = []
    for name, declared in (("guessed", {}), ("declared", {"val_loss": True})):
        coordinator = Coordinator()
        directory = tmp_path / name
        directory.mkdir()
        train(assignment(directory, assembly=assembly(further_maximize=declared)), coordinator)
        gaps.append([report.metrics["gap_loss"] for report in coordinator.reports])
    assert gaps[1] == [-gap for gap in gaps[0]] != gaps[0]
