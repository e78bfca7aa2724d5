"""Which entries a study file leaves to their defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from search.study_file.document import STORE_KEYS, KeyPath, dotted


def entries_left_out(spelled_out: Mapping[str, Any], written: Mapping[str, Any]) -> frozenset[str]:
    """Return the dotted keys of what a valid file does not say, but for its stores; of a missing section its own alone.

    Args:
        spelled_out: The study with every default.
        written: The same as it was written. The study's `narrow` stands for that of each stage without one.
    """
    stages = [{**stage, "narrow": stage.get("narrow") or written.get("narrow")} for stage in written["stages"]]
    return frozenset(_left_out(spelled_out, {**written, "stages": stages}, ())).difference(STORE_KEYS)


def _left_out(spelled_out: Any, written: Any, path: KeyPath) -> Iterator[str]:
    if isinstance(written, str) and isinstance(spelled_out, dict):  # a word for the section: one of its entries
        written = {key: value for key, value in spelled_out.items() if value == written}
    if isinstance(spelled_out, dict) and isinstance(written, dict):
        for key, value in spelled_out.items():
            if written.get(key) is None:
                yield dotted((*path, key))
            else:
                yield from _left_out(value, written[key], (*path, key))
    elif isinstance(spelled_out, list) and isinstance(written, list):
        for index, (value, entry) in enumerate(zip(spelled_out, written, strict=False)):
            yield from _left_out(value, entry, (*path, index))
