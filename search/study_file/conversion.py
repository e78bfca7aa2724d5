"""A document to a `StudyDefinition`, and a definition to its canonical plain data."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from search.errors import StudyDefinitionError
from search.pruner_settings import PRUNER_SETTINGS
from search.search_space import SearchSpace
from search.study_definition import (
    Budget,
    ClassSpec,
    EarlyStopping,
    EndEarly,
    Ensemble,
    FinishSettings,
    NarrowRule,
    Resources,
    ScheduleHorizon,
    SearchStage,
    StudyDefinition,
    Winner,
)
from search.study_file.dimensions import read_space, space_to_plain
from search.study_file.document import Document, parse_dotted, plain_copy
from search.study_file.left_out import entries_left_out
from search.study_file.objectives import objective_of, objective_to_plain
from search.study_file.overrides import overridden
from search.study_file.problems import error_of, problems_of
from search.study_file.rules import broken_rules
from search.study_file.schema import ClassSection, NarrowSection, StageSection, StudySection
from search.study_file.warm_start import read_warm_start, warm_start_to_plain
from search.study_file.yaml_source import read_document, to_yaml

# As studies were written before there were other ensembles.
_ENSEMBLES_AS_BOOLEANS = {Ensemble.NONE: False, Ensemble.SEEDS: True}


def load_study_file(path: Path | str, *, overrides: Sequence[str] = ()) -> StudyDefinition:
    """Read and validate a study file.

    Args:
        path: The file.
        overrides: ``key=value`` texts as given to ``--set``, applied in order before validation.

    Raises:
        StudyNotFoundError: If there is no such file.
        StudyDefinitionError: If it, or an override, breaks a rule; the message says where, what and how to mend it.
    """
    return _definition(overridden(read_document(Path(path)), overrides))


def definition_from_plain(
    plain: Mapping[str, Any], *, file: Path | None = None, overrides: Sequence[str] = ()
) -> StudyDefinition:
    """Validate a study built in Python, with the same keys as the study file.

    Tuples may stand for lists, classes for their import paths, paths and NumPy numbers for their plain values.

    Args:
        plain: The study; it is copied.
        file: File to name in errors, if the data came from one.
        overrides: See `load_study_file`.

    Raises:
        StudyDefinitionError: If it, or an override, breaks a rule.
    """
    if not isinstance(plain, Mapping):
        raise StudyDefinitionError(f"a study must be a mapping of keys, but got {type(plain).__name__}.", file=file)
    return _definition(overridden(Document(plain=plain_copy(plain, file=file), file=file), overrides))


def definition_to_plain(definition: StudyDefinition) -> dict[str, Any]:
    """Return the definition in the study file's format, every default spelled out.

    `definition_from_plain` makes an equal definition of it.
    """
    stopping, finish, budget = definition.early_stopping, definition.finish, definition.budget
    return {
        "study": definition.study,
        "seed": definition.seed,
        "model": _class_to_plain(definition.model),
        "data": None if definition.data is None else _class_to_plain(definition.data),
        "trainer": copy.deepcopy(dict(definition.trainer)),
        **objective_to_plain(definition.objective),
        "schedule_horizon": definition.schedule_horizon.value,
        "space": space_to_plain(definition.space),
        "stages": [_stage_to_plain(stage) for stage in definition.stages],
        "pruner": {"name": definition.pruner.name, **dataclasses.asdict(definition.pruner)},
        "early_stopping": None
        if stopping is None
        else {"patience_epochs": stopping.patience_epochs, "min_delta": stopping.min_delta},
        "resources": {
            "devices_per_trial": definition.resources.devices_per_trial,
            "trials_per_device": definition.resources.trials_per_device,
            "hang_timeout_minutes": definition.resources.hang_timeout_minutes,
        },
        "finish": None
        if finish is None
        else {
            "top_k": finish.top_k,
            "n_seeds": finish.n_seeds,
            "ensemble": _ENSEMBLES_AS_BOOLEANS.get(finish.ensemble, finish.ensemble.value),
            **({} if finish.last_n is None else {"last_n": finish.last_n}),
            **({} if finish.winner is Winner.FIRST_OBJECTIVE else {"winner": finish.winner.value}),
            **({} if finish.register else {"register": False}),
        },
        "budget": None if budget == Budget() else dataclasses.asdict(budget),
        "end_early": None if definition.end_early is None else dataclasses.asdict(definition.end_early),
        "warm_start": warm_start_to_plain(definition.warm_start),
        "storage": definition.storage,
        "tracking_uri": definition.tracking_uri,
        "checkpoints": definition.checkpoints,
    }


def definition_to_yaml(definition: StudyDefinition) -> str:
    """Return the definition as the text of a study file, every default spelled out."""
    return to_yaml(definition_to_plain(definition))


def error_in_file(path: Path, key: str, message: str, *, overrides: Sequence[str] = ()) -> StudyDefinitionError:
    """Return the error about a dotted key that showed only after loading, with where the key was written.

    Args:
        path: The study file, read again; if that fails now, the error has no line.
        key: Dotted key (``model.class_path``, ``space.model.dropout``); the closest entry around it is located.
        message: The rule, the value got and the way out.
        overrides: ``key=value`` texts that were given when it was loaded; the key may come from one of them.
    """
    try:
        document = overridden(read_document(path), overrides)
    except Exception:  # the file changed or went away since; the error to report is the given one
        return StudyDefinitionError(message, key=key, file=path)
    message, line = document.placed(parse_dotted(document, key), message)
    return StudyDefinitionError(message, key=key, file=path, line=line)


def _definition(document: Document) -> StudyDefinition:
    try:
        study = StudySection.model_validate(document.plain)
    except ValidationError as error:
        raise error_of(problems_of(error), document) from None
    space = read_space(study.space)
    problems = [*broken_rules(study), *(space if isinstance(space, list) else ())]
    if problems or isinstance(space, list):
        raise error_of(problems, document)
    definition = _from_section(study, space)
    if study.warm_start is not None:
        warm_start = read_warm_start(study.warm_start, space, n_first=study.stages[0].n_trials)
        if isinstance(warm_start, list):
            raise error_of(warm_start, document)
        definition = replace(definition, warm_start=warm_start)
    return replace(definition, left_out=entries_left_out(definition_to_plain(definition), document.plain))


def _from_section(study: StudySection, space: SearchSpace) -> StudyDefinition:
    stopping, finish, budget = study.early_stopping, study.finish, study.budget
    return StudyDefinition(
        study=study.study,
        seed=study.seed,
        model=_class_spec(study.model),
        data=None if study.data is None else _class_spec(study.data),
        trainer=study.trainer,
        objective=objective_of(study),
        schedule_horizon=ScheduleHorizon(study.schedule_horizon),
        space=space,
        stages=tuple(_stage(index, stage, study.narrow) for index, stage in enumerate(study.stages)),
        pruner=PRUNER_SETTINGS[study.pruner.name](**study.pruner.model_dump(exclude={"name"})),
        early_stopping=None
        if stopping is None
        else EarlyStopping(patience_epochs=stopping.patience_epochs, min_delta=stopping.min_delta),
        resources=Resources(
            devices_per_trial=study.resources.devices_per_trial,
            trials_per_device=study.resources.trials_per_device or "auto",
            hang_timeout_minutes=study.resources.hang_timeout_minutes,
        ),
        finish=None
        if finish is None
        else FinishSettings(
            top_k=finish.top_k,
            n_seeds=finish.n_seeds,
            ensemble=Ensemble(finish.ensemble),
            last_n=finish.last_n,
            winner=Winner(finish.winner),
            register=finish.register_,
        ),
        budget=Budget() if budget is None else Budget(**budget.model_dump()),
        end_early=None if study.end_early is None else EndEarly(**study.end_early.model_dump()),
        storage=study.storage,
        tracking_uri=study.tracking_uri,
        checkpoints=study.checkpoints,
    )


def _class_spec(section: ClassSection) -> ClassSpec:
    return ClassSpec(class_path=section.class_path, init_args=section.init_args)


def _stage(index: int, stage: StageSection, narrow: NarrowSection) -> SearchStage:
    return SearchStage(
        name=stage.name,
        n_trials=stage.n_trials,
        max_epochs=stage.max_epochs,
        sampler=stage.sampler or ("mixed" if index else "qmc"),
        narrow=NarrowRule(**(stage.narrow or narrow).model_dump()),
        promote=stage.promote,
    )


def _class_to_plain(spec: ClassSpec) -> dict[str, Any]:
    return {"class_path": spec.class_path, "init_args": copy.deepcopy(dict(spec.init_args))}


def _narrow_to_plain(narrow: NarrowRule) -> dict[str, Any]:
    own = {"probability": narrow.probability} if narrow.rule == "posterior" else {}
    return {"rule": narrow.rule, "outside_share": narrow.outside_share, **own}


def _stage_to_plain(stage: SearchStage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "n_trials": stage.n_trials,
        "max_epochs": stage.max_epochs,
        "sampler": stage.sampler,
        "narrow": _narrow_to_plain(stage.narrow),
        "promote": stage.promote,
    }
