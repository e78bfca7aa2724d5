"""Which zeroin this is."""

from __future__ import annotations

from importlib import metadata


def zeroin_version() -> str:
    """Return the installed version; in words if zeroin is on the import path without having been installed."""
    try:
        return metadata.version("zeroin")
    except metadata.PackageNotFoundError:
        return "(not installed)"
