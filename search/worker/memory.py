"""What a worker knows of memory: how much there is, how much it holds, and when an error is for want of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from search.worker.process_group import own_gpu

_CONTEXT_BYTES = 600 << 20
"""What CUDA keeps on a GPU for each process that uses it, about."""

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


def release_cached_memory() -> None:
    """Give back what torch keeps of the device's memory for later, as other workers may need it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class MemoryMeter:
    """Measures what one training takes of its device's memory; on the CPU, of the host's.

    Attributes:
        free_bytes: Memory that was free when it began; 0 if it is not known, as are the others then.
        trial_bytes: What was taken of it at most until it ended.
        worker_bytes: What this process held when it began, as another worker would.
    """

    def __init__(self) -> None:
        self.free_bytes = 0
        self.trial_bytes = 0
        self.worker_bytes = 0

    def begin(self) -> None:
        """Begin to measure."""
        if torch.cuda.is_available():
            release_cached_memory()
            # Not the current one: before training that is the first one for every rank of a group.
            gpu = own_gpu()
            torch.cuda.reset_peak_memory_stats(gpu)
            self.free_bytes = torch.cuda.mem_get_info(gpu)[0]
            self.worker_bytes = _CONTEXT_BYTES
            return
        with suppress(OSError):  # else the peak of the process's whole life is measured, which is no less
            Path("/proc/self/clear_refs").write_text("5")
        self.free_bytes = _available_bytes()
        self.worker_bytes = resident_bytes()

    def end(self) -> None:
        """Stop measuring, with all that was made still there."""
        if torch.cuda.is_available():
            # Handles and kernels of CUDA's libraries are taken past torch's own allocator.
            gpu = own_gpu()
            beside = self.free_bytes - torch.cuda.mem_get_info(gpu)[0] - torch.cuda.memory_reserved(gpu)
            self.trial_bytes = torch.cuda.max_memory_reserved(gpu) + max(0, beside)
        else:
            self.trial_bytes = max(0, _status_bytes("VmHWM") - self.worker_bytes)


def _available_bytes() -> int:
    """Memory of the host that is left, also to this container; 0 where the system does not tell."""
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
