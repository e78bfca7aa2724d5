"""``--set key=value``: single entries of a study changed from the command line."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from search.errors import StudyDefinitionError, did_you_mean
from search.study_file.document import SHORTHAND_KEYS, Document, KeyPath, dotted
from search.study_file.expectations import expectation, is_mapping, keys_at, schemas_at
from search.study_file.yaml_source import parse_value


def overridden(document: Document, overrides: Sequence[str]) -> Document:
    """Return the document with entries replaced or added.

    Args:
        document: The study as it was read; it is not changed.
        overrides: ``key=value`` texts, applied in order. The key is dotted (``objective.gap_weight``,
            ``space.model.dropout.or_zero``); a stage goes by position or name (``stages.0.n_trials``,
            ``stages.coarse.n_trials``). The value is YAML.

    Raises:
        StudyDefinitionError: If a text has no ``=``, its value is no YAML, or a study has no such key.
    """
    plain = copy.deepcopy(document.plain)
    origins: dict[KeyPath, str] = dict(document.overrides)
    for text in overrides:
        key, equals, value_text = text.partition("=")
        if not equals or not key.strip():
            raise StudyDefinitionError(f"`--set` expects key=value, such as stages.0.n_trials=8, but got {text!r}.")
        path = _locate(plain, key.strip(), text)
        added = _assign(plain, path, _value(value_text, path, text))
        origins = {other: origin for other, origin in origins.items() if other[: len(path)] != path}
        origins[added] = text
    return replace(document, plain=plain, overrides=origins)


def _value(value_text: str, path: KeyPath, text: str) -> Any:
    try:
        return parse_value(value_text)[0]
    except StudyDefinitionError as error:
        raise StudyDefinitionError(f"the value of `--set {text}` {error}", key=dotted(path)) from None


def _locate(plain: Any, key: str, text: str) -> KeyPath:
    """Return the path that a dotted key means, by the file's schema and, for names with dots, by what is there."""
    path: KeyPath = ()
    node, rest = plain, key
    while rest:
        step, rest = _step(node, path, rest, text)
        path = (*path, step)
        node = _child(node, step)
    return path


def _step(node: Any, path: KeyPath, rest: str, text: str) -> tuple[str | int, str]:
    head, _, tail = rest.partition(".")
    if known := keys_at(path):
        if head in known:
            return head, tail
        where = f"in {dotted(path)}" if path else "in a study"
        raise _unknown(
            path, head, text, f"there is no such key {where}, which has {', '.join(known)}.{did_you_mean(head, known)}"
        )
    if path == ("space",):
        names = [name for name in (node if isinstance(node, dict) else ()) if f"{rest}.".startswith(f"{name}.")]
        name = max(names, key=len, default=rest)
        stem, _, last = name.rpartition(".")
        if not names and last in keys_at(("space", stem)) and (hint := did_you_mean(stem, node or ())):
            raise _unknown(path, stem, text, f"it is not searched.{hint}")
        return name, rest[len(name) + 1 :]
    if path[0] == "space" and path[-1] == "when":
        return rest, ""
    if isinstance(node, list):
        return _position(node, path, head, text), tail
    if is_mapping(path) or {} in schemas_at(path):
        return head, tail
    raise _unknown(path, head, text, f"{dotted(path)} has no keys of its own; it must be {expectation(path)}.")


def _position(items: list[Any], path: KeyPath, head: str, text: str) -> int:
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if head in names:
        return names.index(head)
    if head.isdecimal() and len(head) < 10 and int(head) < len(items):
        return int(head)
    known = [*map(str, range(len(items))), *(name for name in names if isinstance(name, str))]
    raise _unknown(path, head, text, f"{dotted(path)} has {', '.join(known)}.{did_you_mean(head, known)}")


def _child(node: Any, key: str | int) -> Any:
    if isinstance(node, dict):
        return node.get(str(key))
    return node[key] if isinstance(node, list) and isinstance(key, int) else None


def _assign(plain: Any, path: KeyPath, value: Any) -> KeyPath:
    """Set the entry, and return the path of all that is new: the entry's, or that of what was opened to hold it."""
    node, added = plain, path
    for length, key in enumerate(path[:-1], start=1):
        child = _child(node, key)
        if not isinstance(child, dict | list):
            child = _opened(child, path[:length])
            node[key] = child
            added = added if child else min(added, path[:length], key=len)
        node = child
    if path == ("pruner", "name") and node.get("name") != value:
        node.clear()  # the other keys belong to the rule that had been named
    if path[-2:] == ("narrow", "rule") and node.get("rule") != value:
        node.pop("probability", None)
    node[path[-1]] = value
    return added


def _opened(value: Any, path: KeyPath) -> dict[str, Any]:
    """Return the mapping that a missing entry, ``none`` or a shorthand stands for, to set a key in it."""
    key = SHORTHAND_KEYS.get(str(path[-1]))
    return {key: value} if key is not None and isinstance(value, str) else {}


def _unknown(path: KeyPath, head: str, text: str, reason: str) -> StudyDefinitionError:
    return StudyDefinitionError(
        f"`--set {text}` must name a key of the study, but got {head!r}: {reason}", key=dotted((*path, head))
    )
