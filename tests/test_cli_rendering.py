"""What the command line shows of recorded studies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from reported_studies import every_report, text_of
from rich.console import Group

from search.cli import rows
from search.cli.best import best_plain, best_report
from search.cli.confirmation_view import confirmation_parts
from search.cli.result_story import result_story
from search.cli.status import status_plain, status_report
from search.cli.tables import opening_summary, ranges_reasons, ranges_story
from search.cli.trials_table import short_names, trials_table
from search.constraint import Constraint
from search.recorded_best import best_of, winner
from search.study_definition import Direction
from search.study_record import (
    ScoredTrial,
    StudyRecord,
)


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
    assert f"{long}/refit-seed1\n" in text_of(best_report(record, width=80))
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
    best = winner(record)
    assert best is not None
    assert best.record.number == 4


def test_of_a_finished_study_the_confirmed_trial_wins(finished: StudyRecord) -> None:
    best = winner(finished)
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
    text = text_of(best_report(finished, width=80))
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


def test_weights_of_another_epoch_than_the_score_are_said_to_be(record: StudyRecord, finished: StudyRecord) -> None:
    found = next(each for each in record.trials if each.record.number == 4)
    assert found.score is not None
    last, earlier = found.record.epochs[-1], found.score.best_epoch - 1
    worse = replace(last, metrics={"val_acc": 0.82})
    overfitted = ScoredTrial(
        record=replace(found.record, epochs=(*found.record.epochs[:-1], worse)),
        score=replace(found.score, best_epoch=earlier),
    )
    for study, is_told in ((record, True), (finished, False)):
        changed = replace(study, trials=tuple(overfitted if each is found else each for each in study.trials))
        changed = changed if is_told else replace(changed, result=replace(changed.result, best_trial_number=4))
        plain = best_plain(changed)
        assert plain is not None and plain["number"] == 4
        assert plain["weights_after"] == ({"epoch": last.epoch, "val_acc": 0.82} if is_told else None)
        for report in (best_report(changed, width=80), result_story(changed, width=80)):
            assert (f"(after epoch {last.epoch}: val_acc 0.8200" in text_of(report)) is is_told
    same = best_plain(record)
    assert same is not None and same["weights_after"] is None
    assert "(after epoch" not in text_of(best_report(record, width=80))


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


def test_contenders_that_are_too_wide_for_a_table_stand_below_each_other(finished: StudyRecord) -> None:
    measured = {"gap_acc": 0.0123, "n_parameters": 123456.0, "epoch_seconds": 1.5}
    bounds = tuple(Constraint(metric=name, at_most=9e9) for name in measured)
    assert finished.result is not None
    confirmations = tuple(replace(each, measured=measured) for each in finished.result.confirmations)
    objective = replace(finished.definition.objective, constraints=bounds)
    record = replace(
        finished,
        definition=replace(finished.definition, objective=objective),
        result=replace(finished.result, confirmations=confirmations),
    )
    narrow, wide = (text_of(Group(*confirmation_parts(record, width=width)), width=width) for width in (80, 160))
    assert all(each in text for text in (narrow, wide) for each in ("0.9700 to 0.9900", "0.9810  0.9830"))
    blocks, lines = ([line.split() for line in text.splitlines()] for text in (narrow, wide))
    assert ["#4", "dropped", "after", "1", "run"] in blocks
    assert ["mean", "epoch_seconds", "1.5", "s"] in blocks
    figures = ["0.0123", "123,456", "1.5", "s"]
    assert ["#48", "0.9820", "0.9700", "to", "0.9900", *figures, "0.9810", "0.9830", "winner"] in lines


def test_an_empty_study_says_so(empty: StudyRecord) -> None:
    assert "No trials" in text_of(trials_table(empty, (), width=80))
    assert "No finished trial" in text_of(best_report(empty, width=80))
    assert best_plain(empty) is None
