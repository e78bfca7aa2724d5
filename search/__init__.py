"""zeroin: coarse-to-fine hyperparameter search for CNNs.

The Python API, loaded on first use::

    import search

    record = search.run_study(search.load_study_file("my_study.yaml"))
    print(record.result.best_trial_number, record.result.test_ensemble)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.errors import SearchError as SearchError
    from search.paths import StateDirectory as StateDirectory
    from search.studies_api import check_study as check_study
    from search.studies_api import delete_study as delete_study
    from search.studies_api import finish_study as finish_study
    from search.studies_api import list_studies as list_studies
    from search.studies_api import preview_study as preview_study
    from search.studies_api import read_study as read_study
    from search.studies_api import resume_study as resume_study
    from search.studies_api import run_study as run_study
    from search.study_definition import StudyDefinition as StudyDefinition
    from search.study_file import definition_from_plain as definition_from_plain
    from search.study_file import load_study_file as load_study_file
    from search.study_record import StudyRecord as StudyRecord

_HOMES = {
    "run_study": "search.studies_api",
    "resume_study": "search.studies_api",
    "finish_study": "search.studies_api",
    "preview_study": "search.studies_api",
    "check_study": "search.studies_api",
    "read_study": "search.studies_api",
    "list_studies": "search.studies_api",
    "delete_study": "search.studies_api",
    "load_study_file": "search.study_file",
    "definition_from_plain": "search.study_file",
    "StateDirectory": "search.paths",
    "StudyDefinition": "search.study_definition",
    "StudyRecord": "search.study_record",
    "SearchError": "search.errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that workers and the command line pay only for what they use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names too, imported or not."""
    return sorted({*globals(), *_HOMES})
