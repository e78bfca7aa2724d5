"""Which entries a study file leaves to their defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from search.study_file.document import STORE_KEYS, KeyPath, dotted


def entries_left_out(spelled_out: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a valid file does not say, but for its stores, by dotted key; a missing section is one entry.

    Args:
        spelled_out: The study with every default.
        written: The same as it was written. The study's `narrow` stands for that of each stage without one.
    """
    stages = [{**stage, "narrow": stage.get("narrow") or written.get("narrow")} for stage in written["stages"]]
    found = _left_out(spelled_out, {**written, "stages": stages}, ())
    return {key: value for key, value in found if key not in STORE_KEYS}


def _left_out(spelled_out: Any, written: Any, path: KeyPath) -> Iterator[tuple[str, Any]]:
    if isinstance(written, str) and isinstance(spelled_out, dict):  # a word for the section: one of its entries
        written = {key: value for key, value in spelled_out.items() if value == written}
    if isinstance(spelled_out, dict) and isinstance(written, dict):
        for key, value in spelled_out.items():
            if written.get(key) is None:
                yield dotted((*path, key)), value
            else:
                yield from _left_out(value, written[key], (*path, key))
    elif isinstance(spelled_out, list) and isinstance(written, list):
        for index, (value, entry) in enumerate(zip(spelled_out, written, strict=False)):
            yield from _left_out(value, entry, (*path, index))
