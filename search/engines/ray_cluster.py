"""Workers on the nodes of a Ray cluster; Ray itself lives in a process of its own (`search.engines.ray_driver`)."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Sequence

from search.engines.engine import EngineEvent, MessageReceived, WorkerLost
from search.engines.ray_frames import (
    CloseCluster,
    ClusterFound,
    ClusterMissing,
    HostLost,
    LineReceived,
    RoomWanted,
    SendLine,
    StartHost,
)
from search.engines.ray_process import DriverProcess
from search.engines.ray_room import RoomNotices
from search.engines.ray_slots import cluster_slots, wanted_devices
from search.errors import SearchError
from search.messages import FromWorker, Shutdown, ToWorker, decode, encode

_CONNECT_SECONDS = 120.0
_RECONNECT_SECONDS = 300.0
_LEAVE_SECONDS = 15.0


class RayEngine:
    """One Ray actor per slot, each with a worker process on its node; the workers are those of the local engine.

    A worker whose actor waits for room has just not spoken yet; the user is told so. If the connection to the cluster
    breaks, all workers are lost and the next ones are started over a new connection.

    Args:
        address: ``host:port`` of the cluster; None for ``RAY_ADDRESS``, else one that runs on this machine, else a new
            one on this machine, which listens on loopback only and ends with the engine. ``local`` is always a new one.
        devices: See `search.engines.ray_slots.wanted_devices`.
        devices_per_trial: >= 1; they are on one node.
        trials_per_device: >= 1.
        heartbeat_timeout_seconds: Silence after which a worker counts as hung and is killed.
        start_timeout_seconds: The same for a worker that has been placed and has not spoken yet.
        notify: Told, in words, that workers wait for room.

    Raises:
        SearchError: If Ray is not installed, the cluster is not there, or it has no devices of the wanted kind.
    """

    def __init__(
        self,
        *,
        address: str | None,
        devices: str,
        devices_per_trial: int,
        trials_per_device: int,
        heartbeat_timeout_seconds: float = 60.0,
        start_timeout_seconds: float = 300.0,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        wanted = wanted_devices(devices)
        if importlib.util.find_spec("ray") is None:
            raise SearchError("the engine `ray` needs Ray: pip install 'zeroin[ray]'")
        self._address = _checked(address or os.environ.get("RAY_ADDRESS") or "auto")
        self._options = {
            "own-cpus": str(wanted.count or 0),
            # Ray would give each process as many threads as its actor has CPUs.
            "threads": os.environ.get("OMP_NUM_THREADS", "1"),
            "working-directory": os.getcwd(),  # noqa: PTH109
            "heartbeat-timeout-seconds": str(heartbeat_timeout_seconds),
            "start-timeout-seconds": str(start_timeout_seconds),
        }
        self._trials_per_device = trials_per_device
        self._living: set[int] = set()
        self._spoken: set[int] = set()
        self._missing = ""
        self._n_started = 0
        self._driver = DriverProcess(address=self._address, options=self._options)
        try:
            found = self._wait_for_cluster()
            self._slots = cluster_slots(
                wanted,
                found.nodes,
                devices_per_trial=devices_per_trial,
                trials_per_device=trials_per_device,
                can_grow=not found.is_own,
            )
        except BaseException:
            self._driver.end(timeout_seconds=_LEAVE_SECONDS)
            raise
        self._address = "local" if found.is_own else found.address
        self._room = RoomNotices(self._slots)
        self._notify = notify

    @property
    def n_slots(self) -> int:
        """Workers that can run at the same time, once there is room for all."""
        return self._slots.n_slots

    def device(self, slot: int) -> str:
        """Name of the device of a slot; which of the cluster's it is, Ray decides when it places the worker."""
        return f"Ray device {slot // self._trials_per_device}"

    def share_devices(self, *, n_sharing: int) -> None:
        """Refuse: how many trials share a device is settled when Ray is asked for room.

        Raises:
            SearchError: Always.
        """
        raise SearchError(f"--engine ray cannot put {n_sharing} trials on each device later on.")

    def start_worker(self, *, slot: int) -> int:
        """Have Ray place a worker as soon as it has room, and return its number; all slots are alike."""
        if not self._driver.is_connected:
            options = {**self._options, "patience-seconds": str(_RECONNECT_SECONDS)}
            self._driver = DriverProcess(address=self._address, options=options)
        worker, self._n_started = self._n_started, self._n_started + 1
        self._living.add(worker)
        self._driver.send(
            StartHost(
                worker=worker,
                n_devices=self._slots.n_devices,
                n_gpus=self._slots.n_gpus,
                n_cpus=self._slots.n_cpus,
            )
        )
        return worker

    def send(self, worker: int, message: ToWorker) -> None:
        """Send a message; one to a worker that is gone is dropped."""
        if worker in self._living:
            self._driver.send(SendLine(worker=worker, line=encode(message).decode()))

    def poll(self, *, timeout_seconds: float) -> Sequence[EngineEvent]:
        """Wait at most that long for messages and deaths."""
        events: list[EngineEvent] = []
        frames = self._driver.receive(timeout_seconds=timeout_seconds)
        for frame in frames:
            if isinstance(frame, LineReceived) and frame.worker in self._living:
                self._spoken.add(frame.worker)
                events.append(_received(frame.worker, frame.line))
            elif isinstance(frame, HostLost) and frame.worker in self._living:
                self._living.discard(frame.worker)
                events.extend(_received(frame.worker, line) for line in frame.last_lines)
                events.append(WorkerLost(worker=frame.worker, reason=frame.reason, output=frame.output))
            elif isinstance(frame, ClusterMissing):
                self._missing = frame.reason
            elif isinstance(frame, RoomWanted):
                notice = self._room.notice(frame, now=time.monotonic())
                if notice:
                    self._notify(notice)
        if not self._driver.is_connected:
            events.extend(self._all_lost())
        return events

    def close(self, *, timeout_seconds: float) -> None:
        """Ask all workers to end, wait that long, then kill those that are left."""
        if timeout_seconds > 0 and self._driver.is_connected:
            for worker in self._living:
                self.send(worker, Shutdown())
            deadline = time.monotonic() + timeout_seconds
            # Those that wait for room, or import torch, have nothing to lose.
            while self._living & self._spoken and (left := deadline - time.monotonic()) > 0:
                self.poll(timeout_seconds=left)
        self._living.clear()
        self._driver.send(CloseCluster())
        self._driver.end(timeout_seconds=_LEAVE_SECONDS)

    def _all_lost(self) -> list[EngineEvent]:
        output = self._driver.end(timeout_seconds=0.0)
        missing, self._missing = self._missing, ""
        reason = f"the Ray cluster cannot be reached: {missing}" if missing else "the connection to Ray broke"
        lost: list[EngineEvent] = [
            WorkerLost(worker=worker, reason=reason, output=output) for worker in sorted(self._living)
        ]
        self._living.clear()
        return lost

    def _wait_for_cluster(self) -> ClusterFound:
        deadline = time.monotonic() + _CONNECT_SECONDS
        reason = f"no answer in {_CONNECT_SECONDS:.0f} s"
        while self._driver.is_connected and (left := deadline - time.monotonic()) > 0:
            for frame in self._driver.receive(timeout_seconds=left):
                if isinstance(frame, ClusterFound):
                    return frame
                if isinstance(frame, ClusterMissing):
                    reason = frame.reason
        if not self._driver.is_connected:
            reason = f"{reason}\n{self._driver.end(timeout_seconds=0.0)}".strip()
        raise SearchError(f"--ray-address: there is no Ray cluster to be had at {self._address!r}: {reason}")


def _received(worker: int, line: str) -> MessageReceived:
    message = decode(line.encode())
    assert isinstance(message, FromWorker)
    return MessageReceived(worker=worker, message=message)


def _checked(address: str) -> str:
    if address.startswith("ray://"):
        raise SearchError(
            f"--ray-address: {address!r} is for clients outside of the cluster; zeroin must run on one of its nodes "
            "(`ray job submit -- zeroin run …`) with `host:port`, or without any address."
        )
    return address
