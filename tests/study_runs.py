"""Running a study in this process, and hearing what the user is told."""

from __future__ import annotations

import time
from collections.abc import Callable

from search.coordinator.session import Session
from search.coordinator.stores import store_uris
from search.engines.engine import Engine
from search.observer import SilentObserver, StudyObserver
from search.paths import StateDirectory
from search.study_definition import StudyDefinition
from search.study_record import StudyForecast, StudyRecord


class Listener(SilentObserver):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.forecasts: list[StudyForecast] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def forecast_made(self, forecast: StudyForecast) -> None:
        self.forecasts.append(forecast)


def run_session(
    state: StateDirectory,
    engine: Engine,
    study: StudyDefinition,
    *,
    observer: StudyObserver | None = None,
    storage: str | None = None,
    tracking_uri: str | None = None,
    ends_search: bool = False,
    clock: Callable[[], float] = time.monotonic,
    check: bool = False,
) -> StudyRecord:
    """Run a study, or what is left of it, on an engine."""
    return Session(
        definition=study,
        uris=store_uris(state, study, storage=storage, tracking_uri=tracking_uri),
        state=state,
        engine=engine,
        observer=observer or SilentObserver(),
        ends_search=ends_search,
        clock=clock,
        check=check,
    ).run()
