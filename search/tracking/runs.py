"""The runs of one experiment: found or created once, then brought up to date, each call idempotent."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from search.tracking.experiments import UID_TAG
from search.tracking.paging import all_pages
from search.tracking.trial_rows import RUNNING, TRIAL_TAG, MetricRow

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STUDY_TAG = "zeroin.study"
_PARENT_TAG = "mlflow.parentRunId"
_MAX_METRICS = 1000
_MAX_PARAMS_AND_TAGS = 100


@dataclass(slots=True, kw_only=True)
class TrackedRun:
    """One run as the store holds it, as far as this process knows.

    Attributes:
        run_id: MLflow's id.
        status: MLflow's status.
        tags: Tags by name.
        metrics: Latest values of the metrics that it had when it was found.
        parameters: Names of the parameters that it has; their values can never change.
        is_deleted: Whether the user deleted it; nothing is written to it any more.
        n_epochs: Epochs that this process delivered, or None for a run that was found and not written to yet.
    """

    run_id: str
    status: str
    tags: dict[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: set[str] = field(default_factory=set)
    is_deleted: bool = False
    n_epochs: int | None = None


class ExperimentRuns:
    """The parent run and the trials' runs of one study; exactly one each, whatever crashed before.

    Tags that tell a run's identity are given in the call that creates it, so that no run is ever anonymous. Runs of
    the experiment without the study's identifier are left alone.
    """

    def __init__(self, client: MlflowClient, *, experiment_id: str, study_uid: str) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._study_uid = study_uid
        self._uncertain: set[str] = set()
        self._trials: dict[str, TrackedRun] = {}
        self._parent: TrackedRun | None = None
        for run in self._search():
            self._adopt(run)

    @property
    def parent(self) -> TrackedRun:
        """The study's own run; `open_parent` comes first."""
        assert self._parent is not None
        return self._parent

    @property
    def trials(self) -> Mapping[str, TrackedRun]:
        """The trials' runs by key."""
        return self._trials

    def open_parent(self, study: str, *, tags: Mapping[str, str], start_ms: int) -> None:
        """Find the study's run and set it going again, or create it."""
        tags = {**tags, STUDY_TAG: study}
        if self._parent is None:
            self._parent = self._create(study, tags=tags, start_ms=start_ms)
            return
        if self._parent.is_deleted:
            self._client.restore_run(self._parent.run_id)
            self._parent.is_deleted = False
        self.reopen(self._parent)
        self.log(self._parent, tags=tags)

    def trial(self, key: str, *, tags: Mapping[str, str], start_ms: int) -> TrackedRun:
        """Return the trial's run, created if there is none."""
        if key in self._uncertain:  # the store may have taken a call whose answer was lost
            for run in self._search(f" AND tags.`{TRIAL_TAG}` = '{key}'"):
                self._adopt(run)
        if key not in self._trials:
            self._uncertain.add(key)
            own = {**tags, TRIAL_TAG: key, _PARENT_TAG: self.parent.run_id}
            self._trials[key] = self._create(key, tags=own, start_ms=start_ms)
        self._uncertain.discard(key)
        return self._trials[key]

    def log(
        self,
        run: TrackedRun,
        *,
        metrics: Sequence[MetricRow] = (),
        parameters: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add what the run lacks; parameters and tags that it has are not sent again, and tags go last.

        In the usual case this is one call of MLflow's.
        """
        from mlflow.entities import Metric, Param, RunTag

        # The text of an absent tag is taken for empty: nothing is sent just to say nothing.
        new_tags = {name: text for name, text in (tags or {}).items() if run.tags.get(name, "") != text}
        new_params = {name: text for name, text in (parameters or {}).items() if name not in run.parameters}
        rows = [Metric(row.key, row.value, row.time_ms, row.step) for row in metrics]
        params = [Param(name, text) for name, text in new_params.items()]
        tag_list = [RunTag(name, text) for name, text in new_tags.items()]
        while rows or params or tag_list:
            chunk_params, params = params[:_MAX_PARAMS_AND_TAGS], params[_MAX_PARAMS_AND_TAGS:]
            room = _MAX_METRICS - len(chunk_params)
            chunk_rows, rows = rows[:room], rows[room:]
            chunk_tags: list[RunTag] = []
            if not rows and not params and len(chunk_rows) + len(tag_list[:_MAX_PARAMS_AND_TAGS]) <= room:
                chunk_tags, tag_list = tag_list[:_MAX_PARAMS_AND_TAGS], tag_list[_MAX_PARAMS_AND_TAGS:]
            self._client.log_batch(
                run.run_id, metrics=chunk_rows, params=chunk_params, tags=chunk_tags, synchronous=True
            )
        run.parameters.update(new_params)
        run.tags.update(new_tags)

    def terminate(self, run: TrackedRun, *, status: str, end_ms: int) -> None:
        """End the run; always the last call about it, so that an ended run is known to be complete."""
        self._client.set_terminated(run.run_id, status=status, end_time=end_ms)
        run.status = status

    def reopen(self, run: TrackedRun) -> None:
        """Set the run to RUNNING if it is not."""
        if run.status != RUNNING:
            self._client.update_run(run.run_id, status=RUNNING)
            run.status = RUNNING

    def write_text(self, run: TrackedRun, text: str, *, name: str) -> None:
        """Write, or overwrite, a text artifact."""
        self._client.log_text(run.run_id, text, name)

    def write_bytes(self, run: TrackedRun, content: bytes, *, name: str) -> None:
        """Write, or overwrite, an artifact; `name` may have folders."""
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, PurePosixPath(name).name)
            file.write_bytes(content)
            self._client.log_artifact(run.run_id, str(file), str(PurePosixPath(name).parent))

    def _create(self, name: str, *, tags: Mapping[str, str], start_ms: int) -> TrackedRun:
        tags = {key: text for key, text in {**tags, UID_TAG: self._study_uid}.items() if text}
        run = self._client.create_run(self._experiment_id, start_time=start_ms, tags=tags, run_name=name)
        return TrackedRun(run_id=run.info.run_id, status=RUNNING, tags=dict(tags), n_epochs=0)

    def _adopt(self, run: Run) -> None:
        """Take note of a run that exists; of several with one key, the oldest counts."""
        key = run.data.tags.get(TRIAL_TAG)
        tracked = TrackedRun(
            run_id=run.info.run_id,
            status=run.info.status,
            tags=dict(run.data.tags),
            metrics=dict(run.data.metrics),
            parameters=set(run.data.params),
            is_deleted=run.info.lifecycle_stage == "deleted",
        )
        if key is not None:
            self._trials.setdefault(key, tracked)
        elif STUDY_TAG in run.data.tags and self._parent is None:
            self._parent = tracked

    def _search(self, condition: str = "") -> list[Run]:
        """Return every run of the study, deleted ones too, oldest first."""
        from mlflow.entities import ViewType

        return all_pages(
            self._client.search_runs,
            [self._experiment_id],
            filter_string=f"tags.`{UID_TAG}` = '{self._study_uid}'{condition}",
            run_view_type=ViewType.ALL,
            order_by=["attributes.start_time ASC"],
        )
