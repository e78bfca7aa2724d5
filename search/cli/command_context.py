"""What every command shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.cli.api import StudiesApi


@dataclass(slots=True)
class CommandContext:
    """State of one run of the command line.

    Attributes:
        debug: Whether errors show their traceback.
        api: What studies are run and read through; None stands for `search.studies_api`, imported on first use.
    """

    debug: bool = False
    api: StudiesApi | None = None

    @property
    def studies(self) -> StudiesApi:
        """The interface to studies, which costs the import of Optuna and MLflow."""
        if self.api is None:
            from search import studies_api

            self.api = studies_api
        return self.api
