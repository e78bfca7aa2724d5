"""Rules of the study file about its finish."""

from __future__ import annotations

from collections.abc import Iterator

from search.study_file.document import shown
from search.study_file.problems import Problem
from search.study_file.schema import StudySection

_SCHEDULE = "model.lr_schedule"
_CYCLIC = "cyclic"
_SAME_TEST_DATA = ("data.batch_size",)


def broken_finish(study: StudySection) -> Iterator[Problem]:
    """Yield what the ensemble lacks, or cannot do with."""
    finish = study.finish
    if finish is None:
        return
    if finish.ensemble == "last_n" and finish.last_n is None:
        message = "needs the number of epochs beside it, in finish.last_n, but got none."
        yield Problem(path=("finish", "ensemble"), message=message)
    if finish.ensemble != "last_n" and finish.last_n is not None:
        message = f"belongs to `ensemble: last_n`, but got {finish.last_n} with `ensemble: {finish.ensemble}`."
        yield Problem(path=("finish", "last_n"), message=message)
    if finish.ensemble == "top_k":
        differing = [name for name in study.space if name.startswith("data.") and name not in _SAME_TEST_DATA]
        if differing:
            yield Problem(
                path=("finish", "ensemble"),
                message=f"must not be top_k where the data are searched ({', '.join(differing)}): its members read the "
                "test split in one pass, as one data module prepares it.",
            )
    if finish.ensemble == "snapshots" and _SCHEDULE in study.space:
        choices = study.space[_SCHEDULE].choice
        if choices is not None and _CYCLIC not in choices:
            yield Problem(
                path=("finish", "ensemble"),
                message=f"must not be snapshots where no learning rate has cycles: {_SCHEDULE} is one of "
                f"{shown(choices)}; put {_CYCLIC} among them.",
            )
