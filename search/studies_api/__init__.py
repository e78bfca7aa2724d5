"""Check, run, resume, read, list and delete studies from Python; the command line does nothing else.

Example::

    from pathlib import Path

    from search.studies_api import run_study
    from search.study_file import load_study_file

    record = run_study(load_study_file(Path("my_study.yaml")))
    print(record.result.test_ensemble)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from search.studies_api.reading import find_study as find_study
from search.studies_api.reading import list_studies as list_studies
from search.studies_api.reading import read_study as read_study
from search.studies_api.removal import delete_study as delete_study

if TYPE_CHECKING:
    from search.studies_api.checking import check_study as check_study
    from search.studies_api.running import finish_study as finish_study
    from search.studies_api.running import preview_study as preview_study
    from search.studies_api.running import resume_study as resume_study
    from search.studies_api.running import run_study as run_study


_HOMES = {
    "check_study": "search.studies_api.checking",
    **dict.fromkeys(("finish_study", "preview_study", "resume_study", "run_study"), "search.studies_api.running"),
}


def __getattr__(name: str) -> Any:
    """Import what runs studies on first use: who only reads them need not wait for SciPy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
