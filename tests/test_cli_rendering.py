from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pandas
import pytest
import yaml
from rich.console import RenderableType

from search.cli import figures, rows
from search.cli.best import best_plain, best_report
from search.cli.console import make_console, show
from search.cli.formats import Format, encode, parquet_bytes, strict_json
from search.cli.plan import plan_report
from search.cli.result_story import result_story
from search.cli.status import status_plain, status_report
from search.cli.tables import opening_summary, ranges_reasons, ranges_story, studies_table
from search.cli.trials_table import short_names, trials_table
from search.range_text import range_text
from search.recorded_best import best_of
from search.search_space import LogRange, SearchSpace
from search.study_definition import Budget, Direction, EndEarly, StudyDefinition
from search.study_file import built_in_studies, definition_from_plain, definition_to_plain, load_study_file
from search.study_record import (
    Confirmation,
    EarlyEnd,
    NarrowedSpace,
    Outlook,
    RangeChange,
    RangeDecision,
    ScoredTrial,
    Spent,
    StageOpening,
    StudyRecord,
    StudyResult,
    StudyState,
)
from search.study_views import StudySummary
from search.trial import EpochRecord, Score, TrialRecord, TrialState

LONG_REASON = "RuntimeError: mat1 and mat2 shapes cannot be multiplied\n" * 40


@pytest.fixture
def definition() -> StudyDefinition:
    return load_study_file(built_in_studies()["digits"])


def a_trial(
    definition: StudyDefinition,
    number: int,
    *,
    stage: int = 0,
    state: TrialState = TrialState.COMPLETE,
    value: float = 0.9,
    reason: str = "",
) -> ScoredTrial:
    space, settings = definition.space, definition.stages[stage]
    units = {name: (0.37 * (number + 1) + 0.11 * i) % 1.0 for i, name in enumerate(space.names)}
    n_epochs = 0 if state in (TrialState.FAILED, TrialState.RUNNING) else settings.max_epochs
    record = TrialRecord(
        key=f"trial-{number:04d}",
        number=number,
        stage=settings.name,
        hyperparameters=space.from_units(units),
        seed=number,
        n_epochs=settings.max_epochs,
        horizon_epochs=24,
        epochs=tuple(EpochRecord(epoch=e + 1, metrics={"val_acc": value}, time_ms=e) for e in range(n_epochs)),
        state=state,
        reason=reason,
        started_ms=1_700_000_000_000,
        finished_ms=None if state is TrialState.RUNNING else 1_700_000_012_300,
    )
    if state in (TrialState.FAILED, TrialState.RUNNING):
        return ScoredTrial(record=record, score=None)
    if state is TrialState.DIVERGED:
        score = Score(reward=-math.inf, best_value=math.nan, best_epoch=0, gap_at_best=math.nan)
    else:
        score = Score(reward=value, best_value=value, best_epoch=n_epochs, gap_at_best=0.0123)
    return ScoredTrial(record=record, score=score)


def openings(definition: StudyDefinition) -> tuple[StageOpening, ...]:
    declared = tuple(
        RangeDecision(
            name=dimension.name,
            change=RangeChange.DECLARED,
            before=range_text(dimension),
            after=range_text(dimension),
            reason="as declared",
            figures={},
        )
        for dimension in definition.space
    )
    narrowed_rate = replace(definition.space["model.learning_rate"], range=LogRange(low=0.00123, high=0.0456))
    dimensions = tuple(narrowed_rate if d.name == "model.learning_rate" else d for d in definition.space)
    narrowed = tuple(
        replace(
            decision,
            change=RangeChange.NARROWED if decision.name == "model.learning_rate" else RangeChange.KEPT,
            after=range_text(dimension),
            reason=f"the reason for {decision.name} (p = 0.0001, " + "with more and more figures, " * 6 + ")",
            figures={"p_value": 0.0001, "n_best": 12.0},
            cut_off=decision.name == "model.learning_rate",
        )
        for decision, dimension in zip(declared, dimensions, strict=True)
    )
    first = NarrowedSpace(space=definition.space, decisions=declared)
    second = NarrowedSpace(space=SearchSpace(dimensions=dimensions), decisions=narrowed)
    return (
        StageOpening(index=0, name="coarse", narrowed=first, first_trial_number=0, time_ms=0),
        StageOpening(index=1, name="medium", narrowed=second, first_trial_number=48, time_ms=1),
    )


@pytest.fixture
def record(definition: StudyDefinition) -> StudyRecord:
    trials = (
        a_trial(definition, 0, value=0.91),
        a_trial(definition, 1, state=TrialState.DIVERGED, reason="train_loss became nan"),
        a_trial(definition, 2, state=TrialState.FAILED, reason=LONG_REASON),
        a_trial(definition, 3, state=TrialState.PRUNED, value=0.95, reason="below the median"),
        a_trial(definition, 4, state=TrialState.STOPPED_EARLY, value=0.9345, reason="flat for 5 epochs"),
        a_trial(definition, 5, state=TrialState.RUNNING),
        a_trial(definition, 6, state=TrialState.INTERRUPTED, value=0.2, reason="the coordinator was stopped"),
        a_trial(definition, 48, stage=1, value=0.92),
    )
    return StudyRecord(
        definition=definition,
        state=StudyState.UNFINISHED,
        openings=openings(definition),
        trials=trials,
        result=None,
        storage="journal:///home/me/mlruns/optuna.journal",
        tracking_uri="sqlite:////home/me/mlruns/mlflow.db",
        directory="/home/me/mlruns/trials/digits",
    )


@pytest.fixture
def finished(record: StudyRecord) -> StudyRecord:
    result = StudyResult(
        best_trial_number=48,
        confirmations=(
            Confirmation(
                trial_number=48,
                rewards=(0.981, 0.983),
                best_epochs=(20, 22),
                mean=0.982,
                eliminated_after=None,
                interval=(0.97, 0.99),
            ),
            Confirmation(trial_number=4, rewards=(0.961,), best_epochs=(20,), mean=0.961, eliminated_after=1),
        ),
        refit_keys=("refit-seed0", "refit-seed1"),
        refit_epochs=21,
        test_members=({"test_acc": 0.975, "test_loss": 0.1}, {"test_acc": 0.985, "test_loss": math.nan}),
        test_ensemble={"test_acc": 0.9888},
        n_test_samples=540,
        n_test_readings=1,
        n_epochs={"coarse": 96, "confirm": 1144, "refit": 42},
        notices=("the ensemble averages probabilities",),
        seconds=125.0,
        time_ms=2,
    )
    return replace(record, state=StudyState.FINISHED, result=result)


@pytest.fixture
def empty(record: StudyRecord) -> StudyRecord:
    return replace(record, openings=(), trials=())


def text_of(part: RenderableType, *, width: int = 80) -> str:
    file = io.StringIO()
    show(make_console(file=file, width=width), part)
    return file.getvalue()


def every_report(record: StudyRecord, *, width: int) -> list[RenderableType]:
    return [
        trials_table(record, record.trials, width=width),
        ranges_story(record, width=width),
        ranges_reasons(record),
        status_report(record),
        best_report(record),
        result_story(record, width=width),
        plan_report(record.definition),
        *(opening_summary(opening, width=width) for opening in record.openings[1:]),
    ]


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("which", ["record", "finished", "empty"])
def test_no_report_is_wider_than_the_terminal(which: str, width: int, request: pytest.FixtureRequest) -> None:
    record: StudyRecord = request.getfixturevalue(which)
    for part in every_report(record, width=width):
        lines = text_of(part, width=width).splitlines()
        assert lines
        assert max(map(len, lines)) <= width, "\n".join(lines)
        assert all(line == line.rstrip() for line in lines)


def test_what_is_there_to_be_copied_is_never_cut(finished: StudyRecord) -> None:
    long = "/a/very/long/path" * 9
    record = replace(finished, storage=f"journal://{long}", tracking_uri=f"sqlite:///{long}", directory=long)
    assert f"journal://{long}\n" in text_of(status_report(record)) and f"sqlite:///{long}\n" in text_of(
        status_report(record)
    )
    assert f"{long}/refit-seed1\n" in text_of(best_report(record))
    assert f"{long}/refit-seed1\n" in text_of(result_story(record, width=80))


def test_trials_have_a_line_each_with_their_figures(record: StudyRecord) -> None:
    lines = text_of(trials_table(record, record.trials, width=80)).splitlines()
    cells = {line.split()[0]: line.split() for line in lines[1:9]}
    assert lines[0].split()[:7] == ["#", "stage", "state", "epochs", "val_acc", "gap", "time"]
    assert cells["0"][:7] == ["0", "coarse", "complete", "2/2", "0.9100", "+0.0123", "12.3"]
    assert cells["1"][:6] == ["1", "coarse", "diverged", "2/2", "-", "-"]
    assert cells["2"][:6] == ["2", "coarse", "failed", "0/2", "-", "-"]
    assert cells["48"][:4] == ["48", "medium", "complete", "6/6"]


def test_a_wide_terminal_shows_every_hyperparameter_and_a_narrow_one_says_which_are_missing(
    record: StudyRecord,
) -> None:
    titles = short_names(record.definition.space.names)
    wide = text_of(trials_table(record, record.trials, width=240), width=240)
    assert set(titles) <= set(wide.splitlines()[0].split())
    assert "No room" not in wide
    narrow = text_of(trials_table(record, record.trials, width=80))
    shown = set(narrow.splitlines()[0].split())
    note = narrow[narrow.index("No room") :].replace("\n", " ")
    assert {title for title in titles if title not in shown} == {title for title in titles if f" {title}" in note}


def test_why_trials_failed_is_told_and_cut_short(record: StudyRecord) -> None:
    text = text_of(trials_table(record, record.trials, width=80))
    assert "train_loss became nan" in text
    assert "#2" in text
    assert text.count("mat1 and mat2") < 8
    assert "below the median" not in text


def test_names_are_shortened_only_where_they_stay_apart() -> None:
    assert short_names(["model.dropout", "data.size", "model.size"]) == ["dropout", "data.size", "model.size"]


def test_pruned_and_interrupted_trials_do_not_win(record: StudyRecord) -> None:
    best = rows.winner(record)
    assert best is not None
    assert best.record.number == 4


def test_of_a_finished_study_the_confirmed_trial_wins(finished: StudyRecord) -> None:
    best = rows.winner(finished)
    assert best is not None
    assert best.record.number == 48


def test_less_is_better_when_minimizing(record: StudyRecord) -> None:
    less = replace(record.definition.objective, direction=Direction.MINIMIZE)
    best = best_of(record.trials, objective=less)
    assert best is not None
    assert best.record.number == 6
    ordered = rows.by_reward(record.trials, objective=record.definition.objective)
    rewards = [trial.score.reward for trial in ordered if trial.score is not None]
    assert rewards == sorted(rewards, reverse=True)
    assert [trial.record.number for trial in ordered[-2:]] == [2, 5]


def _rows(record: StudyRecord) -> list[dict[str, object]]:
    return [rows.trial_row(trial, monitor="val_acc") for trial in record.trials]


def _reject(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_json_is_strict_and_has_every_column(record: StudyRecord) -> None:
    columns = rows.trial_columns(record)
    parsed = json.loads(encode(_rows(record), Format.JSON, columns=columns), parse_constant=_reject)
    assert all(list(row) == columns for row in parsed)
    assert parsed[1]["reward"] is None  # minus infinity
    assert parsed[0]["best_val_acc"] == 0.91
    assert parsed[0]["seconds"] == 12.3
    for row, trial in zip(parsed, record.trials, strict=True):
        given = {name: row[name] for name in record.definition.space.names if row[name] is not None}
        assert given == trial.record.hyperparameters  # exact, not rounded


def test_csv_gives_back_what_went_in(record: StudyRecord) -> None:
    columns = rows.trial_columns(record)
    parsed = list(csv.DictReader(io.StringIO(encode(_rows(record), Format.CSV, columns=columns).decode())))
    assert len(parsed) == len(record.trials)
    assert parsed[1]["reward"] == "-inf"
    assert parsed[2]["reason"] == LONG_REASON
    rate = record.trials[0].record.hyperparameters["model.learning_rate"]
    assert float(parsed[0]["model.learning_rate"]) == rate


def test_parquet_keeps_types(record: StudyRecord) -> None:
    columns = rows.trial_columns(record)
    frame = pandas.read_parquet(io.BytesIO(encode(_rows(record), Format.PARQUET, columns=columns)))
    assert list(frame.columns) == columns
    assert str(frame["number"].dtype) == "Int64"
    assert frame["model.learning_rate"].dtype == "float64"
    assert frame["best_epoch"].isna().tolist() == [False, True, True, False, False, True, False, False]


def test_parquet_holds_a_choice_of_mixed_types_and_no_rows_at_all() -> None:
    mixed = parquet_bytes([{"a": 3, "b": True}, {"a": "auto", "b": None}], columns=["a", "b"])
    frame = pandas.read_parquet(io.BytesIO(mixed))
    assert frame["a"].tolist() == ["3", "auto"]
    assert str(frame["b"].dtype) == "boolean"
    assert len(pandas.read_parquet(io.BytesIO(parquet_bytes([], columns=["a"])))) == 0


@pytest.mark.parametrize("which", ["record", "finished", "empty"])
def test_every_plain_form_is_strict_json(which: str, request: pytest.FixtureRequest) -> None:
    record: StudyRecord = request.getfixturevalue(which)
    for data in (best_plain(record), status_plain(record), rows.range_rows(record)):
        json.loads(strict_json(data), parse_constant=_reject)


def test_ranges_have_a_row_for_each_stage_and_dimension(record: StudyRecord) -> None:
    found = rows.range_rows(record)
    assert len(found) == 2 * len(record.definition.space)
    rate = next(row for row in found if row["stage"] == "medium" and row["name"] == "model.learning_rate")
    assert (rate["low"], rate["high"], rate["scale"], rate["change"]) == (0.00123, 0.0456, "log", "narrowed")
    assert rate["figures"] == {"p_value": 0.0001, "n_best": 12.0}
    momentum = next(row for row in found if row["name"] == "model.momentum")
    assert momentum["scale"] == "one_minus_log"
    optimizer = next(row for row in found if row["name"] == "model.optimizer")
    assert optimizer["choices"] == ["sgd", "nesterov", "adamw"]
    flat = rows.flat_range_rows(record)
    assert all(not isinstance(value, list | dict) for row in flat for value in row.values())


def test_the_story_of_the_ranges_reads_by_dimension_or_by_stage(record: StudyRecord) -> None:
    beside = text_of(ranges_story(record, width=80))
    rate = next(line for line in beside.splitlines() if line.startswith("model.learning_rate"))
    assert "[1e-05, 1]" in rate and "[0.00123, 0.0456]" in rate
    many = replace(record, openings=tuple(replace(record.openings[1], name=f"stage{i}") for i in range(6)))
    below = text_of(ranges_story(many, width=80))
    assert below.count("[0.00123, 0.0456]") == 6
    assert max(map(len, below.splitlines())) <= 80


def test_every_reason_is_told_in_full(record: StudyRecord) -> None:
    told = " ".join(text_of(ranges_reasons(record)).split())
    for decision in record.openings[1].narrowed.decisions:
        assert " ".join(decision.reason.split()) in told
    assert "at its hard limit" in told


def test_a_stage_opens_with_what_changed_and_the_names_of_the_rest(record: StudyRecord) -> None:
    lines = text_of(opening_summary(record.openings[1], width=80)).splitlines()
    assert lines[0].startswith("model.learning_rate  narrowed  [1e-05, 1] → [0.00123, 0.0456]")
    assert lines[1].startswith("  the reason for model.learning_rate") and lines[1].endswith("…")
    assert lines[2].startswith("kept: model.optimizer, model.lr_schedule")


def test_status_counts_states_by_stage(record: StudyRecord) -> None:
    plain = status_plain(record)
    coarse = plain["stages"][0]
    assert (plain["n_finished"], plain["n_trials"]) == (6, 84)
    assert coarse["states"] == {
        "complete": 1,
        "stopped_early": 1,
        "pruned": 1,
        "diverged": 1,
        "failed": 1,
        "running": 1,
        "interrupted": 1,
    }
    assert coarse["n_epochs"] == 2 * 5
    assert plain["best_trial"] == 4
    assert not plain["stages"][2]["opened"]
    text = text_of(status_report(record))
    assert "zeroin resume digits" in text
    assert record.storage in text and record.tracking_uri in text


def test_the_snippet_builds_the_winner(finished: StudyRecord) -> None:
    text = text_of(best_report(finished))
    snippet = "\n".join(line[2:] for line in text[text.index("  model:\n") : text.index("\nWeights")].splitlines())
    sections = yaml.safe_load(snippet)
    winner = finished.trials[-1].record
    assert sections["model"]["class_path"] == finished.definition.model.class_path
    searched = {name.removeprefix("model."): value for name, value in winner.hyperparameters.items()}
    assert sections["model"]["init_args"] == {**finished.definition.model.init_args, **searched}
    assert sections["trainer"] == dict(finished.definition.trainer)


def test_weights_are_the_refitted_members_once_there_are_some(record: StudyRecord, finished: StudyRecord) -> None:
    before, after = best_plain(record), best_plain(finished)
    assert before is not None and after is not None
    assert before["confirmed"] is None
    contenders = after["confirmed"]["contenders"]
    assert [(each["number"], each["low"], each["high"]) for each in contenders] == [(48, 0.97, 0.99), (4, None, None)]
    assert before["weights"] == [str(Path(record.directory) / "trial-0004")]
    assert after["weights"] == [str(Path(record.directory) / key) for key in ("refit-seed0", "refit-seed1")]


def test_the_result_tells_test_confirmation_and_epochs(finished: StudyRecord) -> None:
    text = text_of(result_story(finished, width=80))
    lines = [line.split() for line in text.splitlines()]
    assert ["test_acc", "0.9888", "0.9800", "0.9750", "0.9850"] in lines
    assert ["#48", "0.9820", "0.9700", "to", "0.9900", "0.9810", "0.9830", "winner"] in lines
    assert ["#4", "0.9610", "-", "0.9610", "dropped", "after", "1", "run"] in lines
    assert "Noise between seeds: 0.0014" in text and "with 90 % confidence" in " ".join(text.split())
    assert "540 samples, read once" in text
    assert "confirm 1,144" in text and "1,282 in all" in text
    assert "2 min 5 s" in text
    for command in ("zeroin ui", "zeroin trials digits", "zeroin ranges digits", "zeroin best digits"):
        assert command in text


def test_an_empty_study_says_so(empty: StudyRecord) -> None:
    assert "No trials" in text_of(trials_table(empty, (), width=80))
    assert "No finished trial" in text_of(best_report(empty))
    assert best_plain(empty) is None


def test_the_plan_adds_up(definition: StudyDefinition) -> None:
    text = text_of(plan_report(definition))
    searched = 48 * 2 + 24 * 6 + 12 * 24
    assert f"{searched + 9 * 24 + 3 * 24:,} epochs" in text
    for dimension in definition.space:
        assert dimension.name in text


def test_a_search_that_may_end_early_says_so_before_and_why_afterwards(record: StudyRecord) -> None:
    assert "ends early" not in text_of(plan_report(record.definition))
    assert "ended early" not in text_of(status_report(record))
    asking = replace(record.definition, end_early=EndEarly(gain_below=0.002, min_trials=40))
    assert "ends early, after 40 trials at the least, when further ones cannot gain 0.002" in text_of(
        plan_report(asking), width=120
    )
    outlook = Outlook(expected_gain=0.0001, possible_gain=0.001, noise=0.01)
    end = EarlyEnd(reason="after 5 finished trials", outlook=outlook, n_finished=44, n_left=40, time_ms=0)
    ended = replace(record, definition=asking, early_end=end)
    assert "The search ended early: after 5 finished trials" in text_of(status_report(ended))
    plain = json.loads(strict_json(status_plain(ended)))
    assert (plain["ended_early"]["outlook"]["noise"], plain["seconds_left"]) == (0.01, None)
    for part in every_report(ended, width=80):
        assert max(map(len, text_of(part).splitlines())) <= 80


def test_the_plan_says_how_many_trials_continue_others(definition: StudyDefinition) -> None:
    assert "continue" not in text_of(plan_report(definition))
    coarse, medium, fine = definition.stages
    text = text_of(plan_report(replace(definition, stages=(coarse, medium, replace(fine, promote=2)))), width=120)
    lines = [line.split() for line in text.splitlines()]
    assert [line[-1] for line in lines if line[:1] in (["coarse"], ["medium"], ["fine"])] == ["0", "0", "2"]
    assert "promotion save some" in text


def test_the_plan_says_what_it_may_cost(definition: StudyDefinition) -> None:
    assert "budget" not in text_of(plan_report(definition))
    text = text_of(plan_report(replace(definition, budget=Budget(hours=8.0, n_trials=40))))
    assert "budget: 8 hours, 40 trials" in text
    assert "its trials are shared: coarse 22, medium 11, fine 7" in text


def opened(definition: StudyDefinition, **budget: float) -> StudyDefinition:
    """The study with a last stage of as many trials as the budget allows."""
    *earlier, last = definition.stages
    bounds = definition_from_plain({**definition_to_plain(definition), "budget": budget}).budget
    return replace(definition, stages=(*earlier, replace(last, n_trials=None)), budget=bounds)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (
            {"epochs": 2600},
            (
                "as many trials as 2,600 epochs allow",
                "coarse 96, medium 144, fine 2,360",
                "at most 2,888 epochs in all",
            ),
        ),
        ({"epochs": 300}, ("budget: 300 epochs", "its epochs are shared: coarse 60, medium 90, fine 150")),
        ({"hours": 1.0}, ("as many trials as 1 hour allows", "as many epochs as the budget allows", "at most 288 in")),
        (
            {"n_trials": 40},
            ("as many trials as 40 trials allow", "its trials are shared: coarse 13, medium 7, fine 20"),
        ),
    ],
)
def test_the_plan_of_an_open_stage_says_what_bounds_it(
    definition: StudyDefinition, budget: dict[str, float], expected: tuple[str, ...]
) -> None:
    text = " ".join(text_of(plan_report(opened(definition, **budget))).split())
    assert all(words in text for words in expected), text
    assert "fine open 24 the rest" in text
    counted = " ".join(text_of(plan_report(replace(definition, budget=Budget(epochs=5000)))).split())
    assert "shared" not in counted and "at most 816 epochs in all" in counted


def test_a_study_without_a_number_of_trials_counts_only_what_is_done(record: StudyRecord) -> None:
    record = replace(record, definition=opened(record.definition, epochs=900))
    n_trained = sum(trial.record.n_trained for trial in record.trials)
    record = replace(record, spent=Spent(wall_seconds=60.0, worker_seconds=60.0, n_epochs=99, n_workers=1))
    plain = status_plain(record)
    assert plain["n_trials"] is None and plain["stages"][-1]["n_trials"] is None
    text = " ".join(text_of(status_report(record)).split())
    assert f"99 epochs, {n_trained} of them by trials of a budget of 900 epochs" in text
    assert "within the budget of 900 epochs" in text
    assert "None" not in text and "None" not in text_of(result_story(record, width=80))
    words = figures.stage_words(record.definition.stages[-1], record.definition.budget)
    assert words == "as many trials as 900 epochs allow, up to 24 epochs each, sampler tpe"
    summary = StudySummary(
        name="digits", state=record.state, n_finished=3, n_trials=None, best_reward=0.9, updated_ms=None
    )
    assert "None" not in text_of(studies_table([summary]))


def test_status_tells_what_was_spent_and_what_is_to_come(record: StudyRecord) -> None:
    assert "Spent" not in text_of(status_report(record))
    spent = Spent(wall_seconds=600.0, worker_seconds=1000.0, device_seconds=1000.0, n_epochs=20, n_workers=2)
    record = replace(record, spent=spent, definition=replace(record.definition, budget=Budget(hours=1.0)))
    text = " ".join(text_of(status_report(record)).split())
    assert "Spent: 10 min, 16 min 40 s of devices, 20 epochs of a budget of 1 hour" in text
    assert "Forecast for 2 workers: stage medium" in text and "the budget of 1 hour will leave out about" in text
    plain = status_plain(record)
    assert (plain["seconds"], plain["device_seconds"]) == (600.0, 1000.0)
    assert plain["seconds_left"] > 0.0
    assert status_plain(replace(record, finish_has_begun=True))["seconds_left"] is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (90_000, "1 d 1 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert figures.duration(seconds) == words


@pytest.mark.parametrize("value", [math.nan, -1.0])
def test_a_duration_that_is_none(value: float) -> None:
    assert figures.duration(value) == figures.MISSING


@pytest.mark.parametrize(
    ("value", "shown"), [(0.98765, "0.9877"), (0.0, "0.0000"), (1.5e-5, "1.5e-05"), (12345.6, "1.235e+04")]
)
def test_metrics(value: float, shown: str) -> None:
    assert figures.metric(value) == shown
