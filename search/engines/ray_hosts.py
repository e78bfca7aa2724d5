"""The actors of a driver: started on a Ray cluster, listened to, given up when they fall silent."""

from __future__ import annotations

import argparse
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from search.engines.ray_connection import living_nodes
from search.engines.ray_frames import (
    FromDriver,
    HostLost,
    LineReceived,
    RoomWanted,
    SendLine,
    StartHost,
    decode_frame,
    encode_frame,
)
from search.package_version import zeroin_version

_WAIT_SECONDS = 0.2
_HOST_POLL_SECONDS = 5.0
_CLOSE_SECONDS = 3.0
_MOST_RESTARTS = 5
_ROOM_SECONDS = 2.0
_EVENTS, _SEND = "events", "send"


@dataclass(slots=True, kw_only=True)
class _Host:
    """An actor, and what the driver knows of it; `answered_at` is None while Ray has no room for it."""

    order: StartHost
    actor: Any
    group: PlacementGroup | None
    name: str = ""
    n_sent: int = 0
    n_restarts: int = 0
    has_spoken: bool = False
    ordered_at: float = field(default_factory=time.monotonic)
    answered_at: float | None = None


class Hosts:
    """Carries frames between the engine and the actors: one thread reads the engine's, the main one waits for Ray.

    Args:
        connection: To the engine.
        arguments: Of the driver's command line.
        actor: Class of the actors, which has the methods of `search.engines.ray_host.WorkerHost`.
    """

    def __init__(self, connection: socket.socket, arguments: argparse.Namespace, *, actor: type[Any]) -> None:
        self._connection = connection
        self._arguments = arguments
        self._actor_class = ray.remote(concurrency_groups={_EVENTS: 1, _SEND: 1})(actor)
        self._changing = threading.RLock()
        self._hosts: dict[int, _Host] = {}
        self._calls: dict[Any, int] = {}
        self._is_closing = threading.Event()
        self._waited_at = time.monotonic()
        self._room_told_at = time.monotonic()
        self._n_waiting = 0

    def run(self) -> None:
        """Work until the engine closes or its end of the line does."""
        threading.Thread(target=self._read, name="engine-reader", daemon=True).start()
        while not self._is_closing.is_set():
            with self._changing:
                calls = list(self._calls)
            if not calls:
                self._is_closing.wait(_WAIT_SECONDS)
                continue
            ready, _ = ray.wait(calls, num_returns=1, timeout=_WAIT_SECONDS)
            if ready:
                ready, _ = ray.wait(calls, num_returns=len(calls), timeout=0)
            for call in ready:
                self._answered(call)
            self._give_up_the_silent()
            if time.monotonic() - self._room_told_at > _ROOM_SECONDS:
                self._tell_of_room()

    def close(self) -> None:
        """Kill the workers, then their actors."""
        with self._changing:
            closing = [
                host.actor.close.options(concurrency_group=_SEND).remote()
                for host in self._hosts.values()
                if host.answered_at is not None
            ]
            if closing:
                ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_SECONDS)
            for worker in tuple(self._hosts):
                self._forget(worker)

    def _read(self) -> None:
        try:
            with self._connection.makefile("rb") as lines:
                for line in lines:
                    frame = decode_frame(line)
                    if isinstance(frame, StartHost):
                        self._start(frame)
                    elif isinstance(frame, SendLine):
                        self._pass_on(frame)
                    else:
                        break
        finally:
            self._is_closing.set()

    def _start(self, order: StartHost, *, n_restarts: int = 0) -> None:
        options: dict[str, Any] = {"num_gpus": order.n_gpus, "num_cpus": order.n_cpus}
        group = None
        if order.n_devices > 1:
            bundle = {name: n for name, n in (("GPU", order.n_gpus), ("CPU", order.n_cpus)) if n}
            group = placement_group([bundle], strategy="STRICT_PACK")
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
        actor = self._actor_class.options(**options).remote(
            version=zeroin_version(),
            n_devices=order.n_devices,
            environment=self._environment(order),
            working_directory=self._arguments.working_directory,
            heartbeat_timeout_seconds=self._arguments.heartbeat_timeout_seconds,
            start_timeout_seconds=self._arguments.start_timeout_seconds,
        )
        with self._changing:
            host = _Host(order=order, actor=actor, group=group, n_restarts=n_restarts)
            self._hosts[order.worker] = host
            self._listen(host)

    def _environment(self, order: StartHost) -> dict[str, str]:
        environment = {"OMP_NUM_THREADS": self._arguments.threads}
        # An empty list keeps Lightning off the GPU where CPU slots were asked for; otherwise Ray sets the variable.
        return environment if order.n_gpus else {**environment, "CUDA_VISIBLE_DEVICES": ""}

    def _listen(self, host: _Host) -> None:
        call = host.actor.events.options(concurrency_group=_EVENTS).remote(_HOST_POLL_SECONDS)
        self._calls[call] = host.order.worker

    def _pass_on(self, frame: SendLine) -> None:
        with self._changing:
            host = self._hosts.get(frame.worker)
            if host is not None:
                host.actor.send.options(concurrency_group=_SEND).remote(host.n_sent, frame.line)
                host.n_sent += 1

    def _answered(self, call: Any) -> None:
        with self._changing:
            worker = self._calls.pop(call, None)
            if worker is None:
                return
            host = self._hosts[worker]
            try:
                news = ray.get(call)
            except RayError as error:
                self._on_actor_lost(host, error)
                return
            host.name, host.answered_at = news["host"], time.monotonic()
            if "refused" in news:
                self._lost(host, reason=news["refused"], output="")
                return
            if news["lost"] is not None:
                reason = f"{news['lost']} on {host.name}"
                self._lost(host, reason=reason, output=news["output"], last_lines=news["lines"])
                return
            for line in news["lines"]:
                host.has_spoken = True
                self._tell(LineReceived(worker=worker, line=line))
            self._listen(host)

    def _on_actor_lost(self, host: _Host, error: RayError) -> None:
        """Start a host elsewhere if its node went before the worker spoke: nobody has been told of it yet."""
        failed_by_itself = not isinstance(error, RayActorError) or error.actor_init_failed
        if failed_by_itself or host.has_spoken or host.n_restarts >= _MOST_RESTARTS:
            where = f" on {host.name}" if host.name else ""
            self._lost(host, reason=f"worker{where}: {_brief(error)}", output="")
            return
        self._forget(host.order.worker)
        self._start(host.order, n_restarts=host.n_restarts + 1)

    def _give_up_the_silent(self) -> None:
        now = time.monotonic()
        limit = self._arguments.heartbeat_timeout_seconds + _HOST_POLL_SECONDS
        with self._changing:
            if now - self._waited_at > limit / 2:  # this process was suspended: let silence count anew
                for host in self._hosts.values():
                    host.answered_at = None if host.answered_at is None else now
            self._waited_at = now
            for host in tuple(self._hosts.values()):
                if host.answered_at is not None and now - host.answered_at > limit:
                    self._lost(
                        host, reason=f"worker on {host.name}: its node does not answer for {limit:.0f} s", output=""
                    )

    def _tell_of_room(self) -> None:
        """Tell the engine of hosts that wait to be placed, if there are any or were when it was told last."""
        with self._changing:
            n_workers = len(self._hosts)
            ordered_at = [host.ordered_at for host in self._hosts.values() if host.answered_at is None]
        now = self._room_told_at = time.monotonic()
        n_known, self._n_waiting = self._n_waiting, len(ordered_at)
        if not n_known and not ordered_at:
            return
        try:
            nodes, free = living_nodes(), ray.available_resources()
        except Exception:  # the cluster's head does not answer now, which other calls tell if it stays so
            return
        self._tell(
            RoomWanted(
                n_waiting=len(ordered_at),
                n_workers=n_workers,
                waited_seconds=now - min(ordered_at, default=now),
                nodes=nodes,
                n_free_gpus=free.get("GPU", 0.0),
                n_free_cpus=free.get("CPU", 0.0),
            )
        )

    def _lost(self, host: _Host, *, reason: str, output: str, last_lines: Sequence[str] = ()) -> None:
        worker = host.order.worker
        self._forget(worker)
        self._tell(HostLost(worker=worker, reason=reason, output=output, last_lines=tuple(last_lines)))

    def _forget(self, worker: int) -> None:
        host = self._hosts.pop(worker)
        self._calls = {call: each for call, each in self._calls.items() if each != worker}
        ray.kill(host.actor)
        if host.group is not None:
            remove_placement_group(host.group)

    def _tell(self, frame: FromDriver) -> None:
        try:
            self._connection.sendall(encode_frame(frame))
        except OSError:
            self._is_closing.set()


def _brief(error: RayError) -> str:
    """Return the line of Ray's page-long message that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:500]
