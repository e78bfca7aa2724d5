"""The group that this process is a rank of: who the others are, and where they meet."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from typing import Any

import torch.distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but its module has no __all__

_RENDEZVOUS_KEY = "zeroin.next_port"

_LOOPBACK = "127.0.0.1"

_servers: list[Any] = []
"""Kept for as long as the process lives: the other ranks may still read from an old one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessGroup:
    """This process's place among those that train one trial together.

    Attributes:
        rank: In ``range(n_ranks)``.
        n_ranks: >= 1, all on this machine.
    """

    rank: int
    n_ranks: int

    @property
    def is_one_process(self) -> bool:
        """Whether there are no others."""
        return self.n_ranks == 1


def this_group() -> ProcessGroup:
    """Return the group that the engine put this process in."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ProcessGroup(rank=0, n_ranks=1)
    return ProcessGroup(rank=int(os.environ["RANK"]), n_ranks=int(os.environ["WORLD_SIZE"]))


def own_gpu() -> int:
    """Return the index of this process's GPU among those that it sees, as strategies choose it."""
    return min(int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count() - 1)


def host_rendezvous(descriptor: int | None) -> None:
    """Let the ranks of the group, if this process is one, meet at rank 0.

    torch's own rendezvous would listen on every network interface; this one listens on loopback alone.

    Args:
        descriptor: Of rank 0: a listening socket on the group's port, owned from now on; None of the others.
    """
    if this_group().is_one_process:
        return
    _stay_on_loopback()
    if descriptor is not None:
        _serve(int(os.environ["MASTER_PORT"]), descriptor)


def host_group_of_one() -> None:
    """Let a strategy that wants a process group have one of this process alone; a second call does nothing."""
    if _servers:
        return
    listener = socket.create_server((_LOOPBACK, 0))
    port = listener.getsockname()[1]
    os.environ.update(MASTER_ADDR=_LOOPBACK, MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE="True")
    _stay_on_loopback()
    _serve(port, listener.detach())


def _stay_on_loopback() -> None:
    """Keep gloo and NCCL off the network; a user who says otherwise is obeyed."""
    interface = "lo0" if sys.platform == "darwin" else "lo"
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", interface)


def leave_process_group() -> None:
    """End the collective operations of this process, if there were any; every rank does so at the same time.

    What follows runs as in a process of its own. The ranks may meet again afterwards, at another port.
    """
    if not torch.distributed.is_initialized():
        return
    torch.distributed.destroy_process_group()
    old = TCPStore(_LOOPBACK, int(os.environ["MASTER_PORT"]), is_master=False)
    if this_group().rank == 0:
        listener = socket.create_server((_LOOPBACK, 0))
        port = listener.getsockname()[1]
        _serve(port, listener.detach())
        old.set(_RENDEZVOUS_KEY, str(port))
    os.environ["MASTER_PORT"] = old.get(_RENDEZVOUS_KEY).decode()


def _serve(port: int, descriptor: int) -> None:
    _servers.append(TCPStore(_LOOPBACK, port, is_master=True, wait_for_workers=False, master_listen_fd=descriptor))
