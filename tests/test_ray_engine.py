"""What is Ray's own: how a cluster's devices are laid out, what is refused, and a cluster that is nobody else's."""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from pathlib import Path
from unittest import mock

import psutil
import pytest
from command_line import of_workers, wait_for
from engine_conformance import ROOT, assembly, events_until, living_children, lost, message_in

from search.engines.choice import place_engine
from search.engines.engine import EngineEvent, WorkerLost
from search.engines.ray_cluster import RayEngine
from search.engines.ray_frames import NodeResources
from search.engines.ray_process import DriverProcess
from search.engines.ray_slots import ClusterSlots, WantedDevices, cluster_slots, wanted_devices
from search.errors import SearchError
from search.messages import Inspect, InspectionResult, WorkerReady
from search.study_definition import Resources

ONE_EACH = Resources(devices_per_trial=1, trials_per_device=1)
GPU_NODES = [NodeResources(n_gpus=3.0, n_cpus=8.0), NodeResources(n_gpus=2.0, n_cpus=8.0)]
CPU_NODES = [NodeResources(n_gpus=0.0, n_cpus=3.0), NodeResources(n_gpus=0.0, n_cpus=1.0)]


@pytest.mark.parametrize(
    ("devices", "wanted"),
    [
        ("auto", WantedDevices(kind=None, count=None)),
        ("4", WantedDevices(kind=None, count=4)),
        ("gpu", WantedDevices(kind="gpu", count=None)),
        ("GPU:2", WantedDevices(kind="gpu", count=2)),
        ("cpu:16", WantedDevices(kind="cpu", count=16)),
    ],
)
def test_devices_of_a_cluster_are_wanted_by_kind_and_count(devices: str, wanted: WantedDevices) -> None:
    assert wanted_devices(devices) == wanted


@pytest.mark.parametrize("devices", ["0,2", "gpu:", "cpu:0", "auto:2", "-1", "many", ""])
def test_other_wishes_are_refused(devices: str) -> None:
    with pytest.raises(SearchError, match=f"--devices: .*but got {devices!r}"):
        wanted_devices(devices)


@pytest.mark.parametrize(
    ("devices", "nodes", "per_trial", "per_device", "expected"),
    [
        ("auto", GPU_NODES, 1, 1, ClusterSlots(n_slots=5, n_devices=1, n_gpus=1.0, n_cpus=0.0)),
        ("auto", GPU_NODES, 1, 2, ClusterSlots(n_slots=10, n_devices=1, n_gpus=0.5, n_cpus=0.0)),
        ("auto", GPU_NODES, 2, 1, ClusterSlots(n_slots=2, n_devices=2, n_gpus=2.0, n_cpus=0.0)),  # none across nodes
        ("cpu", GPU_NODES, 1, 1, ClusterSlots(n_slots=16, n_devices=1, n_gpus=0.0, n_cpus=1.0)),
        ("auto", CPU_NODES, 1, 1, ClusterSlots(n_slots=4, n_devices=1, n_gpus=0.0, n_cpus=1.0)),
        ("2", CPU_NODES, 1, 1, ClusterSlots(n_slots=2, n_devices=1, n_gpus=0.0, n_cpus=1.0)),
        ("gpu:4", CPU_NODES, 2, 1, ClusterSlots(n_slots=2, n_devices=2, n_gpus=2.0, n_cpus=0.0)),  # they may join
    ],
)
def test_slots_follow_from_nodes_and_resources(
    devices: str, nodes: list[NodeResources], per_trial: int, per_device: int, expected: ClusterSlots
) -> None:
    wanted = wanted_devices(devices)
    assert cluster_slots(wanted, nodes, devices_per_trial=per_trial, trials_per_device=per_device) == expected


@pytest.mark.parametrize(("devices", "nodes"), [("auto", []), ("gpu", CPU_NODES), ("1", GPU_NODES)])
def test_a_cluster_without_room_for_a_single_trial_is_refused(devices: str, nodes: list[NodeResources]) -> None:
    with pytest.raises(SearchError, match=r"a trial"):
        cluster_slots(wanted_devices(devices), nodes, devices_per_trial=2, trials_per_device=1)


def test_what_ray_cannot_place_is_refused() -> None:
    with pytest.raises(SearchError, match="devices_per_trial 2 with trials_per_device 2"):
        cluster_slots(wanted_devices("gpu:4"), GPU_NODES, devices_per_trial=2, trials_per_device=2)
    with pytest.raises(SearchError, match="9 GPUs asked for, but this machine has 5"):
        cluster_slots(wanted_devices("9"), GPU_NODES, devices_per_trial=1, trials_per_device=1, can_grow=False)


def test_without_ray_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else found(name))
    with pytest.raises(SearchError, match=r"pip install 'zeroin\[ray\]'"):
        place_engine("ray", devices="auto", resources=ONE_EACH, ray_address=None)


def test_engines_and_addresses_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SearchError, match="expected `local` or `ray`, but got 'rai'"):
        place_engine("rai", devices="auto", resources=ONE_EACH, ray_address=None)
    with pytest.raises(SearchError, match="only `--engine ray`"):
        place_engine("local", devices="auto", resources=ONE_EACH, ray_address="10.0.0.1:6379")


needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'zeroin[ray]'")


@needs_ray
def test_an_address_for_clients_from_outside_is_refused() -> None:
    with pytest.raises(SearchError, match="ray job submit"):
        place_engine("ray", devices="auto", resources=ONE_EACH, ray_address="ray://head:10001")


@needs_ray
@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"no Ray cluster to be had at '127\.0\.0\.1:1'"):
        place_engine("ray", devices="auto", resources=ONE_EACH, ray_address="127.0.0.1:1")
    assert living_children() == []


@needs_ray
@pytest.mark.slow
def test_a_driver_that_tries_to_connect_again_ends_with_its_engine() -> None:
    seconds = dict.fromkeys(("heartbeat-timeout-seconds", "start-timeout-seconds", "patience-seconds"), "300")
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(ROOT)}):
        driver = DriverProcess(address="127.0.0.1:1", options={"threads": "1", "working-directory": "/", **seconds})
    began = time.monotonic()
    assert "ConnectionRefusedError" in driver.end(timeout_seconds=60.0)
    assert time.monotonic() - began < 30.0


@needs_ray
@pytest.mark.slow
def test_a_group_on_a_cluster_of_its_own_which_is_on_loopback_and_is_replaced_when_it_is_gone() -> None:
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(ROOT)}):
        engine = RayEngine(address="local", devices="cpu:2", devices_per_trial=2, trials_per_device=1)
        try:
            assert engine.n_slots == 1
            first = engine.start_worker(slot=0)
            (event,) = events_until(engine, 1)
            assert event.worker == first
            ready = message_in(event, WorkerReady)
            assert ready.device == "2 x CPU, 1 thread"
            assert listening_addresses() == {"127.0.0.1"}

            engine.send(first, Inspect(assembly=assembly(no_such_argument=1), searched=()))
            events: list[EngineEvent] = []
            while not events:
                events.extend(engine.poll(timeout_seconds=60.0))
            answer, end = events  # one poll tells both: nobody gives the group another trial
            assert "no_such_argument" in message_in(answer, InspectionResult).error
            assert isinstance(end, WorkerLost)

            second = engine.start_worker(slot=0)
            (event,) = events_until(engine, 1)
            ready = message_in(event, WorkerReady)
            group = of_workers(living_children())
            assert len(group) == 2
            actor = psutil.Process(ready.pid).parent()
            assert actor is not None
            actor.kill()
            _, alive = psutil.wait_procs(group, timeout=30)
            assert not alive  # workers end with their actor
            assert lost(engine, second).reason.startswith(f"worker on {socket.gethostname()}: ")

            third = engine.start_worker(slot=0)
            (driver,) = {*psutil.Process().children()} & {*living_children()}
            family = driver.children(recursive=True)
            driver.kill()
            assert lost(engine, third).reason == "the connection to Ray broke"
            _, alive = psutil.wait_procs(family, timeout=60)
            assert not alive
            assert engine.start_worker(slot=0) > third
        finally:
            engine.close(timeout_seconds=0.0)
        wait_for(lambda: living_children() == [], seconds=5.0)


def listening_addresses() -> set[str]:
    """Where processes that this one started can be reached."""
    return {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in living_children()
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
