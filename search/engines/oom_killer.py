"""Whether the system has killed processes for want of memory: a signal alone does not tell who sent it."""

from __future__ import annotations

from pathlib import Path

# The container's count (control groups, version 2), else the whole machine's.
_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))


def n_oom_kills() -> int:
    """Return how many processes the system's out-of-memory killer has killed, 0 where it does not tell."""
    for path in _COUNTERS:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0
