"""Environment variables of a worker's processes: none but its own may tell torch and Lightning of ranks."""

from __future__ import annotations

from collections.abc import Mapping

LOOPBACK = "127.0.0.1"
"""Where the ranks of a group meet: they are on one machine."""

_FOREIGN_PREFIXES = ("TORCHELASTIC_", "OMPI_COMM_WORLD_", "PMI_", "PMIX_", "JSM_NAMESPACE_")
_FOREIGN_NAMES = frozenset(
    {
        *("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "ROLE_RANK", "ROLE_NAME"),
        *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"),
        *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_GTIDS", "SLURM_NTASKS", "SLURM_NPROCS"),
        *("SLURM_NTASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE"),
        *("MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED", "PL_SEED_WORKERS"),
    }
)


def without_ranks(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what schedulers and launchers say about ranks and seeds.

    Lightning and torch take such variables for orders, wherever they come from: the job that the coordinator runs in,
    or a shell that once launched something. What else they say (``SLURM_TMPDIR``) is for the user's code and stays.
    """
    return {
        name: value
        for name, value in environment.items()
        if name not in _FOREIGN_NAMES and not name.startswith(_FOREIGN_PREFIXES)
    }


def rank_environment(rank: int, *, n_ranks: int, group: str, port: int) -> dict[str, str]:
    """Return what makes a process rank `rank` of a group on one machine, as ``torchrun`` would set it.

    Args:
        rank: In ``range(n_ranks)``.
        n_ranks: Processes of the group, >= 2.
        group: Name of the group; two groups never share one.
        port: Where rank 0 listens for the others, on loopback.
    """
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(n_ranks),
        "LOCAL_WORLD_SIZE": str(n_ranks),
        "GROUP_RANK": "0",
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": group,
        "TORCHELASTIC_RESTART_COUNT": "0",
        # torch's own store would listen on every interface; rank 0 opens one that does not, before anything else.
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
