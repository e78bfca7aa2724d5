"""Wait for a store that is busy or away for a while, instead of losing a study over it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 5.0
_UNTOLD_SECONDS = 2.0

_T = TypeVar("_T")


class Patience:
    """Repeats what fails because a store is away for the moment, and tells the user while it waits.

    Once it has waited in vain, or was interrupted while waiting, it does not wait again before something succeeds: a
    study that ends over its store ends at once.

    Args:
        what: The store, in words for the user, without secrets.
        may_pass: Whether an error may go away by itself; others go through at once.
        patience_seconds: How long a call is repeated before it counts as failed, >= 0.
        failure: Makes the error that is raised then from the last one.
        before_repeating: Called before each repetition; forgets what the failed attempt left behind.
        notify: Told once that the store is waited for, if that takes more than a moment, and once that it is back.
    """

    def __init__(
        self,
        what: str,
        *,
        may_pass: Callable[[Exception], bool],
        patience_seconds: float,
        failure: Callable[[Exception], Exception],
        before_repeating: Callable[[], None] = lambda: None,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._what = what
        self._may_pass = may_pass
        self._patience_seconds = patience_seconds
        self._failure = failure
        self._before_repeating = before_repeating
        self._notify = notify
        self._is_spent = False

    def call(self, action: Callable[[], _T]) -> _T:
        """Return what `action` returns, called again and again while the store is away.

        Args:
            action: Something that may be done twice, since an answer can be lost after the deed.

        Raises:
            Exception: What `failure` makes, if the store stays away; at once, whatever else `action` raises.
        """
        began = time.monotonic()
        wait_seconds = _FIRST_WAIT_SECONDS
        told = False
        while True:
            try:
                outcome = action()
            except Exception as error:
                if not self._may_pass(error):
                    raise
                waited_seconds = time.monotonic() - began
                if self._is_spent or waited_seconds + wait_seconds > self._patience_seconds:
                    self._is_spent = True
                    raise self._failure(error) from error
                if not told and waited_seconds + wait_seconds > _UNTOLD_SECONDS:
                    told = True
                    self._notify(
                        f"{self._what} does not answer; it is waited for, {self._patience_seconds:.0f} s at most."
                    )
            else:
                self._is_spent = False
                if told:
                    self._notify(
                        f"{self._what} answers again, after {time.monotonic() - began:.0f} s; the study goes on."
                    )
                return outcome
            self._wait(wait_seconds)
            wait_seconds = min(2.0 * wait_seconds, _LONGEST_WAIT_SECONDS)

    def _wait(self, seconds: float) -> None:
        try:
            time.sleep(seconds)
            self._before_repeating()
        except BaseException:  # the user stops the study now
            self._is_spent = True
            raise


class Patient:
    """Passes method calls on to an object, each through a `Patience`.

    Args:
        target: Whose methods are called; only those that may be repeated should be called through this object.
        patience: Repeats them.
    """

    def __init__(self, target: object, *, patience: Patience) -> None:
        self._target = target
        self._patience = patience

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._target, name)
        return functools.partial(self._call, attribute) if callable(attribute) else attribute

    def _call(self, method: Callable[..., _T], *arguments: Any, **options: Any) -> _T:
        return self._patience.call(functools.partial(method, *arguments, **options))
