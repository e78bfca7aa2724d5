"""Passwords of a study's stores: kept beside its checkpoints, readable by their owner alone, and nowhere else.

What others can read (the recorded definition, MLflow's tags and artifacts, messages) shows ``***`` in their place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from search.errors import StateError
from search.uris import is_masked, masked

CHECKPOINTS_OPTION = "zeroin run STUDY --checkpoints"
"""Where the URL of the checkpoints is given again; see `require_credentials`."""


def keep_credentials(file: Path, uri: str) -> None:
    """Keep the full URI of a store; one without a secret leaves nothing behind.

    Args:
        file: Where; its directory must exist.
        uri: The store's.

    Raises:
        StateError: If it cannot be written.
    """
    shown = masked(uri)
    kept = _kept(file)
    if shown == uri or kept.get(shown) == uri:
        return
    private = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        private.unlink(missing_ok=True)
        with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            json.dump({**kept, shown: uri}, stream)
        private.replace(file)
    except OSError as error:
        raise StateError(f"{file} cannot be written: {error.strerror or error}.") from error


def with_credentials(file: Path, uri: str) -> str:
    """Return the full URI for one that is masked; as it is if it is not, or if nothing is kept for it."""
    return _kept(file).get(uri, uri) if is_masked(uri) else uri


def require_credentials(uri: str, *, what: str, option: str) -> None:
    """Check that a URI can be used, not only shown.

    Args:
        uri: Of the store.
        what: The store, in words for the message.
        option: How to give it in full.

    Raises:
        StateError: If its password is masked.
    """
    if is_masked(uri):
        raise StateError(
            f"the password of {what} {uri} is kept in the state directory in which the study began, and not in this "
            f"one. Give the whole URI: {option} URI"
        )


def _kept(file: Path) -> Mapping[str, str]:
    try:
        kept = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(kept, dict):
        return {}
    return {str(shown): str(uri) for shown, uri in kept.items()}
