"""Which device slots a machine offers, without importing torch."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from search.errors import SearchError
from search.messages import MPS_VARIABLE
from search.usable_cores import usable_cores

_MOST_CPU_SLOTS = 8
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_ORDER = "CUDA_DEVICE_ORDER"
_GPU = re.compile(r"\d+|(GPU|MIG)-.+")
_MIG_UUID = re.compile(r"\bMIG .*\(UUID: (MIG-[^)]+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSlot:
    """Where one worker runs: a process or, for trials on several devices, a group of processes.

    Attributes:
        label: In words (``GPU 0``, ``GPUs 0 and 1``, ``CPU slot 1``).
        environment: Variables that make the worker see its devices alone, as index 0 and following.
        n_ranks: Processes of the worker, one for each of its devices, >= 1.
    """

    label: str
    environment: Mapping[str, str]
    n_ranks: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlan:
    """How ``--devices`` was divided.

    Attributes:
        slots: Where workers run, at least one.
        unused: Labels of the devices that are left over, since they make no whole slot.
    """

    slots: tuple[DeviceSlot, ...]
    unused: tuple[str, ...] = ()

    @property
    def notice(self) -> str:
        """What the user should know, empty if every device is used."""
        if not self.unused:
            return ""
        n_ranks = self.slots[0].n_ranks
        return f"{', '.join(self.unused)} will stay unused: a trial takes {n_ranks} devices (devices_per_trial)."


def plan_devices(devices: str, *, devices_per_trial: int, trials_per_device: int) -> DevicePlan:
    """Turn ``--devices`` into slots.

    Args:
        devices: ``auto`` (every visible GPU, else one slot per usable CPU core, at most 8, and enough for one trial),
            a count (``4``: so many GPUs if there are any, else so many CPU slots), GPU indices or UUIDs, spelled as
            `visible_gpus` does (``0,2``; ``0,`` for one), ``cpu`` or ``cpu:4``. Apple's GPU counts as one, ``mps``.
        devices_per_trial: Neighbouring devices that make one slot, >= 1.
        trials_per_device: Slots on the same devices, >= 1.

    Raises:
        SearchError: If the text is none of these, names a GPU that is not there, gives a trial too few devices, or has
            it take several parts of divided GPUs.
    """
    chosen = _chosen(devices, devices_per_trial=devices_per_trial)
    n_groups = len(chosen) // devices_per_trial
    if n_groups == 0:
        raise SearchError(
            f"--devices: a trial takes {devices_per_trial} devices (resources.devices_per_trial), but {devices!r} gives"
            f" {len(chosen)}: {', '.join(each.label for each in chosen)}. Give it more,"
            f" or run it on CPU processes with --devices cpu:{devices_per_trial}."
        )
    if devices_per_trial > 1 and any(each.environment.get(_VISIBLE, "").startswith("MIG-") for each in chosen):
        raise SearchError(
            f"resources: a process sees one part of a divided GPU (MIG) at most, but got devices_per_trial "
            f"{devices_per_trial}. Give each trial one, or --devices with whole GPUs."
        )
    groups = [chosen[index * devices_per_trial : (index + 1) * devices_per_trial] for index in range(n_groups)]
    return DevicePlan(
        slots=tuple(_joined(group) for group in groups for _ in range(trials_per_device)),
        unused=tuple(each.label for each in chosen[n_groups * devices_per_trial :]),
    )


def _chosen(devices: str, *, devices_per_trial: int) -> list[DeviceSlot]:
    """Return the devices asked for, one slot each."""
    gpus = visible_gpus()
    text = devices.strip().lower()
    if text == "auto":
        return (_gpu_slots(gpus) if gpus else _mps_slots()) or _cpu_slots(_n_cpu_slots(devices_per_trial))
    if text == "cpu" or text.startswith("cpu:"):
        given = text.partition(":")[2]
        return _cpu_slots(_positive(given, devices) if given else _n_cpu_slots(devices_per_trial))
    if text == "mps" and _mps_slots():
        return _mps_slots()
    if "," in text:
        return _gpu_slots([_gpu(part.strip(), gpus, devices) for part in devices.split(",") if part.strip()])
    count = _positive(text, devices)
    offered = _gpu_slots(gpus) or _mps_slots() or _cpu_slots(count)
    if count > len(offered):
        labels = ", ".join(gpus) or "Apple's"
        raise SearchError(f"--devices: {count} GPUs asked for, but {len(offered)} are visible ({labels}).")
    return offered[:count]


def _n_cpu_slots(devices_per_trial: int) -> int:
    """How many CPU slots there are if nobody says: no core is left over, and one trial fits in any case."""
    n_cores = min(usable_cores(), _MOST_CPU_SLOTS)
    return max(devices_per_trial, n_cores - n_cores % devices_per_trial)


def _joined(group: Sequence[DeviceSlot]) -> DeviceSlot:
    """Make one slot of neighbouring devices; each of its processes sees all of them."""
    if len(group) == 1:
        return group[0]
    kinds = {"GPU": "GPUs", "CPU slot": "CPU slots"}
    kind, _, first = group[0].label.rpartition(" ")
    names = [first, *(each.label.rpartition(" ")[2] for each in group[1:])]
    visible = [each.environment[_VISIBLE] for each in group]
    return DeviceSlot(
        label=f"{kinds[kind]} {', '.join(names[:-1])} and {names[-1]}",
        environment={**group[0].environment, _VISIBLE: ",".join(filter(None, visible))},
        n_ranks=len(group),
    )


def visible_gpus() -> list[str]:
    """Return the visible GPUs: ``CUDA_VISIBLE_DEVICES``, else the indices of what ``nvidia-smi`` lists.

    A GPU that is divided (MIG) is the UUIDs of its parts instead, since its index would stand for the first of them.

    Raises:
        SearchError: If ``nvidia-smi`` does not answer.
    """
    visible = os.environ.get(_VISIBLE)
    if visible is not None:
        # CUDA as well stops at the first that it does not know (`-1`; a scheduler's `NoDevFiles`).
        return list(takewhile(_GPU.fullmatch, (part.strip() for part in visible.split(",") if part.strip())))
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SearchError(
            f"nvidia-smi does not answer ({error}). Set CUDA_VISIBLE_DEVICES to the GPUs to be used."
        ) from error
    return _listed_gpus(listed.stdout) if listed.returncode == 0 else []


def _listed_gpus(text: str) -> list[str]:
    gpus: list[list[str]] = []
    for line in text.splitlines():
        part = _MIG_UUID.search(line)
        if line.startswith("GPU "):
            gpus.append([])
        elif part is not None and gpus:
            gpus[-1].append(part[1])
    return [name for index, parts in enumerate(gpus) for name in parts or [str(index)]]


def _gpu_slots(gpus: list[str]) -> list[DeviceSlot]:
    # nvidia-smi counts along the bus, CUDA from the fastest GPU on unless it is told not to.
    order = {} if _VISIBLE in os.environ else {_ORDER: "PCI_BUS_ID"}
    return [DeviceSlot(label=f"GPU {gpu}", environment={_VISIBLE: gpu, **order}) for gpu in gpus]


def _mps_slots() -> list[DeviceSlot]:
    """Apple's GPU, where torch sees one; asking torch would mean to import it."""
    if sys.platform != "darwin" or platform.machine() != "arm64":
        return []
    return [DeviceSlot(label="Apple GPU", environment={MPS_VARIABLE: "1"})]


def _cpu_slots(count: int) -> list[DeviceSlot]:
    # An empty CUDA_VISIBLE_DEVICES keeps Lightning off the GPU when the user asked for CPU slots.
    return [DeviceSlot(label=f"CPU slot {index}", environment={_VISIBLE: ""}) for index in range(count)]


def _positive(text: str, devices: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise SearchError(
            f"--devices: expected `auto`, `cpu`, `cpu:N`, a count >= 1, or GPU indices like `0,2`, but got {devices!r}."
        )
    return int(text)


def _gpu(text: str, gpus: list[str], devices: str) -> str:
    if text in gpus:
        return text
    raise SearchError(
        f"--devices: GPU {text!r} of {devices!r} is not among the visible ones: {', '.join(gpus) or 'none'}."
    )
