"""The entry `warm_start` to `search.warm_start_settings` and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from search.configuration import inactive_reason, value_in_limits
from search.errors import SearchSpaceError, did_you_mean
from search.search_space import SearchSpace, Value
from search.study_file.document import KeyPath, shown
from search.study_file.problems import Problem
from search.study_file.warm_start_schema import PastStudySection, WarmStartSection
from search.uris import STORAGE_EXPECTED, is_storage, masked
from search.warm_start_settings import PastSource, SourceKind, WarmStart

_PATH: KeyPath = ("warm_start",)


def read_warm_start(section: WarmStartSection, space: SearchSpace, *, n_first: int | None) -> WarmStart | list[Problem]:
    """Return what the entry means, or what is wrong with it.

    Args:
        section: The entry.
        space: The study's, by which the configurations go.
        n_first: Trials of the first stage; None for as many as a budget allows.
    """
    problems: list[Problem] = []
    if not section.configurations and not section.studies:
        problems.append(Problem(path=_PATH, message="must have configurations or studies, but has neither."))
    if n_first is not None and len(section.configurations) > n_first:
        message = (
            f"must be at most as many as the first stage has trials, {n_first}, but got {len(section.configurations)}."
        )
        problems.append(Problem(path=(*_PATH, "configurations"), message=message))
    configurations = []
    for index, given in enumerate(section.configurations):
        values: dict[str, Value] = {}
        problems += _configuration((*_PATH, "configurations", index), given, space, values)
        configurations.append(values)
    for index, each in enumerate(section.studies):
        problems += _source((*_PATH, "studies", index), each)
    if problems:
        return problems
    return WarmStart(configurations=tuple(configurations), sources=tuple(map(_past_source, section.studies)))


def warm_start_to_plain(warm_start: WarmStart | None) -> dict[str, Any] | None:
    """Return the entry; the inverse of `read_warm_start`."""
    if warm_start is None:
        return None
    return {
        "configurations": [dict(each) for each in warm_start.configurations],
        "studies": [_source_to_plain(each) for each in warm_start.sources],
    }


def masked_warm_start(warm_start: WarmStart | None) -> WarmStart | None:
    """Return it as everybody may read it: without the passwords of the stores of earlier studies."""
    if warm_start is None:
        return None
    sources = (replace(each, uri=each.uri and masked(each.uri)) for each in warm_start.sources)
    return replace(warm_start, sources=tuple(sources))


def _configuration(
    path: KeyPath, given: Mapping[str, Value], space: SearchSpace, values: dict[str, Value]
) -> Iterator[Problem]:
    """Put the values, as the space has them, into `values`; tell what is wrong with others."""
    for name in given:
        if name not in space.names:
            message = (
                f"must name a searched argument ({', '.join(space.names)}), but got {shown(name)}."
                f"{did_you_mean(name, space.names)}"
            )
            yield Problem(path=(*path, name), message=message)
    wrong: set[str] = set()
    for dimension in space:
        if dimension.name not in given:
            continue
        value = given[dimension.name]
        reason = inactive_reason(dimension, values)
        if reason and not wrong.intersection(condition.name for condition in dimension.conditions):
            yield Problem(path=(*path, dimension.name), message=f"{reason}, but got {shown(value)}.")
            wrong.add(dimension.name)
            continue
        try:
            values[dimension.name] = value_in_limits(dimension, value)
        except SearchSpaceError as error:
            yield Problem(path=(*path, dimension.name), message=str(error))
            wrong.add(dimension.name)


def _source(path: KeyPath, section: PastStudySection) -> Iterator[Problem]:
    if (section.study is None) == (section.experiment is None):
        got = "neither"
        if section.study is not None:
            got = f"study {shown(section.study)} and experiment {shown(section.experiment)}"
        yield Problem(
            path=path, message=f"must have either study (in Optuna) or experiment (in MLflow), but has {got}."
        )
        return
    stranger = "tracking_uri" if section.study is not None else "storage"
    if getattr(section, stranger) is not None:
        own = "storage" if section.study is not None else "tracking_uri"
        message = (
            f"belongs to the other kind of record: a {_kind(section).value} is found by its {own}, "
            f"but got {shown(masked(getattr(section, stranger)))}."
        )
        yield Problem(path=(*path, stranger), message=message)
    for key in ("storage", "tracking_uri"):
        uri = getattr(section, key)
        if uri is not None and not uri.isprintable():
            message = f"must have printable characters only, but got {shown(masked(uri))}."
            yield Problem(path=(*path, key), message=message)
        elif key == "storage" and uri is not None and not is_storage(uri):
            yield Problem(path=(*path, key), message=f"must be {STORAGE_EXPECTED}, but got {shown(masked(uri))}.")


def _kind(section: PastStudySection) -> SourceKind:
    return SourceKind.STUDY if section.study is not None else SourceKind.EXPERIMENT


def _past_source(section: PastStudySection) -> PastSource:
    name = section.study or section.experiment
    assert name is not None
    return PastSource(kind=_kind(section), name=name, uri=section.storage or section.tracking_uri)


def _source_to_plain(source: PastSource) -> dict[str, str]:
    key = "storage" if source.kind is SourceKind.STUDY else "tracking_uri"
    return {source.kind.value: source.name, **({} if source.uri is None else {key: source.uri})}
