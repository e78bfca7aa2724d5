"""What the command line writes for other programs: JSON, CSV, Parquet."""

from __future__ import annotations

import csv
import io
import json

import pandas
import pytest
from reported_studies import LONG_REASON

from search.cli import rows
from search.cli.best import best_plain
from search.cli.formats import Format, encode, parquet_bytes, strict_json
from search.cli.status import status_plain
from search.study_record import (
    StudyRecord,
)


def _rows(record: StudyRecord) -> list[dict[str, object]]:
    return [rows.trial_row(trial, record.definition.objective) for trial in record.trials]


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
