"""Which device slots a machine offers, without importing torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from search.errors import SearchError

_MOST_CPU_SLOTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSlot:
    """Where one worker runs.

    Attributes:
        label: In words (``GPU 0``, ``CPU slot 1``).
        environment: Variables that make the worker see this device alone, as index 0.
    """

    label: str
    environment: Mapping[str, str]


def device_slots(devices: str, *, trials_per_device: int) -> tuple[DeviceSlot, ...]:
    """Turn ``--devices`` into slots.

    Args:
        devices: ``auto`` (every visible GPU, else one slot per usable CPU core, at most 8), a count (``4``: so many
            GPUs if there are any, else so many CPU slots), GPU indices (``0,2``; ``0,`` for one), ``cpu`` or ``cpu:4``.
        trials_per_device: Slots on each device, >= 1.

    Raises:
        SearchError: If the text is none of these, or names a GPU that is not there.
    """
    gpus = visible_gpus()
    text = devices.strip().lower()
    if text == "auto":
        chosen = _gpu_slots(gpus) if gpus else _cpu_slots(min(usable_cores(), _MOST_CPU_SLOTS))
    elif text == "cpu" or text.startswith("cpu:"):
        chosen = _cpu_slots(_positive(text.partition(":")[2] or str(min(usable_cores(), _MOST_CPU_SLOTS)), devices))
    elif "," in text:
        chosen = _gpu_slots([_gpu(part.strip(), gpus, devices) for part in text.split(",") if part.strip()])
    else:
        count = _positive(text, devices)
        if gpus and count > len(gpus):
            raise SearchError(f"--devices: {count} GPUs asked for, but {len(gpus)} are visible ({', '.join(gpus)}).")
        chosen = _gpu_slots(gpus[:count]) if gpus else _cpu_slots(count)
    return tuple(slot for slot in chosen for _ in range(trials_per_device))


def visible_gpus() -> list[str]:
    """Return the indices or UUIDs of the visible GPUs: ``CUDA_VISIBLE_DEVICES``, else what ``nvidia-smi`` lists."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SearchError(
            f"nvidia-smi does not answer ({error}). Set CUDA_VISIBLE_DEVICES to the GPUs to be used."
        ) from error
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(index) for index in range(len(lines))] if listed.returncode == 0 else []


def usable_cores() -> int:
    """Return how many CPU cores this process may use."""
    return len(os.sched_getaffinity(0))


def _gpu_slots(gpus: list[str]) -> list[DeviceSlot]:
    return [DeviceSlot(label=f"GPU {gpu}", environment={"CUDA_VISIBLE_DEVICES": gpu}) for gpu in gpus]


def _cpu_slots(count: int) -> list[DeviceSlot]:
    # An empty CUDA_VISIBLE_DEVICES keeps Lightning off the GPU when the user asked for CPU slots.
    return [DeviceSlot(label=f"CPU slot {index}", environment={"CUDA_VISIBLE_DEVICES": ""}) for index in range(count)]


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
