"""Searches by real training: the tasks, and the methods on the search space of the shipped study `digits`.

All methods train by the same worker code, one epoch after another, and choose from the same space, which in one task
has wider ranges; only the search differs. The metric is the validation accuracy.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna_methods
from epoch_meter import BudgetSpentError
from quality_surface import SurfaceError
from real_trainings import RealTrainings
from zeroin_method import plan, run_session, variant

from search.coordinator.assembly import assemble
from search.messages import TrialAssignment
from search.search_space import Choices, SearchSpace, Value
from search.seeds import derived_seed
from search.study_definition import StudyDefinition
from search.study_file import built_in_studies, definition_from_plain, definition_to_plain, load_study_file

MONITOR = "val_acc"
N_EPOCHS = 24
"""Epochs of a full training, as in the study `digits`."""

_OURS = "zeroin"
_PEERS: Mapping[str, tuple[str, str]] = {
    "random": ("RandomSampler", ""),
    "tpe": ("TPESampler", ""),
    "tpe-hyperband": ("TPESampler", "hyperband"),
    "gp": ("GPSampler", ""),
}
"""Optuna's sampler, and the pruner of `optuna_methods`."""

_SMALL_NET = {"in_channels": 1, "n_classes": 10, "widths": [16, 32]}

_NOISY_DIGITS = {"n_train": 200, "label_noise": 0.2, "batch_size": 32}

_WIDE_RANGES = {
    "model.learning_rate": {"log": [1.0e-8, 10.0], "limits": [1.0e-8, 10.0]},
    "model.lr_decay": {"log": [1.0e-6, 1.0]},
    "model.init_gain": {"log": [1.0e-2, 100.0]},
    "model.weight_decay": {"log": [1.0e-10, 10.0]},
}
"""Four to eleven decades where the shipped study has two to six: most trials learn nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    data_class: str
    data_args: Mapping[str, Any]
    model_args: Mapping[str, Any]
    ranges: Mapping[str, Any] = field(default_factory=dict)  # in place of the shipped study's


TASKS: Mapping[str, _Task] = {
    "digits": _Task(
        data_class="lightning_modules.DigitsDataModule", data_args={"batch_size": 64}, model_args=_SMALL_NET
    ),
    "digits-noisy": _Task(
        data_class="hard_digits.HardDigits",
        data_args=_NOISY_DIGITS,
        model_args=_SMALL_NET,
    ),
    "digits-cluttered": _Task(
        data_class="hard_digits.HardDigits",
        data_args={"n_train": 600, "is_cluttered": True, "batch_size": 64},
        model_args={**_SMALL_NET, "widths": [16, 32, 32]},
    ),
    "digits-noisy-wide": _Task(
        data_class="hard_digits.HardDigits",
        data_args=_NOISY_DIGITS,
        model_args=_SMALL_NET,
        ranges=_WIDE_RANGES,
    ),
}
"""By name; the splits, and whatever else is random about the data, follow from the seed of the search."""


def check_names(*, tasks: list[str], methods: list[str]) -> None:
    """Check what is asked for.

    Raises:
        SurfaceError: If there is no such task or method.
    """
    for task in tasks:
        if task not in TASKS:
            raise SurfaceError(f"a task must be one of {', '.join(TASKS)}, but got {task!r}.")
    for method in methods:
        if method in _PEERS:
            continue
        if method != _OURS and not method.startswith(f"{_OURS}-"):
            raise SurfaceError(
                f"a method must be {_OURS}, {_OURS}-no-narrowing and the like, or one of {', '.join(_PEERS)}, but got "
                f"{method!r}."
            )
        variant(method)


def search(method: str, task: str, trainings: RealTrainings, *, n_epochs: int, budget_epochs: int, seed: int) -> None:
    """Search until the budget of `trainings` is spent.

    Args:
        method: Checked by `check_names`.
        task: Likewise.
        trainings: Trains and counts, up to `budget_epochs`.
        n_epochs: Epochs of a full training, >= 1.
        budget_epochs: >= 1.
        seed: Of the data and of everything random in the search.
    """
    if method in _PEERS:
        definition = task_definition(task, one_stage(n_epochs), seed=seed)
        _search_by_optuna(method, definition, trainings)
    else:
        chosen = plan(variant(method), n_epochs=n_epochs, budget_epochs=budget_epochs)
        run_session(task_definition(task, chosen, seed=seed), trainings, n_workers=1)


def task_definition(task: str, plan_: Mapping[str, Any], *, seed: int) -> StudyDefinition:
    """Return a study of a task: objective of the shipped one, and its space where the task has no other ranges."""
    chosen = TASKS[task]
    shipped = _shipped_study()
    return definition_from_plain(
        {
            "study": task,
            "seed": seed,
            "model": {"class_path": "lightning_modules.ConvNet", "init_args": dict(chosen.model_args)},
            "data": {"class_path": chosen.data_class, "init_args": {**chosen.data_args, "split_seed": seed}},
            **{key: shipped[key] for key in ("trainer", "objective", "schedule_horizon")},
            "space": {**shipped["space"], **chosen.ranges},
            **plan_,
        }
    )


def _shipped_study() -> dict[str, Any]:
    return definition_to_plain(load_study_file(built_in_studies()["digits"]))


def one_stage(n_epochs: int) -> dict[str, Any]:
    return {"stages": [{"name": "all", "n_trials": 1, "max_epochs": n_epochs, "sampler": "random"}]}


def _search_by_optuna(method: str, definition: StudyDefinition, trainings: RealTrainings) -> None:
    """Ask Optuna for full trainings, as its users do, and tell it the best epoch of each."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    n_epochs = definition.stages[-1].max_epochs
    sampler, pruner = _PEERS[method]
    make_pruner = getattr(optuna_methods, pruner) if pruner else lambda pruners, _: pruners.NopPruner()
    study = optuna.create_study(
        study_name=f"{definition.study}-{definition.seed}",  # of which Hyperband makes the trials' brackets
        direction="maximize",
        sampler=optuna_methods.optunas(sampler, definition.seed),
        pruner=make_pruner(optuna.pruners, n_epochs),
    )
    with tempfile.TemporaryDirectory() as root, suppress(BudgetSpentError):
        while True:
            _train_once(study, definition, trainings, directory=Path(root))


def _train_once(study: Any, definition: StudyDefinition, trainings: RealTrainings, *, directory: Path) -> None:
    import optuna

    trial = study.ask()
    n_epochs = definition.stages[-1].max_epochs
    assignment = TrialAssignment(
        trial_key=str(trial.number),
        assembly=assemble(definition, suggested(trial, definition.space)),
        directory=str(directory / str(trial.number)),
        seed=derived_seed(definition.seed, "trial", trial.number),
        n_epochs=n_epochs,
        horizon_epochs=n_epochs,
        resume=False,
        n_epochs_reported=0,
        merge_validation=False,
    )
    Path(assignment.directory).mkdir()
    values: list[float] = []
    for epoch in range(1, n_epochs + 1):
        values.append(trainings(assignment, epoch)[MONITOR])
        trial.report(values[-1], epoch)
        if trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
    study.tell(trial, max(values))


def suggested(trial: Any, space: SearchSpace) -> dict[str, Value]:
    """Suggest what is active, numbers uniformly on their ranges' own scales, as zeroin's own samplers see them."""
    values: dict[str, Value] = {}
    for dimension in space:
        if dimension.is_active(values):
            if isinstance(dimension.range, Choices):
                values[dimension.name] = trial.suggest_categorical(dimension.name, dimension.range.values)
            else:
                values[dimension.name] = dimension.from_unit(trial.suggest_float(dimension.name, 0.0, 1.0))
    return values
