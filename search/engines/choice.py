"""Which engine places a study's workers."""

from __future__ import annotations

from enum import StrEnum

from search.engines.devices import device_slots
from search.engines.engine import Engine
from search.engines.local import LocalEngine
from search.errors import SearchError, did_you_mean
from search.study_definition import Resources


class EngineName(StrEnum):
    """What ``--engine`` knows."""

    LOCAL = "local"
    RAY = "ray"


def make_engine(name: str, *, devices: str, resources: Resources, ray_address: str | None) -> Engine:
    """Make an engine; no worker is started yet.

    Args:
        name: An `EngineName`.
        devices: ``--devices``, as the engine understands it.
        resources: What a trial runs on.
        ray_address: Of the Ray cluster (see `search.engines.ray_cluster.RayEngine`); None for any other engine.

    Raises:
        SearchError: If there is no such engine, or not the devices or the cluster asked for.
    """
    if name not in list(EngineName):
        raise SearchError(f"--engine: expected `local` or `ray`, but got {name!r}.{did_you_mean(name, EngineName)}")
    if name == EngineName.RAY:
        from search.engines.ray_cluster import RayEngine  # no other engine needs what it imports

        return RayEngine(
            address=ray_address,
            devices=devices,
            devices_per_trial=resources.devices_per_trial,
            trials_per_device=resources.trials_per_device,
        )
    if ray_address is not None:
        raise SearchError("--ray-address: only `--engine ray` has one.")
    return LocalEngine(device_slots(devices, trials_per_device=resources.trials_per_device))
