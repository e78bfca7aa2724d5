"""Which engine places a study's workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from search.engines.devices import plan_devices
from search.engines.engine import Engine
from search.engines.local import LocalEngine
from search.errors import SearchError, did_you_mean
from search.study_definition import Resources


class EngineName(StrEnum):
    """What ``--engine`` knows."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedEngine:
    """An engine on its devices.

    Attributes:
        engine: The engine; it has not started a worker yet.
        notice: What the user should know of the devices, empty normally.
    """

    engine: Engine
    notice: str


def place_engine(
    name: str,
    *,
    devices: str,
    resources: Resources,
    ray_address: str | None,
    notify: Callable[[str], None] = lambda text: None,
) -> PlacedEngine:
    """Make an engine for a study.

    Args:
        name: An `EngineName`.
        devices: ``--devices``, as the engine understands it.
        resources: What a trial runs on.
        ray_address: Of the Ray cluster (see `search.engines.ray_cluster.RayEngine`); None for any other engine.
        notify: Told, in words, what the user should know of the engine while it is polled.

    Raises:
        SearchError: If there is no such engine, or not the devices or the cluster asked for.
    """
    if name not in list(EngineName):
        raise SearchError(f"--engine: expected `local` or `ray`, but got {name!r}.{did_you_mean(name, EngineName)}")
    per_trial, per_device = resources.devices_per_trial, resources.first_trials_per_device
    if name == EngineName.RAY:
        if resources.trials_per_device == "auto":
            raise SearchError(
                "resources.trials_per_device: `auto` measures devices of this machine, but those of --engine ray are "
                "elsewhere; expected a number of trials."
            )
        from search.engines.ray_cluster import RayEngine  # no other engine needs what it imports

        engine = RayEngine(
            address=ray_address,
            devices=devices,
            devices_per_trial=per_trial,
            trials_per_device=per_device,
            notify=notify,
        )
        return PlacedEngine(engine=engine, notice="")
    if ray_address is not None:
        raise SearchError("--ray-address: only `--engine ray` has one.")
    plan = plan_devices(devices, devices_per_trial=per_trial, trials_per_device=per_device)
    return PlacedEngine(engine=LocalEngine(plan.slots), notice=plan.notice)
