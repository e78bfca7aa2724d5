"""The study file's keys, types and bounds as pydantic models, and its JSON Schema.

What several entries must agree on (names, conditions, constants) is checked in `rules` and `dimensions`.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from search.study_file.end_early_schema import EndEarly
from search.study_file.pruner_schema import ForecastSection, Pruner
from search.study_file.schema_parts import Count, Scalar, Section, Shorthand, named
from search.study_file.warm_start_schema import WarmStartSection

SamplerName = Literal["random", "qmc", "tpe", "cmaes", "gp", "staged_gp", "policy", "mixed", "portfolio"]
NarrowRuleName = Literal["quantile_box", "posterior", "trust_region", "none"]
SAMPLER_NAMES: tuple[str, ...] = get_args(SamplerName)
RANGE_KINDS = ("log", "linear", "int", "int_log", "one_minus_log")
KINDS = (*RANGE_KINDS, "choice")

_OR_NONE = Shorthand(lambda _: None, ("none",))
_OR_AUTO = Shorthand(lambda _: None, ("auto",))


EnsembleName = Literal["none", "seeds", "top_k", "snapshots", "last_n"]
_ENSEMBLES_OF_BOOLEANS = {True: "seeds", False: "none"}


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


FloatBounds = Annotated[list[float], Field(min_length=2, max_length=2)]
IntBounds = Annotated[list[int], Field(min_length=2, max_length=2)]
_ScalarOrList = Annotated[
    list[Scalar],
    Field(min_length=1),
    BeforeValidator(_as_list),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["number", "string", "boolean"]},
                {"type": "array", "items": {"type": ["number", "string", "boolean"]}, "minItems": 1},
            ]
        }
    ),
]


class ClassSection(Section):
    """A class on the import path with its constant init arguments, as Lightning's CLI spells it."""

    class_path: str
    """Import path, package.module.Class; any class works, no base class of zeroin is needed."""
    init_args: dict[str, Any] = Field(default={})
    """Constant init arguments by name; the searched ones belong into `space`."""


class ObjectiveSection(Section):
    """What trials are ranked by: the monitored metric at its best epoch, less a penalty on the generalization gap."""

    monitor: Annotated[str, Field(min_length=1)]
    """Name of a metric that the model logs in validation, for example val_acc."""
    direction: Literal["maximize", "minimize"]
    """Whether more (maximize) or less (minimize) of it is better."""
    gap_weight: Annotated[float, Field(ge=0.0)] = 0.0
    """Penalty per unit of generalization gap beyond the tolerance; 0 records the gap without penalizing it."""
    gap_tolerance: Annotated[float, Field(ge=0.0)] = 0.0
    """Generalization gap that costs nothing, in the metric's own unit."""


MOST_OBJECTIVES = 4
"""With more, nearly every trial is on the front."""


class ConstraintSection(Section):
    """What a measured value must be, so that its trial may win: one bound or both."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"at_most": 0.05}], "minProperties": 1})

    at_most: float | None = None
    """Upper bound, inclusive, in the metric's own unit."""
    at_least: float | None = None
    """Lower bound, inclusive, in the metric's own unit."""


class DimensionSection(Section):
    """One searched hyperparameter: exactly one kind of range, and what holds for it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"log": [1e-5, 1.0]}],
            "oneOf": [{"required": [kind]} for kind in KINDS],
        }
    )

    log: FloatBounds | None = None
    """[low, high] with 0 < low < high, sampled uniformly on a log scale (learning rate, weight decay)."""
    linear: FloatBounds | None = None
    """[low, high], sampled uniformly."""
    int_: Annotated[IntBounds | None, Field(alias="int")] = None
    """[low, high], integers, both included, sampled uniformly."""
    int_log: IntBounds | None = None
    """[low, high], integers with 1 <= low < high, sampled uniformly on a log scale (batch size, width)."""
    one_minus_log: FloatBounds | None = None
    """[low, high] of x with 0 <= low < high < 1, where 1 - x is sampled uniformly on a log scale (momentum)."""
    choice: Annotated[list[Scalar] | None, Field(min_length=1)] = None
    """Values without an order: numbers, strings, true, false. (on, off, yes and no are strings here.)"""
    limits: list[Scalar] | None = None
    """Where stages may move the range to: [low, high] around it (all values, for a choice). Without it, ranges on log
    scales may move a decade a side as far as the parameter's own domain allows, the others stay inside the range."""
    or_zero: Annotated[float | None, Field(ge=0.0, lt=1.0)] = None
    """Share of trials that get exactly 0 instead of a value from the range, which may hold 0 itself."""
    when: dict[str, _ScalarOrList] | None = None
    """Search it only while these choices have one of these values: {model.optimizer: [sgd, nesterov]}."""
    prior: Annotated[dict[str, float] | None, Field(min_length=1)] = None
    """Where good values are expected: {mean: 1.0e-3, decades: 1} on log scales (standard deviation; for one_minus_log
    in decades of 1 - x), {mean: 4, spread: 2} on others, {he: 0.6} for a choice (what shares leave of 1 goes to the
    choices without one). Half of the trials of a random stage ignore it, and models ask it less with every trial."""


class NarrowSection(Section):
    """How a stage's ranges follow from the finished trials before it."""

    rule: NarrowRuleName
    """quantile_box: a box around the best trials; posterior: where a model of all trials has the optimum; trust_region:
    a box about the best trial that grows with success; none: the ranges of the stage before."""
    probability: Annotated[float, Field(ge=0.5, le=0.999)] = 0.95
    """Of posterior alone: with which its numeric ranges together hold the optimum, by its model."""
    outside_share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    """Share of each later stage's trials that are sampled outside its ranges, within the declared ones. Where one of
    them is among the best, the next stage's ranges reach out to it. Each stage's own; the first one has none."""


Narrow = Annotated[NarrowSection, Shorthand(named("rule"), get_args(NarrowRuleName))]


class StageSection(Section):
    """One round of the search, coarse to fine."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "coarse", "n_trials": 8, "max_epochs": 2}]})

    name: str
    """Name of the stage, unique in the study: letters, digits, - and _."""
    n_trials: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    """Trials in this stage. The last stage may leave it out under a budget: as many as that allows; the stages before
    it then have at most half of the budget together."""
    max_epochs: Count
    """Epochs that each of its trials may train."""
    sampler: SamplerName | None = None
    """Where its trials are placed; by default qmc (evenly spread) in the first stage and mixed (in turns staged_gp, a
    model of all learning curves, and policy) in later ones. The first of several stages explores: random or qmc."""
    narrow: Narrow | None = None
    """How its ranges follow from the trials before it; by default as the study says."""
    promote: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """How many of its trials continue the best trials of fewer epochs from their checkpoints, which costs only the
    epochs that are missing, instead of trying other values; needs schedule_horizon: study."""


class EarlyStoppingSection(Section):
    """When a trial's own curve counts as flat; it is then complete, not pruned."""

    patience_epochs: Count
    """Epochs without an improvement before a trial is stopped."""
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0
    """Smallest change of the monitored metric that counts as an improvement."""


class ResourcesSection(Section):
    """How trials and devices are matched."""

    devices_per_trial: Count = 1
    """Devices that train one trial together, a process on each; batch sizes are those of one process."""
    trials_per_device: Annotated[Count | None, _OR_AUTO] = 1
    """Trials that share a device; auto: as many as fit into its memory, at most 8, with a CPU core each."""
    hang_timeout_minutes: Annotated[Annotated[float, Field(ge=0.01, le=1_000_000.0)] | None, _OR_NONE] = 30.0
    """Time without a finished batch after which a training, or a reading of the test split, counts as hung and its
    worker is replaced; if batches took longer than a tenth of that, ten times the longest. none: never."""


class FinishSection(Section):
    """What follows the last stage: confirm the best, refit, read the test split once."""

    top_k: Count
    """Configurations to confirm."""
    n_seeds: Count
    """Seeds that each may be trained with to be confirmed, and refits of the winner."""
    ensemble: Annotated[
        EnsembleName,
        BeforeValidator(lambda value: _ENSEMBLES_OF_BOOLEANS[value] if isinstance(value, bool) else value),
        WithJsonSchema({"anyOf": [{"enum": list(get_args(EnsembleName))}, {"type": "boolean"}]}),
    ] = "none"
    """Whose probabilities are averaged on the test split: those of the winner's refits, one a seed (seeds, or true), of
    a refit of each confirmed configuration (top_k), of each refit's weights at the ends of its learning-rate cycles
    (snapshots) or after its last epochs (last_n). none, or false: nobody's."""
    last_n: Annotated[Count | None, _OR_NONE] = None
    """Of ensemble: last_n: the number of epochs."""
    winner: Literal["first_objective", "compromise"] = "first_objective"
    """Of several objectives: the best of the Pareto front by the first one, or the point of the front that is nearest
    to the best values of all."""
    register_: Annotated[bool, Field(alias="register")] = True
    """Whether the refitted model is packaged, with its preprocessing, and registered in MLflow."""


class BudgetSection(Section):
    """What the study may cost in all its sessions; used up, the best so far is finished properly."""

    hours: Annotated[float | None, Field(gt=0.0)] = None
    """Wall time of the study in hours, the finish included; the time between sessions does not count."""
    device_hours: Annotated[float | None, Field(gt=0.0)] = None
    """Hours that training runs occupy devices, summed over the devices."""
    n_trials: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    """Search trials of all stages together; each stage gets its part of them."""
    epochs: Annotated[int | None, Field(ge=1, le=1_000_000_000)] = None
    """Epochs that all search trials train together; those of the finish are not counted. Each stage gets its part, and
    trials under way when they are used up are stopped after their epoch."""


class StudySection(Section):
    """A zeroin study: what to train, what to search, in which stages. A key that is left out has its default."""

    model_config = ConfigDict(
        title="zeroin study",
        json_schema_extra={"oneOf": [{"required": ["objective"]}, {"required": ["objectives"]}]},
    )

    study: str
    """Name of the study: letters, digits, -, _ and ., at most 100 characters."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    """Seed of everything random."""
    model: ClassSection
    """The LightningModule."""
    data: Annotated[ClassSection | None, _OR_NONE] = None
    """The LightningDataModule; none if the model brings its own data loaders."""
    trainer: dict[str, Any] = Field(default={})
    """Constant arguments for pytorch_lightning.Trainer, without those that zeroin sets itself; strategy by its name."""
    objective: ObjectiveSection | None = None
    """What trials are ranked by."""
    objectives: Annotated[list[ObjectiveSection] | None, Field(min_length=2, max_length=MOST_OBJECTIVES)] = None
    """Several objectives instead of one. The first one prunes, stops early, and says which of the best is the winner;
    each other one is a metric of the epochs, n_parameters or epoch_seconds, at the best epoch of the first."""
    constraints: dict[Annotated[str, Field(min_length=1)], ConstraintSection] = Field(default={})
    """Bounds by name of what is measured: a metric of the epochs at the best one, n_parameters (trainable), or
    epoch_seconds (median): {gap_acc: {at_most: 0.05}}. A trial that breaks one never wins over one that keeps all."""
    schedule_horizon: Literal["study", "stage"] = "study"
    """Epochs that the learning-rate schedule spans: the longest stage's (study), or each stage's own (stage)."""
    space: Annotated[dict[str, DimensionSection], Field(min_length=1)]
    """The searched arguments by name: model.…, data.… or trainer.…"""
    stages: Annotated[list[StageSection], Field(min_length=1, max_length=100)]
    """The rounds of the search in order, coarse to fine."""
    narrow: Narrow = NarrowSection(rule="posterior")
    """How each stage's ranges follow from the trials before it, unless the stage says otherwise."""
    pruner: Pruner = ForecastSection(name="forecast")
    """Which trials are stopped for being worse than their peers, or unlikely to become the best."""
    early_stopping: Annotated[EarlyStoppingSection | None, _OR_NONE] = None
    """When a trial's own curve counts as flat."""
    resources: ResourcesSection = ResourcesSection()
    """What a trial runs on."""
    finish: Annotated[FinishSection | None, _OR_NONE] = None
    """What follows the last stage, in trainings of the longest stage's epochs; without it the test split is never
    read."""
    budget: Annotated[BudgetSection | None, _OR_NONE] = None
    """What the study may cost; none for no bound."""
    end_early: Annotated[EndEarly | None, _OR_NONE] = None
    """When the search ends before all its trials, because further ones cannot pay; none: never."""
    warm_start: Annotated[WarmStartSection | None, _OR_NONE] = None
    """What is known before the first trial: good configurations, earlier studies."""
    storage: Annotated[str | None, Field(min_length=1)] = None
    """Optuna storage URL; by default a journal file in the state directory."""
    tracking_uri: Annotated[str | None, Field(min_length=1)] = None
    """MLflow tracking URI; by default an SQLite file in the state directory."""
    checkpoints: Annotated[str | None, Field(min_length=1)] = None
    """URL of a directory for checkpoints (s3://bucket/zeroin, or a path); by default in the state directory."""


@cache
def _generated_schema() -> dict[str, Any]:
    schema = StudySection.model_json_schema(by_alias=True)
    _describe(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def study_json_schema() -> dict[str, Any]:
    """Return the study file's JSON Schema (draft 2020-12), a description on every key; callers must not change it."""
    return _generated_schema()


def _describe(node: Any) -> None:
    """Put descriptions on one line each and drop what pydantic adds: titles made of field names, discriminators."""
    if isinstance(node, list):
        for item in node:
            _describe(item)
    elif isinstance(node, dict):
        if "discriminator" in node:  # OpenAPI's, not JSON Schema's; the names tell the sections apart
            del node["discriminator"]
            node["anyOf"] = node.pop("oneOf")
        if isinstance(node.get("description"), str):
            node["description"] = " ".join(node["description"].split())
        for key, value in node.items():
            if key == "properties":
                for entry in value.values():
                    entry.pop("title", None)
            _describe(value)
