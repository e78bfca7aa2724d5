"""Lists that MLflow hands out in pages."""

from __future__ import annotations

from typing import Any

_PAGE = 1000


def all_pages(search: Any, *arguments: Any, **options: Any) -> list[Any]:
    """Return everything that a search of MLflow's client finds.

    Args:
        search: The client's method.
        arguments: For it.
        options: Likewise; which page, and how large, is seen to.
    """
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(*arguments, max_results=_PAGE, page_token=token, **options)
        found += page
        token = page.token
        if not token:
            return found
