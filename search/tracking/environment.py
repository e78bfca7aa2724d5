"""What a study ran on, as tags of its run: versions, the user's commit, hardware. Costs no library import."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from search.tracking.trial_rows import MAX_TAG_CHARACTERS

COMMIT_TAG = "mlflow.source.git.commit"
"""MLflow's own name: the UI shows it in the column ``Version``."""

_DISTRIBUTIONS = ("zeroin", "torch", "pytorch-lightning", "torchmetrics", "optuna", "mlflow", "numpy", "scikit-learn")
_GIT_TIMEOUT_SECONDS = 5.0


def environment_tags(directory: Path) -> dict[str, str]:
    """Return the tags; what cannot be found out is left out.

    Args:
        directory: The user's working directory, whose commit is meant.
    """
    return {**source_tags(directory), **_version_tags(), **_hardware_tags()}


def run_tags(
    *, versions: Mapping[str, str], device: str, edits: Sequence[str], warnings: Sequence[str] | None = None
) -> dict[str, str]:
    """Return what workers told of themselves, and what was changed in the study's definition, as tags.

    Args:
        versions: Library to version.
        device: What trials run on, in words.
        edits: What was changed since the study began, one line each, in order; the latest are kept.
        warnings: What the check of the first batch warned of, one line each; None if it was not made.
    """
    tags = {**{f"zeroin.version.{name}": text for name, text in versions.items()}, "zeroin.hardware.device": device}
    if warnings is not None:
        tags["zeroin.preflight"] = "\n".join(warnings)[:MAX_TAG_CHARACTERS] or "ok"
    return {**tags, "zeroin.edits": "\n".join(edits)[-MAX_TAG_CHARACTERS:]} if edits else tags


def source_tags(directory: Path) -> dict[str, str]:
    """Return who ran which code: user, commit, and whether tracked files differ from it."""
    tags = {"mlflow.source.name": "zeroin", "mlflow.source.type": "LOCAL"}
    with suppress(KeyError, OSError):  # a container whose user id has no name
        tags["mlflow.user"] = getpass.getuser()
    commit = _git(directory, "rev-parse", "HEAD")
    if commit:
        tags[COMMIT_TAG] = commit
        changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
        if changes is not None:
            tags["zeroin.git.dirty"] = "true" if changes else "false"
    return tags


def _version_tags() -> dict[str, str]:
    tags = {"zeroin.version.python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            tags[f"zeroin.version.{name}"] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return tags


def _hardware_tags() -> dict[str, str]:
    tags = {
        "zeroin.hardware.platform": platform.platform(),
        "zeroin.hardware.machine": platform.machine(),
        "zeroin.hardware.hostname": platform.node(),
        "zeroin.hardware.n_cpus": str(os.cpu_count() or 0),
        "zeroin.hardware.processor": _processor_name(),
    }
    return {name: value for name, value in tags.items() if value}


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _git(directory: Path, *arguments: str) -> str | None:
    """Return what git prints, or None without git, a repository, a commit, or an answer in time."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=directory,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
