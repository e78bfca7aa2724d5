"""What a user of MLflow's UI is led to: the view of the trials, the study's description, the addresses."""

from __future__ import annotations

import base64
import json
import math
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tracked_study
from hypothesis import given
from hypothesis import strategies as st

from search.constraint import Constraint
from search.search_space import (
    Choices,
    Condition,
    Dimension,
    IntLogRange,
    LinearRange,
    LogRange,
    OneMinusLogRange,
    Range,
    SearchSpace,
)
from search.study_definition import Direction, FurtherObjective, StudyDefinition
from search.study_record import NarrowedSpace, RangeChange, RangeDecision, StageOpening
from search.tracking import latest_study_pages, study_pages
from search.tracking.saved_view import VIEW_TAG, experiment_tags
from search.tracking.study_note import NOTE_TAG, ranges_note
from search.tracking.trial_rows import log_scale_name, log_scale_rows
from search.trial import TrialRecord, TrialState

if TYPE_CHECKING:
    from mlflow import MlflowClient

OPTIMIZERS = Choices(values=("sgd", "adamw"))


def dimension(name: str, range_: Range, **changes: Any) -> Dimension:
    return Dimension(name=name, range=range_, limits=range_, **changes)


SPACE = SearchSpace(
    dimensions=(
        dimension("model.optimizer", OPTIMIZERS),
        dimension("model.learning_rate", LogRange(low=1e-5, high=1.0)),
        dimension("model.dropout", LogRange(low=0.01, high=0.8), zero_share=0.1),
        dimension("model.width", IntLogRange(low=8, high=512)),
        dimension("model.smoothing", LinearRange(low=0.0, high=0.2)),
        dimension(
            "model.momentum",
            OneMinusLogRange(low=0.5, high=0.999),
            conditions=(Condition(name="model.optimizer", values=("sgd",)),),
        ),
    )
)


def definition(space: SearchSpace = SPACE, **objective: Any) -> StudyDefinition:
    plain = tracked_study.definition()
    return replace(plain, space=space, objective=replace(plain.objective, **objective))


def view(study: StudyDefinition) -> dict[str, Any]:
    """The view's state, read as the UI reads it."""
    envelope = json.loads(experiment_tags(study, time_ms=1)[VIEW_TAG])
    assert isinstance(envelope["name"], str) and isinstance(envelope["createdAt"], int)
    kind, _, text = envelope["state"].partition(";")
    assert kind == "deflate"
    state = json.loads(zlib.decompress(base64.b64decode(text)))
    assert isinstance(state, dict)
    return state


def axes(chart: dict[str, Any]) -> set[str]:
    return {*chart["selectedParams"], *chart["selectedMetrics"]}


def test_the_view_shows_what_is_searched_and_what_it_led_to() -> None:
    columns = view(definition())["selectedColumns"]
    assert {f"params.`{name}`" for name in SPACE.names} <= set(columns)
    assert {"tags.`zeroin.stage`", "tags.`zeroin.state`", "metrics.`best_val_acc`"} <= set(columns)
    assert "metrics.`reward`" not in columns  # the same figures as best_val_acc
    assert "metrics.`reward`" in view(definition(gap_weight=0.5))["selectedColumns"]


@pytest.mark.parametrize(("direction", "ascending"), [(Direction.MAXIMIZE, False), (Direction.MINIMIZE, True)])
def test_the_view_puts_the_best_trial_first(direction: Direction, *, ascending: bool) -> None:
    state = view(definition(direction=direction))
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`reward`", ascending)


def test_the_view_shows_what_else_a_study_is_judged_by() -> None:
    study = definition(
        further=(FurtherObjective(monitor="n_parameters", direction=Direction.MINIMIZE),),
        constraints=(Constraint(metric="gap_acc", at_most=0.05), Constraint(metric="epoch_seconds", at_most=9.0)),
    )
    columns = view(study)["selectedColumns"]
    assert len(columns) == len(set(columns))
    more = set(columns) - set(view(definition())["selectedColumns"])
    assert more == {
        *("tags.`zeroin.feasible`", "tags.`zeroin.pareto`"),
        *("metrics.`n_parameters`", "metrics.`median_epoch_seconds`"),
    }


def test_parallel_coordinates_need_no_axis_that_some_trials_lack() -> None:
    charts = [chart for chart in view(definition())["compareRunCharts"] if chart["type"] == "PARALLEL"]
    everywhere, conditional = map(axes, charts)
    assert "model.dropout" in everywhere and "log10 model.learning_rate" in everywhere
    assert conditional - everywhere == {"log10 1 - model.momentum"}
    assert [chart["selectedMetrics"][-1] for chart in charts] == ["best_val_acc"] * 2  # it gives the colour


def test_every_chart_is_in_a_section_and_has_an_id_of_its_own() -> None:
    state = view(definition())
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == sections
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == len(state["compareRunCharts"])


def test_a_space_of_hundreds_of_hyperparameters_still_fits_a_tag() -> None:
    space = SearchSpace(
        dimensions=tuple(dimension(f"model.a{i * 7919 % 997}.b{i}", LogRange(low=1e-5, high=1.0)) for i in range(900))
    )
    tags = experiment_tags(definition(space), time_ms=1)
    assert all(len(text) <= 5000 for text in tags.values())
    assert len(view(definition(space))["selectedColumns"]) > 50


@given(st.floats(min_value=1e-5, max_value=1.0), st.floats(min_value=0.5, max_value=0.999))
def test_log_scaled_values_are_metrics_of_finished_trials(learning_rate: float, momentum: float) -> None:
    values: dict[str, Any] = {
        "model.optimizer": "sgd",
        "model.learning_rate": learning_rate,
        "model.momentum": momentum,
    }
    record = TrialRecord(
        key="trial-0000",
        number=0,
        stage="coarse",
        hyperparameters={**values, "model.dropout": 0.0, "model.width": 64, "model.smoothing": 0.0},
        seed=0,
        n_epochs=3,
        horizon_epochs=3,
        started_ms=1,
    )
    assert log_scale_rows(record, SPACE) == []
    rows = log_scale_rows(replace(record, state=TrialState.COMPLETE, finished_ms=2), SPACE)
    found = {row.key: row.value for row in rows}
    assert set(found) == {"log10 model.learning_rate", "log10 model.width", "log10 1 - model.momentum"}
    assert found["log10 model.learning_rate"] == math.log10(learning_rate)
    assert 10.0 ** found["log10 1 - model.momentum"] == pytest.approx(1.0 - momentum)


def test_only_what_is_on_a_log_scale_and_never_zero_has_a_metric_of_it() -> None:
    named = {each.name for each in SPACE if log_scale_name(each) is not None}
    assert named == {"model.learning_rate", "model.width", "model.momentum"}


def opening(index: int = 0, *, n_bars: int = 1) -> StageOpening:
    decisions = [
        RangeDecision(
            name=each.name,
            change=RangeChange.DECLARED,
            before="",
            after=" | ".join(["a"] * (n_bars + 1)),
            reason="",
            figures={},
        )
        for each in SPACE
    ]
    narrowed = NarrowedSpace(space=SPACE, decisions=tuple(decisions))
    return StageOpening(index=index, name=("coarse", "fine")[index], narrowed=narrowed, first_trial_number=0, time_ms=5)


def test_choices_do_not_break_the_table_of_ranges() -> None:
    note = ranges_note(definition(), {0: opening(0), 1: opening(1)})
    rows = [line for line in note.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(SPACE)
    assert {row.count("|") for row in rows} == {4}


def test_a_description_is_cut_by_whole_rows_to_what_a_tag_takes() -> None:
    note = ranges_note(definition(), {0: opening(0, n_bars=500), 1: opening(1, n_bars=500)})
    assert len(note) <= 5000
    assert note.splitlines()[-1].startswith("Why each range moved")
    assert all(line.endswith("|") for line in note.splitlines() if line.startswith("|"))


def record_opening(uri: str, directory: Path) -> None:
    tracker = tracked_study.new_tracker(uri, directory, [], study=definition(), flush_seconds=0.01)
    tracker.publish_stage(opening())
    assert tracker.close(timeout_seconds=120.0) == ()


def parent_note(client: MlflowClient) -> str:
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    (parent,) = client.search_runs([experiment.experiment_id])
    return str(parent.data.tags[NOTE_TAG])


def test_the_pages_of_a_study_are_there_once_it_is_recorded(mlflow_uri: str, tmp_path: Path) -> None:
    import mlflow

    assert study_pages(mlflow_uri, "digits") is None
    record_opening(mlflow_uri, tmp_path)
    client = mlflow.MlflowClient(tracking_uri=mlflow_uri)
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None and VIEW_TAG in experiment.tags
    pages = study_pages(mlflow_uri, "digits")
    assert pages is not None and pages.study is not None
    (parent,) = client.search_runs([experiment.experiment_id])
    for page in (pages.trials, pages.charts, pages.study):
        assert page.startswith(f"/#/experiments/{experiment.experiment_id}/runs")
        assert "workflowType=machine_learning" in page
    assert parent.info.run_id in pages.study
    assert latest_study_pages(mlflow_uri) == {"digits": pages}  # and not MLflow's own experiment
    assert "viewStateShareKey" in pages.trials and "compareRunsMode=CHART" in pages.charts


def test_no_view_is_asked_for_where_there_is_none(mlflow_uri: str) -> None:
    import mlflow

    mlflow.MlflowClient(tracking_uri=mlflow_uri).create_experiment("digits")
    pages = study_pages(mlflow_uri, "digits")
    assert pages is not None and pages.study is None
    assert "viewStateShareKey" not in pages.trials


@pytest.mark.parametrize("options", ["", "?timeout=30"])
def test_looking_for_pages_creates_no_database(options: str, tmp_path: Path) -> None:
    assert study_pages(f"sqlite:///{tmp_path}/mlflow.db{options}", "digits") is None
    assert latest_study_pages(f"sqlite:///{tmp_path}/mlflow.db{options}") == {}
    assert not list(tmp_path.iterdir())


def test_what_users_changed_is_theirs(mlflow_uri: str, tmp_path: Path) -> None:
    import mlflow

    record_opening(mlflow_uri, tmp_path)
    client = mlflow.MlflowClient(tracking_uri=mlflow_uri)
    assert parent_note(client).startswith("**Study digits**")
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    (parent,) = client.search_runs([experiment.experiment_id])
    client.set_tag(parent.info.run_id, NOTE_TAG, "my own words")
    client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, "my own view")
    record_opening(mlflow_uri, tmp_path)
    assert parent_note(client) == "my own words"
    assert client.get_experiment(experiment.experiment_id).tags[VIEW_TAG] == "my own view"
