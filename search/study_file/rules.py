"""Rules of the study file that one key alone cannot break: names, constants, stages, what zeroin sets itself."""

from __future__ import annotations

import difflib
import keyword
import math
import re
from collections.abc import Iterator
from typing import Any

from search.paths import is_reserved_name
from search.study_file.document import STORE_KEYS, KeyPath, shown
from search.study_file.finish_rules import broken_finish
from search.study_file.objectives import broken_objectives
from search.study_file.problems import Problem
from search.study_file.schema import ClassSection, NarrowSection, StudySection
from search.uris import STORAGE_EXPECTED, is_storage, masked

PREFIXES = ("model", "data", "trainer")
RESERVED_STAGE_NAMES = ("confirm", "refit", "test")

_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_STAGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}\Z")

_STAGES_SET_IT = "each stage's `max_epochs` says how long a trial trains"
_WORKER_OWNS_IT = "zeroin's workers train without a terminal, under one progress display"
_DEVICES = "zeroin places the trials on devices: see `resources:` and `--devices`"
_EVERY_EPOCH = "zeroin reports, prunes and resumes after each epoch's validation"
_STARTS_PROCESSES = ("spawn", "fork", "notebook")
OWNED_TRAINER_ARGUMENTS = {
    "max_epochs": _STAGES_SET_IT,
    "min_epochs": _STAGES_SET_IT,
    "max_steps": _STAGES_SET_IT,
    "min_steps": _STAGES_SET_IT,
    "max_time": _STAGES_SET_IT,
    "fast_dev_run": "zeroin makes a dry run before every study",
    "logger": "the coordinator records every metric in MLflow",
    "enable_autolog_hparams": "the coordinator records the hyperparameters in MLflow",
    "callbacks": "give them by `configure_callbacks` of the LightningModule",
    "plugins": "they are objects, which no file can hold",
    "enable_checkpointing": "zeroin writes the checkpoints that it resumes from",
    "default_root_dir": "zeroin gives every trial its own directory",
    "num_sanity_val_steps": "zeroin makes a dry run before every study",
    "enable_progress_bar": _WORKER_OWNS_IT,
    "enable_model_summary": _WORKER_OWNS_IT,
    "barebones": _WORKER_OWNS_IT,
    "accelerator": _DEVICES,
    "devices": _DEVICES,
    "num_nodes": _DEVICES,
    "check_val_every_n_epoch": _EVERY_EPOCH,
    "val_check_interval": _EVERY_EPOCH,
    "model_registry": "`finish:` registers the refitted model in MLflow",
}
"""Arguments of the Trainer that a study file may not set, and why."""


def broken_rules(study: StudySection) -> list[Problem]:
    """Return every broken rule, empty if all hold."""
    return [
        *_names(study),
        *_class(("model",), study.model),
        *(_class(("data",), study.data) if study.data else ()),
        *_trainer(study),
        *_searched_names(study),
        *_searched_constants(study),
        *broken_objectives(study),
        *_stages(study),
        *_promotions(study),
        *_narrowing(study),
        *_early_end(study),
        *broken_finish(study),
        *_strategy(study),
        *_stores(study),
    ]


def _names(study: StudySection) -> Iterator[Problem]:
    name = study.study
    if not _STUDY_NAME.match(name) or name.endswith((".", ".yaml", ".yml")):
        yield Problem(
            path=("study",),
            message="must be a name of 1 to 100 letters, digits, -, _ and ., beginning with a letter or digit and not "
            f"ending like a file, but got {shown(name)}.",
        )
    elif is_reserved_name(name):
        yield Problem(path=("study",), message=f"must not be a device's name on Windows, but got {shown(name)}.")
    seen: dict[str, int] = {}
    for index, stage in enumerate(study.stages):
        path = ("stages", index, "name")
        if not _STAGE_NAME.match(stage.name) or stage.name in RESERVED_STAGE_NAMES:
            yield Problem(
                path=path,
                message="must be a name of 1 to 100 letters, digits, - and _, beginning with a letter, and none of "
                f"{', '.join(RESERVED_STAGE_NAMES)}, but got {shown(stage.name)}.",
            )
        elif stage.name in seen:
            yield Problem(
                path=path,
                message=f"stage names must be unique, but {stage.name!r} is also the name of stage {seen[stage.name]}.",
            )
        seen.setdefault(stage.name, index)


def _stores(study: StudySection) -> Iterator[Problem]:
    for key in STORE_KEYS:
        given = getattr(study, key)
        if given is not None and not given.isprintable():
            yield Problem(path=(key,), message=f"must have printable characters only, but got {shown(masked(given))}.")
    if study.storage is not None and not is_storage(study.storage):
        yield Problem(path=("storage",), message=f"must be {STORAGE_EXPECTED}, but got {shown(masked(study.storage))}.")


def _class(path: KeyPath, section: ClassSection) -> Iterator[Problem]:
    class_path = section.class_path
    parts = class_path.split(".")
    if parts[0] == "__main__":
        yield Problem(
            path=(*path, "class_path"),
            message="must be in a module that worker processes can import, but the class is defined in the notebook "
            f"or script itself: {shown(class_path)}. Move it to a module.",
        )
    elif len(parts) < 2 or not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        yield Problem(
            path=(*path, "class_path"),
            message=f"must be an import path such as my_package.my_module.MyClass, but got {shown(class_path)}.",
        )
    yield from _constants((*path, "init_args"), section.init_args)


def _constants(path: KeyPath, value: Any) -> Iterator[Problem]:
    if isinstance(value, float) and math.isnan(value):
        yield Problem(path=path, message="must be a number, but got nan.")
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _constants((*path, key), item)


def _trainer(study: StudySection) -> Iterator[Problem]:
    yield from _constants(("trainer",), study.trainer)
    for key, value in study.trainer.items():
        if key in OWNED_TRAINER_ARGUMENTS:
            yield Problem(
                path=("trainer", key),
                message=f"must be left out, but got {shown(value)}: {OWNED_TRAINER_ARGUMENTS[key]}.",
            )


def _searched_names(study: StudySection) -> Iterator[Problem]:
    names = list(study.space)
    for name in names:
        path = ("space", name)
        prefix, _, rest = name.partition(".")
        if not _is_searchable(name):
            yield Problem(
                path=path,
                message="a searched argument must be named model.…, data.… or trainer.… and its argument, but got "
                f"{shown(name)}.{_name_suggestion(name)}",
            )
        elif prefix == "trainer" and rest.split(".")[0] in OWNED_TRAINER_ARGUMENTS:
            reason = OWNED_TRAINER_ARGUMENTS[rest.split(".")[0]]
            yield Problem(path=path, message=f"cannot be searched, but got {shown(name)}: {reason}.")
        elif name == "trainer.strategy":
            yield Problem(path=path, message="cannot be searched: all trials of a study are placed alike.")
        for other in names:
            if name.startswith(f"{other}."):
                yield Problem(path=path, message=f"lies within {other!r}, which is searched too; search only one.")


def _is_searchable(name: str) -> bool:
    prefix, _, rest = name.partition(".")
    return prefix in PREFIXES and all(part.isidentifier() for part in rest.split("."))


def _name_suggestion(name: str) -> str:
    """Return what may have been meant: blanks and empty parts left out, a prefix mended or put before it."""
    first, *rest = [part.strip() for part in name.split(".") if part.strip()] or [""]
    close = difflib.get_close_matches(first, PREFIXES, n=1, cutoff=0.6)
    meant = ".".join([*close, *rest]) if close else f"model.{first}"
    is_clear = _is_searchable(meant) and (bool(close) or not rest)
    return f" Did you mean {meant!r}?" if is_clear else ""


def _searched_constants(study: StudySection) -> Iterator[Problem]:
    for name in study.space:
        prefix, *parts = name.split(".")
        if prefix == "data" and study.data is None:
            yield Problem(
                path=("space", name),
                message=f"searches an argument of the data module, but got no `data:` for {shown(name)}.",
            )
        section = {"model": study.model, "data": study.data}.get(prefix)
        constants: Any = section.init_args if section is not None else study.trainer if prefix == "trainer" else {}
        where = f"{prefix}.init_args" if section is not None else prefix
        for depth, part in enumerate(parts):
            if not isinstance(constants, dict) or part not in constants:
                break
            constants = constants[part]
            if depth == len(parts) - 1 or not isinstance(constants, dict):
                yield Problem(
                    path=("space", name),
                    message=f"must be either searched or constant, but {where}.{'.'.join(parts[: depth + 1])} has the "
                    f"value {shown(constants)} as well; remove one of them.",
                )
                break


def _stages(study: StudySection) -> Iterator[Problem]:
    first = study.stages[0]
    if len(study.stages) > 1 and first.sampler not in (None, "random", "qmc"):
        yield Problem(
            path=("stages", 0, "sampler"),
            message=f"the first of several stages explores: must be random or qmc, but got {first.sampler!r}.",
        )
    budget = study.budget
    is_bounded = budget is not None and any(bound is not None for bound in budget.model_dump().values())
    for index, stage in enumerate(study.stages):
        if stage.n_trials is None and index < len(study.stages) - 1:
            message = "must be given, since only the last stage may have as many trials as the budget allows"
        elif stage.n_trials is None and not is_bounded:
            message = "must be given, or a budget that bounds the last stage (`budget: {epochs: 2600}`)"
        else:
            continue
        yield Problem(path=("stages", index, "n_trials"), message=f"{message}, but got none.")


def _narrowing(study: StudySection) -> Iterator[Problem]:
    sections: list[tuple[KeyPath, NarrowSection]] = [(("narrow",), study.narrow)]
    sections += [
        (("stages", index, "narrow"), stage.narrow) for index, stage in enumerate(study.stages) if stage.narrow
    ]
    for path, section in sections:
        if "probability" in section.model_fields_set and section.rule != "posterior":
            yield Problem(
                path=(*path, "probability"),
                message=f"must be left out unless the rule is posterior, but got {section.probability} with "
                f"{section.rule}.",
            )


def _early_end(study: StudySection) -> Iterator[Problem]:
    if study.end_early is None:
        return
    stranger = "several objectives" if study.objectives is not None else "constraints" if study.constraints else ""
    if stranger:
        yield Problem(
            path=("end_early",),
            message=f"must be left out of a study with {stranger}: it judges what the reward may still gain, which "
            f"{'is but one of them' if study.objectives is not None else 'says nothing of what keeps them'}.",
        )


def _promotions(study: StudySection) -> Iterator[Problem]:
    for index, stage in enumerate(study.stages):
        if stage.promote:
            broken = _broken_promotion(study, index)
            if broken:
                message = f"{broken}, but got {stage.promote}."
                yield Problem(path=("stages", index, "promote"), message=message)


def _broken_promotion(study: StudySection, index: int) -> str:
    """Return the rule that a stage breaks by promoting trials, empty if none."""
    stage, earlier = study.stages[index], study.stages[:index]
    if study.schedule_horizon == "stage":
        return (
            "must be 0 with `schedule_horizon: stage`, by which the learning rate of a short trial comes down sooner, "
            "so that it is no beginning of a long one"
        )
    if not earlier:
        return "must be 0 in the first stage, before which there are no trials to continue"
    if min(each.max_epochs for each in earlier) >= stage.max_epochs:
        return f"must be 0 where no earlier stage has fewer than this one's {stage.max_epochs} epochs"
    if stage.n_trials is not None and stage.promote > stage.n_trials:
        return f"must be at most n_trials = {stage.n_trials}"
    return ""


def _strategy(study: StudySection) -> Iterator[Problem]:
    strategy = study.trainer.get("strategy")
    path = ("trainer", "strategy")
    if strategy is None:
        return
    if not isinstance(strategy, str):
        yield Problem(path=path, message=f"must be the name of a Lightning strategy, but got {shown(strategy)}.")
    elif any(word in strategy for word in _STARTS_PROCESSES):
        yield Problem(
            path=path,
            message="must not start processes of its own, since zeroin starts one for each device of a trial: use ddp "
            f"or fsdp, for instance, but got {shown(strategy)}.",
        )
