"""Checks of init arguments: each error names the argument, the value and what was expected."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from numbers import Real
from typing import Literal


class UnfitArgumentError(ValueError):
    """An init argument that is sound by itself, and does not fit the files or the other module that it meets.

    Attributes:
        owner: Whose argument it is.
        argument: Its name.
    """

    # Optional, since an exception that comes from another process is made again from its message, then given these.
    def __init__(self, message: str, *, owner: Literal["model", "data"] = "data", argument: str = "directory") -> None:
        """Keep them; `message` says what was expected and what was found."""
        super().__init__(message)
        self.owner = owner
        self.argument = argument


class ArgumentError(ValueError):
    """An init argument is out of its bounds, or does not go with the others or with the data.

    Its message says all there is to say: which one, the value, and what was expected. Nobody needs a traceback.
    """


def check_choice(value: str, *, name: str, choices: Sequence[str]) -> None:
    """Require one of a few names.

    Raises:
        ArgumentError: If `value` is not among `choices`; a close one is suggested.
    """
    if value in choices:
        return
    close = difflib.get_close_matches(str(value), choices, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ArgumentError(f"`{name}` must be one of {list(choices)!r}, but got {value!r}.{hint}")


def check_number(
    value: float, *, name: str, low: float, high: float = math.inf, includes_low: bool, includes_high: bool = False
) -> None:
    """Require a finite number of an interval; NaN, strings and booleans are refused.

    Args:
        value: The number.
        name: How the argument is called.
        low: Lower bound, in the argument's unit.
        high: Upper bound, likewise.
        includes_low: Whether `value` may equal `low`.
        includes_high: Whether `value` may equal `high`.

    Raises:
        ArgumentError: If `value` is no such number.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if (
        is_number
        and (value > low or (includes_low and value == low))
        and (value < high or (includes_high and value == high))
    ):
        return
    interval = f"{'[' if includes_low else '('}{low:g}, {high:g}{']' if includes_high else ')'}"
    raise ArgumentError(f"`{name}` must be a number in {interval}, but got {value!r}.")


def check_count(value: int, *, name: str, at_least: int) -> None:
    """Require an integer of a minimum size.

    Raises:
        ArgumentError: If `value` is no integer or smaller than `at_least`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ArgumentError(f"`{name}` must be an integer >= {at_least}, but got {value!r}.")
