"""URIs of stores as they may be shown: without their passwords."""

from __future__ import annotations

import re

_HIDDEN = "***"
# Between "user:" and the last "@": of the host's part in HTTP; of all in a database's, where SQLAlchemy takes
# unescaped slashes for a part of the password.
_HTTP_PASSWORD = re.compile(r"^(https?://[^:/?#@]*):[^/?#]*@", re.IGNORECASE)
_DATABASE_PASSWORD = re.compile(r"^((?!https?:)[a-z][\w+.-]*://[^:/?#@]*):.*@", re.IGNORECASE | re.DOTALL)
_SECRET_OPTION = re.compile(
    r"(?P<name>[?&;](?:[\w.-]*(?:password|passwd|pwd|token|secret|api_?key|access_?key|signature)|sig))=[^&;#]*",
    re.IGNORECASE,
)


def masked(uri: str) -> str:
    """Return `uri` with its password, and secrets among its options, replaced by ``***``.

    The user's name, host and path stay readable; a plain path comes back as it is.
    """
    for pattern in (_HTTP_PASSWORD, _DATABASE_PASSWORD):
        uri = pattern.sub(rf"\1:{_HIDDEN}@", uri)
    return _SECRET_OPTION.sub(rf"\g<name>={_HIDDEN}", uri)


def masked_text(text: str, uri: str) -> str:
    """Return `text`, such as a library's error message, with every mention of `uri` masked."""
    return text.replace(uri, masked(uri))
