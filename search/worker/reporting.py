"""Report every epoch to the coordinator and do what it decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytorch_lightning import Callback, Trainer

from lightning_modules.callbacks.generalization_gap import GeneralizationGap
from lightning_modules.callbacks.rank_reduction import gathered
from search.messages import Action, EpochReport
from search.worker.connection import Coordinator
from search.worker.epoch_metrics import EpochMetricsCollector

_STATE_KEY = "zeroin.epoch_reports"


class EpochReporting(Callback):
    """Sends an epoch's report, has the checkpoint written while the coordinator thinks, then waits for its decision.

    The reports are part of the checkpoint, so that those which a dead coordinator lost can be sent again.

    Args:
        trial_key: The trial.
        n_epochs: Training stops after that many epochs, whatever is decided.
        coordinator: Gets the reports.
        collector: Has the epoch's metrics.
        gap: Has the gap's, or None without validation.
        also: Returns what else is reported with an epoch.
        reports: Of the epochs that a checkpoint holds.

    Attributes:
        reports: Of all epochs so far.
        last_action: The last decision, None before the first.
    """

    def __init__(
        self,
        *,
        trial_key: str,
        n_epochs: int,
        coordinator: Coordinator,
        collector: EpochMetricsCollector,
        gap: GeneralizationGap | None,
        also: Callable[[], Mapping[str, float]],
        reports: Sequence[EpochReport],
    ) -> None:
        self.reports = list(reports)
        self.last_action: Action | None = None
        self._trial_key = trial_key
        self._n_epochs = n_epochs
        self._coordinator = coordinator
        self._collector = collector
        self._gap = gap
        self._also = also

    @property
    def state_key(self) -> str:
        """Where the checkpoint keeps the reports."""
        return _STATE_KEY

    def state_dict(self) -> dict[str, Any]:
        """Return the reports as plain data."""
        return {"reports": [{"epoch": report.epoch, "metrics": dict(report.metrics)} for report in self.reports]}

    def send_report(self, trainer: Trainer) -> None:
        """Report the epoch that is over now."""
        epoch = self._collector.collect(trainer)
        metrics = {**epoch.values, **({} if self._gap is None else self._gap.metrics), **self._also()}
        report = EpochReport(trial_key=self._trial_key, epoch=trainer.current_epoch, metrics=metrics)
        self.reports.append(report)
        self._coordinator.send(report)
        # A module that stops itself on one rank only would have the others wait for it in the next epoch.
        if any(gathered(trainer, trainer.should_stop)):
            trainer.should_stop = True

    def obey(self, trainer: Trainer) -> None:
        """Wait for the decision on it and stop the trainer if that is what it says, or if the trial is complete."""
        self.last_action = self._coordinator.wait_for_decision(self._trial_key, trainer.current_epoch)
        if self.last_action is not Action.CONTINUE or trainer.current_epoch >= self._n_epochs:
            trainer.should_stop = True


def reports_in(checkpoint: dict[str, Any], *, trial_key: str) -> list[EpochReport]:
    """Return the reports that a checkpoint holds.

    Raises:
        KeyError: If it holds none: it is no checkpoint of a trial.
    """
    kept = checkpoint["callbacks"][_STATE_KEY]["reports"]
    return [EpochReport(trial_key=trial_key, epoch=each["epoch"], metrics=dict(each["metrics"])) for each in kept]
