"""What is said about an exception that came out of user code."""

from __future__ import annotations

import traceback

from lightning_modules.arguments import ArgumentError
from search.errors import SearchError

_MOST_MESSAGE_CHARACTERS = 2_000
_MOST_TRACEBACK_CHARACTERS = 20_000


def describe(error: BaseException) -> tuple[str, str]:
    """Return ``Type: message`` and the traceback, both of bounded length.

    Lightning turns a KeyboardInterrupt inside ``fit`` into a SystemExit: what was raised first is described. An error
    of our own, and one about an argument of our own modules, needs no traceback and no type.
    """
    if isinstance(error, SearchError | ArgumentError):
        return _shortened(str(error), _MOST_MESSAGE_CHARACTERS), ""
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
        error = error.__context__
    message = _shortened(_text(error), _MOST_MESSAGE_CHARACTERS)
    name = type(error).__name__
    trace = _shortened("".join(traceback.format_exception(error)), _MOST_TRACEBACK_CHARACTERS)
    return f"{name}: {message}" if message else name, trace


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as raised:  # user code as well
        return f"(its message cannot be shown: {type(raised).__name__})"


def _shortened(text: str, most_characters: int) -> str:
    """Return the text, or its beginning and its end: an exception may carry a whole tensor."""
    if len(text) <= most_characters:
        return text
    half = most_characters // 2
    return f"{text[:half]} […] {text[-half:]}"
