"""A worker of another version than the coordinator is refused before it gets anything to do."""

from __future__ import annotations

import pytest
from virtual_engine import VirtualEngine

from search.coordinator.interruption import Interruption
from search.coordinator.workforce import Workforce
from search.engines.engine import EngineEvent, MessageReceived
from search.errors import SearchError
from search.messages import WorkerReady
from search.package_version import zeroin_version


class VersionedEngine(VirtualEngine):
    """Its workers have a version of zeroin."""

    def __init__(self, version: str) -> None:
        super().__init__()
        self.version = version

    def poll(self, *, timeout_seconds: float) -> list[EngineEvent]:
        ready = WorkerReady(pid=1, device="CPU", versions={"zeroin": self.version})
        return [MessageReceived(worker=event.worker, message=ready) for event in super().poll(timeout_seconds=0.0)]


def test_a_worker_of_the_same_version_is_taken() -> None:
    workforce = Workforce(VersionedEngine(zeroin_version()), interruption=Interruption())
    workforce.poll(timeout_seconds=0.0)
    assert workforce.idle


def test_a_worker_of_another_version_is_refused_with_both() -> None:
    workforce = Workforce(VersionedEngine("0.0.1.other"), interruption=Interruption())
    with pytest.raises(SearchError, match=rf"zeroin 0\.0\.1\.other, the coordinator {zeroin_version()}"):
        workforce.poll(timeout_seconds=0.0)
