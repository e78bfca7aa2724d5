"""Every path that zeroin writes to; no other module knows a file name of the state directory."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_modules.callbacks.checkpoint_files import (
    CHECKPOINT_NAME,
    PREVIOUS_CHECKPOINT_NAME,
    WEIGHTS_NAME,
    remove_checkpoint,
)
from search.checkpoint_store import CheckpointStore
from search.errors import StateError

ENVIRONMENT_VARIABLE = "ZEROIN_HOME"

_UID_LENGTH = 12
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
# Devices on Windows, whatever follows the first point, and names that it shortens.
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?|.*\.", re.IGNORECASE)
_OTHERS_WRITE = 0o002
_EPOCH_LOG = "epochs.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPaths:
    """Files of one trial.

    Attributes:
        directory: Absolute directory with the checkpoints and the captured output of the training.
        checkpoints: URL of the directory that checkpoints go to instead; empty if there is none.
    """

    directory: Path
    checkpoints: str = ""

    @property
    def epoch_log(self) -> Path:
        """Append-only record of the trial, the source of truth (see `search.epoch_log`)."""
        return self.directory / _EPOCH_LOG

    @property
    def checkpoint(self) -> Path:
        """What its training continues from."""
        return self.directory / CHECKPOINT_NAME

    @property
    def previous_checkpoint(self) -> Path:
        """What it continues from if that is damaged."""
        return self.directory / PREVIOUS_CHECKPOINT_NAME

    @property
    def weights(self) -> Path:
        """The final weights of a refit."""
        return self.directory / WEIGHTS_NAME

    @property
    def output(self) -> Path:
        """What the training printed."""
        return self.directory / "output.log"

    def require_no_link(self) -> None:
        """Check that what is written or removed in the directory is not elsewhere.

        Raises:
            StateError: If the directory is a link: zeroin makes none, so that it may be somebody else's trap.
        """
        if self.directory.is_symlink():
            raise StateError(
                f"{self.directory} is a link to {self.directory.readlink()}, but a trial's directory must be none. "
                "Remove it, or put in its place what it leads to."
            )

    def fetch_weights(self) -> None:
        """Bring the final weights of a refit here, if they are behind a URL.

        Raises:
            StateError: If the store does not answer.
        """
        if self.checkpoints:
            CheckpointStore(self.checkpoints).get(WEIGHTS_NAME, self.weights)

    def has_checkpoint(self) -> bool:
        """Whether there is what the training would continue from, wherever it is.

        Raises:
            StateError: If the store does not answer.
        """
        if self.checkpoints:
            return CheckpointStore(self.checkpoints).has(CHECKPOINT_NAME)
        return self.checkpoint.exists()

    def remove_previous_checkpoint(self) -> None:
        """Remove the checkpoint before the last one, if there is one.

        Raises:
            StateError: If the directory is a link.
        """
        self.require_no_link()
        remove_checkpoint(self.previous_checkpoint)

    def remove_checkpoints(self) -> None:
        """Remove what the training would continue from, wherever it is; nothing happens if there is nothing.

        A store that does not answer now keeps its copy until a later session tidies up.

        Raises:
            StateError: If the directory is a link.
        """
        self.remove_previous_checkpoint()
        remove_checkpoint(self.checkpoint)
        if self.checkpoints:
            with suppress(StateError):
                CheckpointStore(self.checkpoints, pauses_seconds=()).remove(CHECKPOINT_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPaths:
    """Files of one study.

    Attributes:
        directory: Absolute directory of the study's trials.
        checkpoints: URL of the directory for its trials' checkpoints; empty if they are in `directory`.
    """

    directory: Path
    checkpoints: str = ""

    @property
    def lease(self) -> Path:
        """Locked by the coordinator that runs the study."""
        return self.directory / "coordinator.lease"

    @property
    def credentials(self) -> Path:
        """Full URIs of its stores, for their owner only (see `search.credentials`)."""
        return self.directory / "credentials.json"

    def epoch_logs(self) -> list[Path]:
        """Those that are there, of trials and of runs of the finish."""
        return sorted(self.directory.glob(f"*/{_EPOCH_LOG}"))

    @property
    def model_package(self) -> Path:
        """The refitted members in one file, as MLflow is given them (see `search.model_package`)."""
        return self.directory / "model.zip"

    @property
    def views(self) -> Path:
        """What the refitted model has learnt to see, and its confusion matrix (see `search.tracking.pictures`)."""
        return self.directory / "views.json"

    def write_views(self, text: str) -> None:
        """Write them, or nothing.

        Raises:
            OSError: If they cannot be written.
        """
        partial = self.views.with_suffix(".partial")
        try:
            partial.write_text(text)
            partial.replace(self.views)
        finally:
            partial.unlink(missing_ok=True)

    def remove_views(self) -> None:
        """Remove those of an earlier session, if there are any."""
        self.views.unlink(missing_ok=True)

    def remove_model_package(self) -> None:
        """Remove the packaged model of an earlier finish, wherever it is.

        Raises:
            StateError: If it is behind a URL that does not answer.
        """
        self.model_package.unlink(missing_ok=True)
        if self.checkpoints:
            CheckpointStore(self.checkpoints).remove(self.model_package.name)

    def fetch_model_package(self) -> None:
        """Bring the packaged model here, if a worker that does not see the directory has put it behind the URL.

        Raises:
            StateError: If the store does not answer.
        """
        if self.checkpoints and not self.model_package.exists():
            CheckpointStore(self.checkpoints).get(self.model_package.name, self.model_package)

    def trial(self, key: str) -> TrialPaths:
        """Files of the trial named `key`."""
        checkpoints = f"{self.checkpoints}/{key}" if self.checkpoints else ""
        return TrialPaths(directory=self.directory / _checked(key), checkpoints=checkpoints)

    def logged_keys(self, kind: str) -> list[str]:
        """Keys of the trials of that kind, the first word of a key, that have an epoch log; sorted."""
        return sorted(path.parent.name for path in self.directory.glob(f"{kind}-*/{_EPOCH_LOG}"))

    def with_checkpoints(self, url: str | None, *, study_uid: str) -> StudyPaths:
        """Return the paths with checkpoints under a URL that other studies, of any user and name, may share."""
        name = f"{self.directory.name}-{study_uid[:_UID_LENGTH]}"
        return replace(self, checkpoints=f"{url.rstrip('/')}/{name}" if url else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDirectory:
    """The directory that holds all run-time state.

    Attributes:
        root: Absolute path; need not exist yet.
    """

    root: Path

    @classmethod
    def default(cls) -> StateDirectory:
        """Return ``$ZEROIN_HOME``, else ``mlruns`` under the working directory."""
        return cls(root=Path(os.environ.get(ENVIRONMENT_VARIABLE) or "mlruns").absolute())

    @property
    def optuna_journal(self) -> Path:
        """Default Optuna storage: a journal file that holds every study."""
        return self.root / "optuna.journal"

    @property
    def mlflow_database(self) -> Path:
        """Default MLflow tracking store (SQLite)."""
        return self.root / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Where MLflow keeps artifacts when `mlflow_database` is its store."""
        return self.root / "artifacts"

    def study(self, name: str) -> StudyPaths:
        """Files of the study called `name`."""
        return StudyPaths(directory=self.root / "trials" / _checked(name))

    def require_writable(self, directory: Path) -> None:
        """Check, without creating anything, that a directory under the root can be made or written to.

        Raises:
            StateError: If it cannot.
        """
        obstacle = obstacle_to_writing(directory)
        if obstacle:
            raise self._unwritable(f"{directory}: {obstacle}")

    def _unwritable(self, what: str) -> StateError:
        return StateError(
            f"the state directory cannot be written: {what}. Set {ENVIRONMENT_VARIABLE} to a directory that can."
        )

    def make(self, directory: Path) -> Path:
        """Create a directory under the root, with parents; no new one can be written to by everybody.

        Raises:
            StateError: If it cannot be created or written to.
        """
        try:
            for each in (*reversed(directory.parents), directory):
                if not each.is_dir():
                    each.mkdir(mode=0o777 & ~_OTHERS_WRITE, exist_ok=True)  # less what the user's mask takes away
        except OSError as error:
            raise self._unwritable(f"{directory}: {error.strerror or error}") from error
        return directory


def obstacle_to_writing(directory: Path) -> str:
    """Say why a directory can be neither made nor written to, empty if it can; nothing is created."""
    ancestor = next(each for each in (directory, *directory.parents) if os.path.lexists(each))
    if not ancestor.is_dir():
        return f"{ancestor} is no directory"
    if not os.access(ancestor, os.W_OK | os.X_OK):
        return f"{ancestor} is not writable, or its file system is read-only"
    return ""


def is_reserved_name(name: str) -> bool:
    """Whether no file may have that name on Windows: a device's (``con``, ``nul.txt``), or one that ends in a point."""
    return _RESERVED.fullmatch(name) is not None


def _checked(name: str) -> str:
    if not _SAFE_NAME.fullmatch(name):
        raise StateError(f"names must be letters, digits, '-', '_' and '.', at most 100, but got {name!r}.")
    if is_reserved_name(name):
        raise StateError(f"names must not end in '.' nor be a device's on Windows (con, nul, …), but got {name!r}.")
    return name
