"""What `RayEngine` and the process that speaks to Ray for it say to each other: one JSON object a line."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

# ---- engine to driver ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StartHost:
    """Have Ray place the host of a worker; it may wait for room as long as it likes.

    Attributes:
        worker: The worker's number.
        n_devices: Devices of one trial, >= 1, all on one node.
        n_gpus: GPUs that it takes of its node, >= 0; a fraction where trials share one.
        n_cpus: CPUs that it takes of its node, >= 0.
    """

    worker: int
    n_devices: int
    n_gpus: float
    n_cpus: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SendLine:
    """Hand a line (an encoded message) to a worker."""

    worker: int
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseCluster:
    """Kill all workers and leave."""


# ---- driver to engine ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeResources:
    """What a living node of the cluster offers."""

    n_gpus: float
    n_cpus: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFound:
    """The driver is connected.

    Attributes:
        address: Of the cluster, in words.
        is_own: Whether the cluster was started for this engine, on this machine.
        nodes: Its living nodes.
    """

    address: str
    is_own: bool
    nodes: tuple[NodeResources, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterMissing:
    """There is no cluster to be had, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomWanted:
    """Some hosts wait for room; told every few seconds as long as they do, and once when none does any more.

    Attributes:
        n_waiting: Hosts that Ray has not placed yet, >= 0.
        n_workers: All hosts.
        waited_seconds: How long the one that waits longest has done so, >= 0.
        nodes: Living nodes of the cluster, whatever runs on them.
        n_free_gpus: GPUs that nobody uses, on all nodes together.
        n_free_cpus: CPUs likewise.
    """

    n_waiting: int
    n_workers: int
    waited_seconds: float
    nodes: tuple[NodeResources, ...]
    n_free_gpus: float
    n_free_cpus: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LineReceived:
    """A worker wrote a line (an encoded message)."""

    worker: int
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLost:
    """A worker is gone.

    Attributes:
        reason: Why, in words.
        output: The end of what it wrote outside of trials; empty if its node is gone too.
        last_lines: What it wrote at last; told together with its loss.
    """

    worker: int
    reason: str
    output: str
    last_lines: tuple[str, ...] = ()


ToDriver: TypeAlias = StartHost | SendLine | CloseCluster
FromDriver: TypeAlias = ClusterFound | ClusterMissing | RoomWanted | LineReceived | HostLost
Frame: TypeAlias = ToDriver | FromDriver

_TYPES: dict[str, type[Any]] = {cls.__name__: cls for cls in get_args(Frame)}


def encode_frame(frame: Frame) -> bytes:
    """Return the frame as one line of JSON with its newline."""
    return json.dumps({"type": type(frame).__name__, **dataclasses.asdict(frame)}).encode() + b"\n"


def decode_frame(line: bytes) -> Frame:
    """Return the frame in one line of JSON; both ends are of one installation, so that it always is one."""
    body = json.loads(line)
    cls = _TYPES[body.pop("type")]
    if "nodes" in body:
        body["nodes"] = tuple(NodeResources(**each) for each in body["nodes"])
    if "last_lines" in body:
        body["last_lines"] = tuple(body["last_lines"])
    frame: Frame = cls(**body)
    return frame
