"""When the user is told that workers wait for room on a Ray cluster, and in which words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from search.engines.ray_frames import RoomWanted
from search.engines.ray_slots import ClusterSlots

_BUSY_SECONDS = 30.0
"""A worker for which there should be room has been placed by then, unless others use it."""
_CHANGE_SECONDS = 20.0
_REMINDER_SECONDS = 600.0
_ROUNDING = 1e-6


class RoomNotices:
    """Tells once that there is too little room, again when the cluster has changed, and now and then if nothing runs.

    Args:
        slots: What each worker takes of its node.
    """

    def __init__(self, slots: ClusterSlots) -> None:
        self._slots = slots
        self._told: tuple[object, ...] = ()
        self._told_at = -math.inf

    def notice(self, wanted: RoomWanted, *, now: float) -> str:
        """Return what to tell the user now, empty for nothing.

        Args:
            wanted: The latest news of the cluster.
            now: Seconds from any origin, never going back.
        """
        if wanted.n_waiting == 0:
            self._told = ()
            return ""
        offered = [node.n_gpus if self._slots.n_gpus else node.n_cpus for node in wanted.nodes]
        n_room = sum(math.floor(each / self._needed + _ROUNDING) for each in offered)
        nothing_runs = wanted.n_waiting == wanted.n_workers
        state: tuple[object, ...]
        if wanted.waited_seconds >= _BUSY_SECONDS and n_room and (nothing_runs or n_room >= wanted.n_workers):
            state, text = ("busy", nothing_runs), self._busy(wanted, offered)
        elif n_room < wanted.n_workers:
            state, text = ("lacking", sorted(offered)), self._lacking(wanted, offered, n_room=n_room)
        else:
            return ""
        silent_seconds = now - self._told_at
        is_news = state != self._told and silent_seconds >= _CHANGE_SECONDS
        if not is_news and not (nothing_runs and silent_seconds >= _REMINDER_SECONDS):
            return ""
        self._told, self._told_at = state, now
        return text

    @property
    def _needed(self) -> float:
        return self._slots.n_gpus or self._slots.n_cpus

    def _lacking(self, wanted: RoomWanted, offered: Sequence[float], *, n_room: int) -> str:
        has = f"the Ray cluster has {self._listed(offered)}"
        if n_room == 0:
            return (
                f"no trial can start yet: each takes {self._share()}, but {has}. Waiting for nodes to join; "
                "Ctrl-C stops."
            )
        return (
            f"{wanted.n_workers} trials at a time were asked for, each on {self._share()}, but {has}: room for "
            f"{n_room}. The others start as nodes join."
        )

    def _busy(self, wanted: RoomWanted, offered: Sequence[float]) -> str:
        free = wanted.n_free_gpus if self._slots.n_gpus else wanted.n_free_cpus
        return (
            f"{wanted.n_waiting} of {wanted.n_workers} workers wait for a place on the Ray cluster: each takes "
            f"{self._share()}, and the cluster has {self._listed(offered)}, of which {free:.4g} in all are free. They "
            "start as room is freed or nodes join; Ctrl-C stops."
        )

    def _share(self) -> str:
        where = " of one node" if self._slots.n_devices > 1 else ""
        return f"{self._devices(self._needed)}{where}"

    def _listed(self, offered: Sequence[float]) -> str:
        nodes = sorted(Counter(offered).items(), reverse=True)
        words = [f"{n} {'node' if n == 1 else 'nodes'} with {self._devices(each)}" for each, n in nodes]
        return ", ".join(words) or "no node"

    def _devices(self, number: float) -> str:
        kind = "GPU" if self._slots.n_gpus else "CPU"
        return f"{f'{number:.4g}' if number else 'no'} {kind}{'s' if number > 1 or not number else ''}"
