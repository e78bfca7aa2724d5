"""``python -m search`` is ``zeroin``."""

from __future__ import annotations

from search.cli.main import main

main()
