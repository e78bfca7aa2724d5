"""What a study has spent, over all its sessions, stored as it goes; a kill loses seconds of it, but no epoch."""

from __future__ import annotations

from collections.abc import Iterable

from search.coordinator.timesheet import Timesheet
from search.forecast import Pace, measured_pace
from search.storage import StoredStudy
from search.study_record import Spent
from search.trial import TrialRecord

_STORED_EVERY_SECONDS = 5.0


class Ledger:
    """Counts wall time, the time that workers are occupied, and epochs.

    Args:
        study: Where the account is kept.
        timesheet: What the workers' time goes into in this session; its clock is the ledger's.
        n_workers: Trials that run at a time in this session, >= 1.
        devices_per_worker: Devices of one of them, > 0; a fraction if trials share a device.
        logged: What the epoch logs have of earlier sessions, of which a kill may have lost the account.
    """

    def __init__(
        self,
        study: StoredStudy,
        *,
        timesheet: Timesheet,
        n_workers: int,
        devices_per_worker: float,
        logged: Iterable[TrialRecord],
    ) -> None:
        self._study = study
        self._timesheet = timesheet
        self._n_workers = n_workers
        self._devices_per_worker = devices_per_worker
        self._earlier = study.spent.with_logged(logged, devices_per_worker=devices_per_worker)
        self._earlier_use = study.device_use
        self._began_at = self._stored_at = timesheet.now
        self._epoch_seconds = 0.0
        self._n_epochs = 0
        self._n_runs = 0

    def run_begun(self) -> None:
        """Note that a worker has taken a training run."""
        self._n_runs += 1

    def epoch_trained(self, *, seconds: float) -> None:
        """Note one more epoch, and what its worker measured for it; NaN if it did not."""
        self._n_epochs += 1
        if seconds > 0.0:
            self._epoch_seconds += seconds

    def store_in_time(self) -> None:
        """Write the account down if that was long ago."""
        if self._timesheet.now - self._stored_at >= _STORED_EVERY_SECONDS:
            self.store()

    def store(self) -> None:
        """Write the account down."""
        self._stored_at = self._timesheet.now
        self._study.record_spent(self.spent, device_use=self.device_use)

    @property
    def spent(self) -> Spent:
        """What the study has cost up to this moment."""
        worker_seconds = self._timesheet.occupied_seconds
        return Spent(
            wall_seconds=self._earlier.wall_seconds + self._timesheet.now - self._began_at,
            worker_seconds=self._earlier.worker_seconds + worker_seconds,
            device_seconds=self._earlier.device_seconds + worker_seconds * self._devices_per_worker,
            epoch_seconds=self._earlier.epoch_seconds + self._epoch_seconds,
            n_epochs=self._earlier.n_epochs + self._n_epochs,
            n_runs=self._earlier.n_runs + self._n_runs,
            n_workers=self._n_workers,
        )

    @property
    def device_use(self) -> dict[str, float]:
        """Worker seconds by `search.device_use.DeviceUse` up to this moment, those of starting workers included."""
        return {use: self._earlier_use.get(use, 0.0) + seconds for use, seconds in self._timesheet.seconds.items()}

    @property
    def pace(self) -> Pace:
        """How fast the study trains, by all that it has trained so far; unknown before its first epoch has ended."""
        return measured_pace(
            self.spent,
            n_occupied=self._timesheet.n_training,
            n_workers=self._n_workers,
            devices_per_worker=self._devices_per_worker,
        )
