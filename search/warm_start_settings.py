"""What a study may begin with beside its search space: configurations known to be good, and earlier studies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from search.search_space import Hyperparameters


class SourceKind(StrEnum):
    """What kind of record an earlier study is; the value is its key in the study file."""

    STUDY = "study"  # in an Optuna storage
    EXPERIMENT = "experiment"  # in an MLflow tracking store


@dataclass(frozen=True, slots=True, kw_only=True)
class PastSource:
    """An earlier study.

    Attributes:
        kind: What it is a record in.
        name: Of the study, or of the experiment.
        uri: Of its storage or tracking store, None for the one that the new study has.
    """

    kind: SourceKind
    name: str
    uri: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """What is known before the first trial.

    Attributes:
        configurations: Some values each, within the hard limits; they are tried first, in this order.
        sources: Earlier studies.
    """

    configurations: tuple[Hyperparameters, ...] = ()
    sources: tuple[PastSource, ...] = ()
