"""Wait for a store that is busy or away for a moment, instead of losing a study over it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 5.0


class Patient:
    """Passes method calls on to an object and repeats those that raise a passing error.

    Args:
        target: Whose methods are called.
        passing: Errors that may go away by themselves; others go through at once.
        patience_seconds: How long a call is repeated before it counts as failed.
        failure: Makes the error that is raised then from the last one.
    """

    def __init__(
        self,
        target: object,
        *,
        passing: tuple[type[Exception], ...],
        patience_seconds: float,
        failure: Callable[[Exception], Exception],
    ) -> None:
        self._target = target
        self._passing = passing
        self._patience_seconds = patience_seconds
        self._failure = failure

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._target, name)
        return functools.partial(self._call, attribute) if callable(attribute) else attribute

    def _call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        deadline = time.monotonic() + self._patience_seconds
        wait_seconds = _FIRST_WAIT_SECONDS
        while True:
            try:
                return method(*arguments, **options)
            except self._passing as error:
                if time.monotonic() + wait_seconds > deadline:
                    raise self._failure(error) from error
            time.sleep(wait_seconds)
            wait_seconds = min(2.0 * wait_seconds, _LONGEST_WAIT_SECONDS)
