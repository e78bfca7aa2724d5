"""Rows as JSON, CSV or Parquet, for programs: full precision, no rounding, no decoration."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from search.errors import StateError

Row = Mapping[str, Any]
"""Column name to a string, number, boolean or None; every row of a table has the same columns."""


class Format(StrEnum):
    """How a command prints what it found."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


def strict_json(data: Any) -> str:
    """Return JSON that every parser reads: NaN and infinities, which JSON lacks, become null."""
    return json.dumps(_without_infinities(data), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def csv_text(rows: Sequence[Row], *, columns: Sequence[str]) -> str:
    """Return CSV with a header line; a missing value and NaN are empty, infinities are ``inf`` and ``-inf``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv_cell(row.get(name)) for name in columns} for row in rows)
    return text.getvalue()


def parquet_bytes(rows: Sequence[Row], *, columns: Sequence[str]) -> bytes:
    """Return a Parquet file; a column of values of several types (a choice of 3 and "auto") becomes text."""
    import pandas  # a second of import that only this format is worth

    frame = pandas.DataFrame({name: _column(pandas, [row.get(name) for row in rows]) for name in columns})
    buffer = io.BytesIO()
    frame.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def encode(rows: Sequence[Row], format_: Format, *, columns: Sequence[str]) -> bytes:
    """Return rows in a machine-readable format.

    Args:
        rows: May lack columns, which are then empty.
        format_: Any but `Format.TABLE`.
        columns: Names in the order of the output.
    """
    if format_ is Format.PARQUET:
        return parquet_bytes(rows, columns=columns)
    if format_ is Format.CSV:
        return csv_text(rows, columns=columns).encode()
    assert format_ is Format.JSON, format_
    return strict_json([{name: row.get(name) for name in columns} for row in rows]).encode()


def write_out(content: bytes, *, output: Path | None, stdout: BinaryIO) -> None:
    """Write to the file `output`, or to standard output if it is None.

    Raises:
        StateError: If the file cannot be written.
    """
    if output is None:
        stdout.write(content)
        stdout.flush()
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise StateError(f"cannot write {output}: {error.strerror or error}.") from error


def _without_infinities(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: _without_infinities(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_without_infinities(value) for value in data]
    return data


def _csv_cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else value


def _column(pandas: Any, values: list[Any]) -> Any:
    """Give a column the narrowest type that holds all of it; integers with gaps stay integers."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool}:
        return pandas.array(values, dtype="boolean")
    if kinds <= {int}:
        return pandas.array(values, dtype="Int64")
    if kinds <= {int, float}:
        return [math.nan if value is None else float(value) for value in values]
    return pandas.array([None if value is None else str(value) for value in values], dtype="string")
