"""How to start MLflow's own server and UI on a study's store."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from search.credentials import require_credentials
from search.database_driver import require_driver
from search.errors import StateError
from search.tracking.database import is_database
from search.tracking.quiet import quiet_environment
from search.uris import masked


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCommand:
    """A server to start.

    Attributes:
        arguments: The command line, without the store's URI: other users of the machine can read command lines.
        environment: The whole environment of the process, with the store's URI.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]


def ui_command(*, tracking_uri: str, artifact_root: Path | str, host: str, port: int) -> ServerCommand:
    """Return the command that serves MLflow's UI and REST interface, with one worker, on `host` and `port`.

    Raises:
        StateError: If `tracking_uri` is a server already, which has its own UI, or lacks its driver or password.
    """
    if not is_database(tracking_uri):
        raise StateError(f"{masked(tracking_uri)} is a server with its own UI: open it in a browser.")
    require_driver(tracking_uri, what="the MLflow store")
    require_credentials(tracking_uri, what="the MLflow store", option="--tracking-uri")
    arguments = (
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", host, "--port", str(port), "--workers", "1"),
        *("--default-artifact-root", str(Path(artifact_root).absolute())),
    )
    environment = {
        **quiet_environment(),
        "MLFLOW_BACKEND_STORE_URI": tracking_uri,
        "MLFLOW_TRACKING_URI": tracking_uri,
        # Its job runners are for evaluations of language models; without them two processes fewer start.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    return ServerCommand(arguments=arguments, environment=environment)
