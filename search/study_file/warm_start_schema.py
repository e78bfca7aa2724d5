"""The study file's `warm_start`: what is known before the first trial."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field

from search.study_file.schema_parts import Scalar, Section, named

_Name = Annotated[str, Field(min_length=1)]


class PastStudySection(Section):
    """An earlier study of the same or an overlapping space: one in an Optuna storage, or an MLflow experiment."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"study": "digits"}]})

    study: _Name | None = None
    """Name of a study in an Optuna storage, made by zeroin or by any program with the same parameter names."""
    storage: _Name | None = None
    """Its Optuna storage URL; by default the one that this study has."""
    experiment: _Name | None = None
    """Name of an MLflow experiment whose runs have the parameters, and the monitored metric or best_ and its name."""
    tracking_uri: _Name | None = None
    """Its MLflow tracking URI; by default the one that this study has."""


PastStudy = Annotated[
    PastStudySection, BeforeValidator(named("study"), json_schema_input_type=PastStudySection | _Name)
]


class WarmStartSection(Section):
    """What is known before the first trial; it is looked up once, when the study begins, and stored with it."""

    configurations: list[Annotated[dict[str, Scalar], Field(min_length=1)]] = Field(default=[])
    """Values that are known to be good, by the names in `space`; each is tried first, in this order, and what it leaves
    out is filled in by the first stage's sampler. Values must lie within the hard limits."""
    studies: list[PastStudy] = Field(default=[])
    """Earlier studies, by name or as {study: …, storage: …} or {experiment: …, tracking_uri: …}: the best of their
    configurations are tried again, and where the others agree with this study's trials, it looks near the good ones."""
