"""A tracker that records nothing: what a study costs without MLflow."""

from __future__ import annotations


class NoTracker:
    """Stands in for the tracker and does nothing."""

    busy_cpu_seconds = 0.0
    model_uri = ""

    def __init__(self, **_: object) -> None: ...

    def publish_study(self, *_: object, **__: object) -> None: ...

    publish_trial = publish_stage = publish_result = interrupt = fail = publish_study

    def close(self, *, timeout_seconds: float) -> tuple[str, ...]:
        del timeout_seconds
        return ()
