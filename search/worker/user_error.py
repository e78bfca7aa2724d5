"""What is said about an exception that came out of user code."""

from __future__ import annotations

import traceback

from search.errors import SearchError


def describe(error: BaseException) -> tuple[str, str]:
    """Return ``Type: message`` and the traceback.

    Lightning turns a KeyboardInterrupt inside ``fit`` into a SystemExit: what was raised first is described. An error
    of our own needs no traceback and no type.
    """
    if isinstance(error, SearchError):
        return str(error), ""
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
        error = error.__context__
    message = str(error)
    name = type(error).__name__
    return f"{name}: {message}" if message else name, "".join(traceback.format_exception(error))
