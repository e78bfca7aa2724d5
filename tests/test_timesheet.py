from __future__ import annotations

import pytest

from search.cli.device_line import device_line
from search.coordinator.timesheet import Timesheet
from search.device_use import DeviceUse, lost_share


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_every_second_of_every_worker_is_counted_under_what_it_did() -> None:
    clock = Clock()
    sheet = Timesheet(clock=clock)
    sheet.change(starting=2)
    clock.seconds += 10.0
    sheet.change(starting=-2, idle=2)
    clock.seconds += 1.0  # the study is being opened
    sheet.idle_for(DeviceUse.BETWEEN_TRIALS)
    clock.seconds += 0.5
    sheet.change(training=2, idle=-2)
    clock.seconds += 20.0
    sheet.waited(0.25)
    sheet.change(training=-1, idle=1)
    sheet.idle_for(DeviceUse.STAGE_BORDER)
    clock.seconds += 4.0
    assert sheet.seconds == {
        "starting": 22.0,
        "between_trials": 1.25,
        "training": 43.75,
        "stage_border": 4.0,
        "ending": 0.0,
    }
    assert sheet.occupied_seconds == 44.0


def test_what_is_lost_is_lost_at_borders_and_between_trials() -> None:
    seconds = {"training": 80.0, "stage_border": 4.0, "between_trials": 1.0, "starting": 5.0, "ending": 10.0}
    assert lost_share(seconds) == pytest.approx(0.05)
    assert lost_share({}) == 0.0
    assert device_line(seconds) == (
        "80.0 % training, 4.0 % lost at stage borders, 1.0 % lost between trials, 5.0 % starting up, "
        "10.0 % at the end, with fewer runs than devices"
    )
    assert device_line({}) == ""
