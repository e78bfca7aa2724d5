import math
from dataclasses import replace
from pathlib import Path

import pytest

from search.epoch_log import EpochLog, read_epoch_log
from search.errors import StateError
from search.samplers.appraisal import Appraisal
from search.trial import EpochRecord, TrialRecord, TrialState

RECORD = TrialRecord(
    key="trial-0003",
    number=3,
    stage="coarse",
    hyperparameters={"model.learning_rate": 1e-3, "model.optimizer": "sgd"},
    seed=11,
    n_epochs=4,
    horizon_epochs=24,
    started_ms=1_000,
)


def epoch(number: int, **metrics: float) -> EpochRecord:
    return EpochRecord(epoch=number, metrics=metrics, time_ms=1_000 + number)


def written(path: Path, n_epochs: int) -> EpochLog:
    log = EpochLog(path)
    log.append_trial(RECORD, study_uid="u")
    for number in range(1, n_epochs + 1):
        log.append_epoch(epoch(number, val_acc=number / 10))
    return log


def test_a_log_that_does_not_exist_holds_no_trial(tmp_path: Path) -> None:
    assert read_epoch_log(tmp_path / "epochs.jsonl") is None


def test_a_running_trial_is_read_back(tmp_path: Path) -> None:
    written(tmp_path / "log", 2)
    record = read_epoch_log(tmp_path / "log")
    assert record is not None
    assert record.epochs == (epoch(1, val_acc=0.1), epoch(2, val_acc=0.2))
    assert record.state is TrialState.RUNNING
    assert (record.key, record.number, record.seed) == ("trial-0003", 3, 11)
    assert record.hyperparameters == RECORD.hyperparameters


def test_the_beliefs_that_a_choice_was_made_on_are_read_back(tmp_path: Path) -> None:
    beliefs = {"tpe": Appraisal(mean=0.1, deviation=0.05, draw=0.12), "policy": Appraisal(mean=1e-9, deviation=2.0)}
    chosen = replace(RECORD, action="tpe", beliefs=beliefs)
    EpochLog(tmp_path / "log").append_trial(chosen, study_uid="u")
    assert read_epoch_log(tmp_path / "log") == chosen


def test_retries_and_the_end_are_read_back(tmp_path: Path) -> None:
    log = written(tmp_path / "log", 1)
    log.append_retry(reason="worker died", time_ms=1_500)
    log.append_end(state=TrialState.PRUNED, reason="worse than the median", time_ms=2_000)
    record = read_epoch_log(tmp_path / "log")
    assert record is not None
    assert (record.state, record.reason) == (TrialState.PRUNED, "worse than the median")
    assert (record.n_retries, record.finished_ms) == (1, 2_000)


def test_a_trial_of_another_study_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "log", 1)
    assert read_epoch_log(tmp_path / "log", study_uid="u") is not None
    with pytest.raises(StateError, match="another study of the same name"):
        read_epoch_log(tmp_path / "log", study_uid="v")


def test_nan_and_infinities_are_kept(tmp_path: Path) -> None:
    log = written(tmp_path / "log", 0)
    log.append_epoch(epoch(1, val_loss=math.nan, val_acc=-math.inf))
    record = read_epoch_log(tmp_path / "log")
    assert record is not None
    assert math.isnan(record.epochs[0].metrics["val_loss"])
    assert record.epochs[0].metrics["val_acc"] == -math.inf


def test_a_line_cut_short_at_any_byte_is_dropped_and_the_log_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path, 2)
    whole = path.read_bytes()
    last_line_starts = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last_line_starts, len(whole)):
        path.write_bytes(whole[:cut])
        record = read_epoch_log(path)
        assert record is not None
        assert len(record.epochs) == 1
        EpochLog(path).append_epoch(epoch(2, val_acc=0.7))
        continued = read_epoch_log(path)
        assert continued is not None
        assert continued.curve("val_acc") == (0.1, 0.7)


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path, 1)
    path.write_bytes(b'{"half\n' + path.read_bytes())
    with pytest.raises(StateError, match=r"log:1: not an entry"):
        read_epoch_log(path)


@pytest.mark.parametrize(
    "garbage",
    [
        b"5",
        b"[]",
        b"null",
        b'"end"',
        b"{}",
        b"\xff\xfe\x00",
        b'{"epoch":3,"time_ms":1,"metrics":{}}',
        b'{"end":"lost"}',
    ],
)
def test_garbage_between_the_lines_is_an_error_with_its_line(garbage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path, 2)
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + garbage + b"\n" + b"".join(rest))
    with pytest.raises(StateError, match=r"log:2: not an entry"):
        read_epoch_log(path)


def test_a_log_without_its_first_line_or_with_an_epoch_missing_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    for missing, at in ((0, 1), (1, 2), (2, 3)):
        path.write_bytes(b"".join(line for index, line in enumerate(lines) if index != missing))
        with pytest.raises(StateError, match=rf"log:{at}: not an entry"):
            read_epoch_log(path)


def test_a_log_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    log = EpochLog(tmp_path / "missing" / "log")
    with pytest.raises(StateError, match="missing/log cannot be written"):
        log.append_epoch(epoch(1))


def test_an_epoch_without_the_metric_is_nan_in_its_curve() -> None:
    record = TrialRecord(
        key="k",
        number=None,
        stage="refit",
        hyperparameters={},
        seed=0,
        n_epochs=2,
        horizon_epochs=2,
        started_ms=0,
        epochs=(epoch(1, val_acc=0.5), epoch(2)),
    )
    first, second = record.curve("val_acc")
    assert first == 0.5
    assert math.isnan(second)
