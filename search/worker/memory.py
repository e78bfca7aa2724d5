"""What a worker knows of memory: how much there is, how much it holds, and when an error is for want of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

_TEXTS = (
    "out of memory",  # CUDA and ROCm
    "not enough memory",  # torch's allocators of the CPU
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",  # what cuDNN says when no workspace fits
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error, or what it came from, says that memory of the device or of the host was not enough."""
    return any(
        isinstance(each, MemoryError | torch.OutOfMemoryError)
        or (isinstance(each, RuntimeError) and any(text in str(each) for text in _TEXTS))
        for each in _chain(error)
    )


def resident_bytes() -> int:
    """Return the memory that this process holds, 0 where the system does not tell."""
    return _status_bytes("VmRSS")


def peak_resident_bytes() -> int:
    """Return the most memory that this process has held since `forget_peaks`, 0 where the system does not tell."""
    return _status_bytes("VmHWM")


def forget_peaks() -> None:
    """Begin to measure peaks anew, on the host and on the device."""
    with suppress(OSError):  # the peak of the process's whole life is measured then, which is no less
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def release_cached_memory() -> None:
    """Give back what torch keeps of the device's memory for later, as other workers may need it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def available_bytes() -> int:
    """Return the memory of the host that is left, also to this container; 0 where the system does not tell."""
    left = [_proc_bytes(Path("/proc/meminfo"), "MemAvailable"), *_cgroup_rest()]
    return min((each for each in left if each > 0), default=0)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def _status_bytes(name: str) -> int:
    return _proc_bytes(Path("/proc/self/status"), name)


def _proc_bytes(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def _cgroup_rest() -> list[int]:
    """What is left to the container, if it has a limit (control groups, version 2)."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return []
    return [int(limit) - used] if limit.isdecimal() else []
