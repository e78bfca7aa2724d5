"""The append-only log of one trial: who it is, each finished epoch, each retry, and its end.

One JSON object a line, in the order in which things happened::

    {"trial": {"key": "trial-0012", "number": 12, "stage": "medium", "hyperparameters": {…}, …}}
    {"epoch": 1, "time_ms": 1790000000000, "metrics": {"val_acc": 0.91, …}}
    {"retry": "worker 7781 was killed by SIGKILL", "time_ms": …}
    {"end": "complete", "reason": "6 of 6 epochs", "time_ms": …}        (and "traceback", if the user's code raised)

The first line of a trial that continues another one has ``"continues": "trial-0007", "n_taken_over": 2`` as well: its
first two epochs are those of trial-0007, word for word. Where its hyperparameters come from another study or from a
list, it has an ``"origin"``; where the sampler `portfolio` chose what to spend it on, an
``"action"`` and, by action, the ``"beliefs"`` that the choice was made on.

It is the source of truth: what Optuna and MLflow hold of a trial can be rebuilt from it. An epoch is written once;
training it again after a crash writes nothing. A line that a crash cut short is dropped when the log is opened again.
NaN and infinities are spelled ``NaN``, ``Infinity`` and ``-Infinity``, as Python's json module does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from search.errors import StateError
from search.samplers.appraisal import appraisals_from_plain, appraisals_to_plain
from search.trial import EpochRecord, TrialRecord, TrialState
from search.whole_lines import append_whole

_IDENTITY = (
    *("key", "number", "stage", "hyperparameters", "seed", "n_epochs", "horizon_epochs", "is_outside"),
    "started_ms",
)
_CONTINUATION = ("continues", "n_taken_over")


class EpochLog:
    """One trial's log, open for appending; the coordinator is its only writer.

    Args:
        path: The file; its directory must exist. A cut-off last line is removed.

    Raises:
        StateError: If the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists():
            self._write(b"")

    def append_trial(self, record: TrialRecord, *, study_uid: str) -> None:
        """Write the trial's identity, once, as the first line, with that of its study; then the epochs that it has."""
        names = (
            *(*_IDENTITY, *(_CONTINUATION if record.continues else ())),
            *(name for name in ("origin", "action") if getattr(record, name)),
        )
        trial = {name: getattr(record, name) for name in names}
        if record.beliefs:
            trial["beliefs"] = appraisals_to_plain(record.beliefs)
        entry = {"trial": trial, "study_uid": study_uid}
        self._write(b"".join(map(_line, [entry, *map(_epoch_entry, record.epochs)])))

    def append_epoch(self, epoch: EpochRecord) -> None:
        """Write one finished epoch."""
        self._append(_epoch_entry(epoch))

    def append_retry(self, *, reason: str, time_ms: int) -> None:
        """Write that the trial is started again, and why."""
        self._append({"retry": reason, "time_ms": time_ms})

    def append_end(self, *, state: TrialState, reason: str, time_ms: int, traceback: str = "") -> None:
        """Write how the trial ended, and where the user's code raised if it did."""
        end = {"end": state.value, "reason": reason, "time_ms": time_ms}
        self._append({**end, "traceback": traceback} if traceback else end)

    def _append(self, entry: dict[str, Any]) -> None:
        self._write(_line(entry))

    def _write(self, lines: bytes) -> None:
        try:
            with self._path.open("a+b", buffering=0) as file:
                append_whole(file, lines)
        except OSError as error:
            raise StateError(f"the epoch log {self._path} cannot be written: {error.strerror or error}.") from error


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":"), default=dict).encode() + b"\n"


def _epoch_entry(epoch: EpochRecord) -> dict[str, Any]:
    return {"epoch": epoch.epoch, "time_ms": epoch.time_ms, "metrics": dict(epoch.metrics)}


def read_epoch_log(path: Path, *, study_uid: str | None = None) -> TrialRecord | None:
    """Rebuild the trial's record from its log; None if there is no log or it holds no whole line.

    Args:
        path: The log.
        study_uid: The study that the trial must belong to, None for any.

    Raises:
        StateError: If the file cannot be read, a line other than a cut-off last one is not an entry, or the trial
            belongs to another study.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"the epoch log {path} cannot be read: {error.strerror or error}.") from error
    record: TrialRecord | None = None
    epochs: list[EpochRecord] = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            entry = json.loads(line)
            if record is None:
                _require_study(path, entry, study_uid)
                record = _identified(entry["trial"])
            elif "epoch" in entry:
                epochs.append(_next_epoch(epochs, entry))
            else:
                record = _with_event(record, entry)
        except (ValueError, TypeError, KeyError) as error:
            raise StateError(
                f"{path}:{number}: not an entry of an epoch log that fits here: {line[:120]!r}. Mend it, "
                "or remove the trial's directory: if the trial had not ended, it is then trained anew."
            ) from error
    return None if record is None else replace(record, epochs=tuple(epochs))


def _identified(plain: Mapping[str, Any]) -> TrialRecord:
    return TrialRecord(**{**plain, "beliefs": appraisals_from_plain(plain.get("beliefs", {}))})


def _next_epoch(epochs: list[EpochRecord], entry: dict[str, Any]) -> EpochRecord:
    record = EpochRecord(**entry)
    if record.epoch != len(epochs) + 1:
        raise ValueError(f"epoch {record.epoch} after {len(epochs)} epochs")
    return record


def _require_study(path: Path, entry: dict[str, Any], study_uid: str | None) -> None:
    if study_uid is not None and entry["trial"] and entry.get("study_uid") != study_uid:
        raise StateError(
            f"{path.parent} holds a trial of another study of the same name. Move {path.parent.parent} elsewhere, or "
            "run this study with the state directory that it began in (ZEROIN_HOME)."
        )


def _with_event(record: TrialRecord, entry: dict[str, Any]) -> TrialRecord:
    if "retry" in entry:
        return replace(record, n_retries=record.n_retries + 1)
    return replace(
        record,
        state=TrialState(entry["end"]),
        reason=entry["reason"],
        finished_ms=entry["time_ms"],
        traceback=entry.get("traceback", ""),
    )
