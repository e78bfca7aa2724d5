"""Checking a study's model and data thoroughly, without creating anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from search.coordinator.interruption import interruption
from search.coordinator.preflight import check_study as checked_by_a_worker
from search.coordinator.preflight import middle_of
from search.coordinator.workforce import Workforce
from search.engines.choice import EngineName, place_engine
from search.studies_api.arguments import require_definition
from search.study_definition import StudyDefinition
from search.study_views import StudyCheck

_STRATEGY = "strategy"


def check_study(
    definition: StudyDefinition,
    *,
    devices: str = "auto",
    engine: str = EngineName.LOCAL,
    ray_address: str | None = None,
    notify: Callable[[str], None] = lambda text: None,
) -> StudyCheck:
    """Make all checks of a study's model and data on one device.

    Args:
        definition: The study.
        devices: As for `run_study`; of several, one is used, also where trials have several.
        engine: Likewise.
        ray_address: Likewise.
        notify: Told what the user should know meanwhile.

    Raises:
        StudyDefinitionError: If `definition` is none, or model or data cannot be built.
        StudyFailedError: If workers die over it again and again.
        StudyInterruptedError: If the user stopped it.
    """
    require_definition(definition)
    alone = replace(
        definition,
        resources=replace(definition.resources, devices_per_trial=1, trials_per_device=1),
        trainer={name: value for name, value in definition.trainer.items() if name != _STRATEGY},
    )
    placed = place_engine(engine, devices=devices, resources=alone.resources, ray_address=ray_address, notify=notify)
    try:
        with interruption() as interrupted:
            workforce = Workforce(placed.engine, interruption=interrupted, n_workers=1)
            result = checked_by_a_worker(alone, workforce, notify=notify)
            device = workforce.device
    finally:
        placed.engine.close(timeout_seconds=0.0)
    return StudyCheck(
        name=definition.study, findings=result.findings, hyperparameters=middle_of(definition), device=device
    )
