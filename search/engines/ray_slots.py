"""How many trials a Ray cluster runs at a time, and what each takes of its node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.engines.ray_frames import NodeResources
from search.errors import SearchError

_EXPECTED = "expected `auto`, a count >= 1, `gpu`, `gpu:N`, `cpu` or `cpu:N`"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedDevices:
    """What ``--devices`` asks of a cluster.

    Attributes:
        kind: ``gpu``, ``cpu``, or None for GPUs if there are any, else CPUs.
        count: Devices, >= 1, or None for all there are.
    """

    kind: str | None
    count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSlots:
    """Equal slots on a cluster.

    Attributes:
        n_slots: Trials at a time, >= 1; may be more than there is room for now.
        n_devices: Devices of one trial, >= 1, all on one node.
        n_gpus: GPUs of one trial, a fraction where several share one.
        n_cpus: CPUs of one trial, likewise.
    """

    n_slots: int
    n_devices: int
    n_gpus: float
    n_cpus: float


def wanted_devices(devices: str) -> WantedDevices:
    """Read ``--devices`` as it is meant for a cluster.

    Args:
        devices: ``auto`` (every GPU, else every CPU), a count, ``gpu``, ``gpu:4``, ``cpu`` or ``cpu:4``.

    Raises:
        SearchError: If the text is none of these; a cluster's devices cannot be chosen by index.
    """
    kind, colon, count = devices.strip().lower().partition(":")
    if kind == "auto" and not colon:
        return WantedDevices(kind=None, count=None)
    if kind in ("gpu", "cpu"):
        return WantedDevices(kind=kind, count=_positive(count, devices) if colon else None)
    if "," in kind:
        raise SearchError(f"--devices: Ray itself chooses among a cluster's GPUs; {_EXPECTED}, but got {devices!r}.")
    return WantedDevices(kind=None, count=_positive(devices.strip(), devices))


def cluster_slots(
    wanted: WantedDevices,
    nodes: Sequence[NodeResources],
    *,
    devices_per_trial: int,
    trials_per_device: int,
    can_grow: bool = True,
) -> ClusterSlots:
    """Lay out the slots.

    Args:
        wanted: What to use. A count may be more than there is: workers then wait for nodes to join.
        nodes: Living nodes.
        devices_per_trial: >= 1; a trial's devices are all on one node.
        trials_per_device: >= 1.
        can_grow: Whether nodes may join.

    Raises:
        SearchError: If all devices are wanted and there is none, or not enough on any node; if more are wanted than
            there can be; or if trials are to share GPUs of which each needs several.
    """
    kind = wanted.kind or ("gpu" if any(node.n_gpus >= 1 for node in nodes) else "cpu")
    offered = [int(node.n_gpus if kind == "gpu" else node.n_cpus) for node in nodes]
    if kind == "gpu" and devices_per_trial > 1 and trials_per_device > 1:
        raise SearchError(
            "resources: Ray shares a GPU only among trials on one GPU each, but got "
            f"devices_per_trial {devices_per_trial} with trials_per_device {trials_per_device}."
        )
    if not can_grow and (wanted.count or 0) > sum(offered):
        raise SearchError(
            f"--devices: {wanted.count} {kind.upper()}s asked for, but this machine has {sum(offered)}; "
            "--ray-address names a cluster of several."
        )
    if wanted.count is not None:
        n_groups = wanted.count // devices_per_trial
        lack = f"--devices: a trial needs {devices_per_trial}, but got {wanted.count}."
    else:
        n_groups = sum(count // devices_per_trial for count in offered)
        lack = (
            f"no node of the Ray cluster has {devices_per_trial} {kind.upper()}s for a trial: its {len(nodes)} nodes "
            f"offer {', '.join(map(str, offered)) or 'nothing'}. `--devices {kind}:N` waits for nodes that join later."
        )
    if n_groups < 1:
        raise SearchError(lack)
    share = devices_per_trial / trials_per_device
    return ClusterSlots(
        n_slots=n_groups * trials_per_device,
        n_devices=devices_per_trial,
        n_gpus=share if kind == "gpu" else 0.0,
        n_cpus=share if kind == "cpu" else 0.0,
    )


def _positive(text: str, devices: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise SearchError(f"--devices: {_EXPECTED}, but got {devices!r}.")
    return int(text)
