"""Constants of a study and hyperparameters of a trial, merged into what a worker builds."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_modules.callbacks.metric_names import N_PARAMETERS
from search.messages import ModelAssembly
from search.search_space import Hyperparameters, Value
from search.seeds import derived_seed
from search.study_definition import Direction, StudyDefinition
from search.trial import TrialRecord


def assemble(definition: StudyDefinition, hyperparameters: Hyperparameters) -> ModelAssembly:
    """Merge hyperparameters into the constants: ``model.a.b`` sets ``init_args["a"]["b"]`` of the model.

    Args:
        definition: The study.
        hyperparameters: Dotted names that begin with ``model.``, ``data.`` or ``trainer.``.
    """
    data_class = None if definition.data is None else definition.data.class_path
    data_args = {} if definition.data is None else definition.data.init_args
    objective = definition.objective
    return ModelAssembly(
        model_class=definition.model.class_path,
        model_args=_merged(definition.model.init_args, hyperparameters, prefix="model."),
        data_class=data_class,
        data_args=_merged(data_args, hyperparameters, prefix="data."),
        trainer_args=_merged(definition.trainer, hyperparameters, prefix="trainer."),
        monitor=objective.monitor,
        maximize=objective.direction is Direction.MAXIMIZE,
        data_seed=derived_seed(definition.seed, "data"),
        counts_parameters=N_PARAMETERS in objective.measured_metrics,
        further_maximize={each.monitor: each.direction is Direction.MAXIMIZE for each in objective.further},
    )


def model_args_of(definition: StudyDefinition, records: Sequence[TrialRecord]) -> tuple[Mapping[str, Any], ...]:
    """Return each trial's init arguments of the model; nothing if all have the same hyperparameters."""
    if all(each.hyperparameters == records[0].hyperparameters for each in records):
        return ()
    return tuple(assemble(definition, each.hyperparameters).model_args for each in records)


def _merged(constants: Mapping[str, Any], hyperparameters: Mapping[str, Value], *, prefix: str) -> dict[str, Any]:
    merged = copy.deepcopy(dict(constants))
    for name, value in hyperparameters.items():
        if name.startswith(prefix):
            *parents, last = name.removeprefix(prefix).split(".")
            place = merged
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
    return merged
