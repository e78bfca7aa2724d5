"""The secrets that this process has met, so that whatever it prints last can be cleared of them."""

from __future__ import annotations

from search.uris import masked_text, secrets_in

_uris: set[str] = set()


def remember(uri: str) -> None:
    """Take note of a URI that is going to be used, if it holds a secret."""
    if secrets_in(uri):
        _uris.add(uri)


def without_secrets(text: str) -> str:
    """Return a text, such as a traceback through several libraries, without any secret of a known URI."""
    return masked_text(text, *sorted(_uris))
